//! Unsafe code only in the one module that a crate names.

use std::{collections::BTreeMap, path::Path};

use anyhow::Result;
use cargo_metadata::{Package, camino::Utf8Path};

use super::{Budget, Findings};

/// Counts unsafe blocks per crate and complains about those outside the named module.
pub(super) fn check(
    packages: &[Package],
    budgets: &BTreeMap<String, Budget>,
    findings: &mut Findings,
) -> Result<BTreeMap<String, usize>> {
    let mut blocks = BTreeMap::new();
    for package in packages {
        let name = package.name.to_string();
        let folder = package
            .manifest_path
            .parent()
            .expect("a manifest lies in a folder");
        let named = budgets
            .get(&name)
            .and_then(|budget| budget.unsafe_module.as_deref());
        let mut count = 0;
        for file in sources(folder.join("src").as_std_path())? {
            let text = std::fs::read_to_string(&file)?;
            let found = text.lines().filter(|line| opens_unsafe(line)).count();
            let inside = named.is_some_and(|named| is_inside(named, folder, &file));
            let relaxes =
                text.contains("allow(unsafe_code)") || text.contains("expect(unsafe_code)");
            if (found > 0 || relaxes) && !inside {
                findings.push(format!(
                    "{name}: {} has unsafe code, which belongs into {}",
                    file.strip_prefix(folder).unwrap_or(&file).display(),
                    named.unwrap_or("no module (none is named in xtask/tidy.toml)"),
                ));
            }
            count += found;
        }
        let lib = std::fs::read_to_string(folder.join("src/lib.rs"))?;
        if named.is_none() && !lib.contains("#![forbid(unsafe_code)]") {
            findings.push(format!("{name}: src/lib.rs lacks #![forbid(unsafe_code)]"));
        }
        blocks.insert(name, count);
    }
    Ok(blocks)
}

/// Whether a file is the named module or lies in its folder.
fn is_inside(named: &str, package: &Utf8Path, file: &Path) -> bool {
    let below = package.join(named.trim_end_matches(".rs"));
    file == package.join(named) || file.starts_with(below)
}

fn opens_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"]
        .iter()
        .any(|word| code.contains(word))
}

/// The Rust files below a folder, sorted.
pub(super) fn sources(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    let mut files = Vec::new();
    if !folder.is_dir() {
        return Ok(files);
    }
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
