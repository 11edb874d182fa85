//! Every crate has a README, a changelog, the workspace's lints and a full manifest.

use anyhow::Result;
use cargo_metadata::Package;

use super::Findings;

pub(super) fn check(packages: &[Package], findings: &mut Findings) -> Result<()> {
    for package in packages {
        let name = &package.name;
        let folder = package
            .manifest_path
            .parent()
            .expect("a manifest lies in a folder");
        for file in ["README.md", "CHANGELOG.md", "src/lib.rs"] {
            if !folder.join(file).exists() {
                findings.push(format!("{name}: {file} is missing"));
            }
        }
        let manifest: toml::Table = std::fs::read_to_string(&package.manifest_path)?.parse()?;
        let lints = manifest
            .get("lints")
            .and_then(|lints| lints.get("workspace"));
        if lints.and_then(toml::Value::as_bool) != Some(true) {
            findings.push(format!(
                "{name}: Cargo.toml lacks `[lints] workspace = true`"
            ));
        }
        if package
            .description
            .as_deref()
            .unwrap_or_default()
            .is_empty()
        {
            findings.push(format!("{name}: Cargo.toml lacks a description"));
        }
        if package.license.as_deref() != Some("MIT OR Apache-2.0") {
            findings.push(format!("{name}: the licence must be MIT OR Apache-2.0"));
        }
        for feature in package.features.keys() {
            let kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if !feature.chars().all(kebab) {
                findings.push(format!("{name}: feature `{feature}` is not kebab-case"));
            }
        }
    }
    Ok(())
}
