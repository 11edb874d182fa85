//! The crate table of the README, written from the facts.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::{Context, Result};

use super::{Budget, Findings, dependencies::Weight};
use crate::workspace::root;

const START: &str = "<!-- crates: written by cargo xtask tidy --write -->";
const END: &str = "<!-- /crates -->";

pub(super) fn crate_table(
    budgets: &BTreeMap<String, Budget>,
    weights: &BTreeMap<String, Weight>,
    blocks: &BTreeMap<String, usize>,
    write: bool,
    findings: &mut Findings,
) -> Result<()> {
    let path = root().join("README.md");
    let text = std::fs::read_to_string(&path)?;
    let (before, rest) = text
        .split_once(START)
        .context("README.md lacks the crate table's mark")?;
    let (_, after) = rest
        .split_once(END)
        .context("README.md lacks the crate table's end")?;
    let fresh = format!(
        "{before}{START}\n{}{END}{after}",
        table(budgets, weights, blocks)
    );
    if fresh == text {
        return Ok(());
    }
    if write {
        std::fs::write(&path, fresh)?;
    } else {
        findings.push("README.md: the crate table is out of date".to_owned());
    }
    Ok(())
}

fn table(
    budgets: &BTreeMap<String, Budget>,
    weights: &BTreeMap<String, Weight>,
    blocks: &BTreeMap<String, usize>,
) -> String {
    let mut out = String::from(
        "| crate | its job | add it | dependencies (bare / default) | unsafe | maturity |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    for (name, budget) in budgets {
        let (Some(weight), Some(blocks)) = (weights.get(name), blocks.get(name)) else {
            continue;
        };
        let folder = name.strip_prefix("mainspring-").unwrap_or(name);
        let _ = writeln!(
            out,
            "| [{folder}](crates/{folder}) | {} | `cargo add {name}` | {} / {} | {blocks} | {} |",
            budget.job, weight.bare, weight.default, budget.maturity
        );
    }
    out
}
