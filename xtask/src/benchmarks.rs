//! The benchmark code behind the tables of the documents.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::workspace::root;

/// What every area measures with, beside its own code.
const SHARED: [&str; 5] = [
    "benches/src/clock.rs",
    "benches/src/contest.rs",
    "benches/src/sessions.rs",
    "benches/gate/src/statistics.rs",
    "benches/inputs/src",
];

/// The digest of each area's benchmark code: its module, its folder, its rows of
/// `benches/targets.toml`, and what all areas share.
pub(crate) fn codes() -> Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(root().join("benches/targets.toml"))?;
    let targets: toml::Table = toml::from_str(&text).context("benches/targets.toml")?;
    let rows = targets.get("row").and_then(toml::Value::as_array);
    let mut areas: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in rows.context("benches/targets.toml has no rows")? {
        let area = row.get("area").and_then(toml::Value::as_str);
        let area = area.context("a row without an area")?;
        areas
            .entry(area.to_owned())
            .or_default()
            .push(row.to_string());
    }
    let mut shared = Xxh3::new();
    for path in SHARED {
        add(&root().join(path), &mut shared)?;
    }
    let mut codes = BTreeMap::new();
    for (area, rows) in areas {
        let mut digest = shared.clone();
        let module = root().join("benches/src/areas").join(format!("{area}.rs"));
        add(&module, &mut digest)?;
        add(&module.with_extension(""), &mut digest)?;
        rows.iter().for_each(|row| digest.update(row.as_bytes()));
        codes.insert(area, format!("{:016x}", digest.digest()));
    }
    Ok(codes)
}

/// Adds a file, or the files of a folder in the order of their names; nothing when there is none.
fn add(path: &Path, digest: &mut Xxh3) -> Result<()> {
    if path.is_dir() {
        let entries = std::fs::read_dir(path)?;
        let mut paths = entries
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<Vec<_>>>()?;
        paths.sort();
        return paths.iter().try_for_each(|path| add(path, digest));
    }
    if path.is_file() {
        digest.update(&std::fs::read(path)?);
    }
    Ok(())
}

/// The digest over all areas, as the program that writes the tables makes it.
pub(crate) fn all(codes: &BTreeMap<String, String>) -> String {
    let joined: Vec<&str> = codes.values().map(String::as_str).collect();
    format!("{:016x}", xxh3_64(joined.join(",").as_bytes()))
}

/// `area=digest,…`, for the program that writes the tables.
pub(crate) fn environment(codes: &BTreeMap<String, String>) -> String {
    let pairs: Vec<_> = codes
        .iter()
        .map(|(area, code)| format!("{area}={code}"))
        .collect();
    pairs.join(",")
}
