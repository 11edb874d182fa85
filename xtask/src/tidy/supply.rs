//! What the crates pull in: under which licence, from where, and nothing that is known to be a poor
//! choice.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use cargo_metadata::{CargoOpt, DependencyKind, Metadata, MetadataCommand, Package, PackageId};
use spdx::{Expression, ParseMode};

use super::Findings;
use crate::workspace::root;

/// Licences that ask nothing of a program but a notice.
const LICENCES: [&str; 13] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "zlib-acknowledgement",
];

/// Unmaintained, unsound, under a licence that spreads, or wrong for what we do.
const BANNED: [&str; 8] = [
    "backoff",
    "bincode",
    "governor",
    "inferno",
    "instant",
    "paste",
    "serde_yaml",
    "sled",
];

/// Checks everything that a user of the crates would build, with every feature on.
pub(super) fn check(packages: &[Package], findings: &mut Findings) -> Result<()> {
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .features(CargoOpt::AllFeatures)
        .exec()
        .context("cargo metadata")?;
    let by_id: BTreeMap<&PackageId, &Package> =
        metadata.packages.iter().map(|all| (&all.id, all)).collect();
    let roots = packages.iter().map(|package| &package.id);
    for id in reached(&metadata, roots) {
        if let Some(package) = by_id.get(&id) {
            findings.extend(about(package));
        }
    }
    Ok(())
}

/// Whatever the roots need to be built and to run; what only tests need stays out.
fn reached<'a>(
    metadata: &'a Metadata,
    roots: impl Iterator<Item = &'a PackageId>,
) -> BTreeSet<&'a PackageId> {
    let nodes = metadata.resolve.iter().flat_map(|resolve| &resolve.nodes);
    let nodes: BTreeMap<_, _> = nodes.map(|node| (&node.id, node)).collect();
    let mut reached = BTreeSet::new();
    let mut open: Vec<_> = roots.collect();
    while let Some(id) = open.pop() {
        let (true, Some(node)) = (reached.insert(id), nodes.get(id)) else {
            continue;
        };
        let needed = node.deps.iter().filter(|dependency| {
            let mut kinds = dependency.dep_kinds.iter();
            kinds.any(|kind| kind.kind != DependencyKind::Development)
        });
        open.extend(needed.map(|dependency| &dependency.pkg));
    }
    reached
}

fn about(package: &Package) -> Vec<String> {
    let name = format!("{} {}", package.name, package.version);
    let mut found = Vec::new();
    if BANNED.contains(&package.name.as_str()) {
        found.push(format!("{name}: a known poor choice, take another crate"));
    }
    let elsewhere = package
        .source
        .as_ref()
        .is_some_and(|source| !source.is_crates_io());
    if elsewhere {
        found.push(format!("{name}: does not come from the package registry"));
    }
    match package.license.as_deref().map(allowed) {
        Some(Ok(true)) => {}
        Some(Ok(false)) => found.push(format!(
            "{name}: the licence {} is not among those we take",
            package.license.as_deref().unwrap_or_default()
        )),
        Some(Err(error)) => found.push(format!("{name}: its licence cannot be read: {error}")),
        None => found.push(format!("{name}: names no licence")),
    }
    found
}

fn allowed(licence: &str) -> Result<bool> {
    // Older crates put a slash where an OR is meant.
    let expression = Expression::parse_mode(licence, ParseMode::LAX)?;
    Ok(expression.evaluate(|required| {
        let id = required.license.id();
        id.is_some_and(|id| LICENCES.contains(&id.name))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_several_licences_is_enough_and_all_of_several_are_needed() {
        for taken in [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-3.0 OR MIT",
            "Apache-2.0 WITH LLVM-exception",
        ] {
            assert!(allowed(taken).unwrap(), "{taken}");
        }
        for refused in ["CDDL-1.0", "MIT AND GPL-3.0-only", "LicenseRef-own"] {
            assert!(!allowed(refused).unwrap(), "{refused}");
        }
        assert!(allowed("no licence at all").is_err());
    }
}
