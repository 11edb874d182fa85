//! Who depends on what, and how much it weighs.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use cargo_metadata::Package;

use super::{Budget, Findings};
use crate::workspace::output;

const FACADE: &str = "mainspring";
/// Unpublished generators of test inputs; allowed to the tests of any crate.
const INPUTS: &str = "mainspring-inputs";
/// Features of serde_json that change how it behaves for a whole binary.
const POISONED: [&str; 3] = ["arbitrary_precision", "preserve_order", "float_roundtrip"];

/// How many distinct crates one crate pulls in, itself excluded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weight {
    pub(super) bare: usize,
    pub(super) default: usize,
}

/// No crate but the facade depends on another of the family.
pub(super) fn independence(packages: &[Package], findings: &mut Findings) {
    for package in packages
        .iter()
        .filter(|package| package.name.as_str() != FACADE)
    {
        for dependency in &package.dependencies {
            if dependency.name.starts_with(FACADE) && dependency.name != INPUTS {
                findings.push(format!(
                    "{} depends on {}: crates are independent, only the facade wires them",
                    package.name, dependency.name
                ));
            }
        }
    }
}

pub(super) fn weigh(packages: &[Package]) -> Result<BTreeMap<String, Weight>> {
    let mut weights = BTreeMap::new();
    for package in packages {
        let name = package.name.as_str();
        let bare = count(&tree(name, &["--no-default-features"], "{p}")?);
        let default = count(&tree(name, &[], "{p}")?);
        weights.insert(name.to_owned(), Weight { bare, default });
    }
    Ok(weights)
}

pub(super) fn budgets(
    weights: &BTreeMap<String, Weight>,
    budgets: &BTreeMap<String, Budget>,
    findings: &mut Findings,
) {
    for (name, weight) in weights {
        let Some(budget) = budgets.get(name) else {
            continue;
        };
        for (what, counted, allowed) in [
            ("without default features", weight.bare, budget.bare),
            ("with default features", weight.default, budget.default),
        ] {
            if counted > allowed {
                findings.push(format!(
                    "{name}: {counted} dependencies {what}, the budget in xtask/tidy.toml is {allowed}"
                ));
            }
        }
    }
}

/// No crate of ours turns on a feature that changes serde_json for everybody, but for recorded
/// exceptions.
pub(super) fn poisoned_features(
    packages: &[Package],
    budgets: &BTreeMap<String, Budget>,
    findings: &mut Findings,
) -> Result<()> {
    for package in packages {
        let name = package.name.as_str();
        let excepted = budgets
            .get(name)
            .map_or(&[][..], |budget| &budget.json_exceptions[..]);
        let mut turned_on = BTreeSet::new();
        for line in tree(name, &["--all-features"], "{p}|{f}")? {
            let features = line
                .strip_prefix("serde_json ")
                .and_then(|line| line.split_once('|'));
            let features = features.map_or("", |(_, features)| features);
            let plain = features
                .split(',')
                .map(|feature| feature.trim_end_matches(" (*)").to_owned());
            turned_on.extend(plain.filter(|feature| POISONED.contains(&&**feature)));
        }
        for poison in turned_on.iter().filter(|poison| !excepted.contains(poison)) {
            findings.push(format!(
                "{name}: serde_json's `{poison}` is turned on, which breaks other people's types"
            ));
        }
    }
    Ok(())
}

/// The distinct lines of `cargo tree -e normal`, the crate itself first.
fn tree(package: &str, features: &[&str], format: &str) -> Result<Vec<String>> {
    let fixed = [
        "tree",
        "-e",
        "normal",
        "--prefix",
        "none",
        "--no-dedupe",
        "-p",
        package,
        "-f",
        format,
    ];
    let printed = output(&[&fixed[..], features].concat())?;
    Ok(printed.lines().map(str::to_owned).collect())
}

/// Distinct crates by name and version, the first line (the crate itself) excluded.
fn count(lines: &[String]) -> usize {
    let name = |line: &String| line.split(" (").next().unwrap_or_default().to_owned();
    lines
        .iter()
        .skip(1)
        .map(name)
        .collect::<BTreeSet<_>>()
        .len()
}
