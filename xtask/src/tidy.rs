//! `tidy`: the rules of the house, checked from cargo's metadata and the sources.

mod benchmarks;
mod dependencies;
mod formats;
mod manifests;
mod pains;
mod readme;
mod sizes;
mod supply;
mod unsafety;

use std::{collections::BTreeMap, process::ExitCode};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::workspace::{crates, root};

/// `xtask/tidy.toml`: what each crate may weigh and where its unsafe code lives.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Budgets {
    #[serde(rename = "crate")]
    crates: BTreeMap<String, Budget>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Budget {
    /// What the crate is for, in the README's table.
    job: String,
    /// How far it can be trusted today, in the README's table.
    maturity: String,
    /// The most distinct crates it may pull in without its default features, itself excluded.
    bare: usize,
    /// The same with its default features.
    default: usize,
    /// The one source file that may contain unsafe code, below the crate's folder.
    #[serde(default)]
    unsafe_module: Option<String>,
    /// Forbidden serde_json features that an optional dependency of the crate turns on itself.
    #[serde(default)]
    json_exceptions: Vec<String>,
}

/// Everything that is wrong, one line each.
type Findings = Vec<String>;

/// Checks every rule; with `write`, first rewrites what follows from the code.
pub(crate) fn tidy(write: bool) -> Result<ExitCode> {
    let path = root().join("xtask/tidy.toml");
    let budgets: Budgets = toml::from_str(&std::fs::read_to_string(&path)?)
        .context("xtask/tidy.toml cannot be read")?;
    let packages = crates()?;
    let mut findings = Findings::new();
    for package in &packages {
        if !budgets.crates.contains_key(package.name.as_str()) {
            findings.push(format!("{}: no entry in xtask/tidy.toml", package.name));
        }
    }
    manifests::check(&packages, &mut findings)?;
    dependencies::independence(&packages, &mut findings);
    let weights = dependencies::weigh(&packages)?;
    dependencies::budgets(&weights, &budgets.crates, &mut findings);
    supply::check(&packages, &mut findings)?;
    dependencies::poisoned_features(&packages, &budgets.crates, &mut findings)?;
    let blocks = unsafety::check(&packages, &budgets.crates, &mut findings)?;
    readme::crate_table(&budgets.crates, &weights, &blocks, write, &mut findings)?;
    readme::other_crates(&budgets.crates, write, &mut findings)?;
    formats::check(write, &mut findings)?;
    pains::check(&packages, &mut findings)?;
    benchmarks::check(&mut findings)?;
    for outgrown in sizes::outgrown(&packages)? {
        eprintln!("note: {outgrown}");
    }
    for finding in &findings {
        eprintln!("tidy: {finding}");
    }
    if findings.is_empty() {
        eprintln!("tidy: {} crates in order", packages.len());
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "tidy: {} to mend (`cargo xtask tidy --write` writes the tables and digests)",
        findings.len()
    );
    Ok(ExitCode::FAILURE)
}
