//! What the README files say of all crates, written from the facts.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::{Context, Result};

use super::{Budget, Findings, dependencies::Weight};
use crate::workspace::root;

const START: &str = "<!-- crates: written by cargo xtask tidy --write -->";
const END: &str = "<!-- /crates -->";
const OTHERS_START: &str = "<!-- others: written by cargo xtask tidy --write -->";
const OTHERS_END: &str = "<!-- /others -->";

pub(super) fn crate_table(
    budgets: &BTreeMap<String, Budget>,
    weights: &BTreeMap<String, Weight>,
    blocks: &BTreeMap<String, usize>,
    write: bool,
    findings: &mut Findings,
) -> Result<()> {
    let fresh = table(budgets, weights, blocks);
    let section = Section("README.md", START, END);
    section.renew(&fresh, write, findings)
}

/// Each crate's page names the others.
pub(super) fn other_crates(
    budgets: &BTreeMap<String, Budget>,
    write: bool,
    findings: &mut Findings,
) -> Result<()> {
    for own in budgets.keys() {
        let path = format!("crates/{}/README.md", folder(own));
        Section(&path, OTHERS_START, OTHERS_END).renew(&others(own, budgets), write, findings)?;
    }
    Ok(())
}

/// A part of a file, between two marks.
struct Section<'a>(&'a str, &'a str, &'a str);

impl Section<'_> {
    fn renew(&self, fresh: &str, write: bool, findings: &mut Findings) -> Result<()> {
        let Self(name, start, end) = self;
        let path = root().join(name);
        let text = std::fs::read_to_string(&path)?;
        let (before, rest) = text
            .split_once(start)
            .with_context(|| format!("{name} lacks the mark {start}"))?;
        let (_, after) = rest
            .split_once(end)
            .with_context(|| format!("{name} lacks the mark {end}"))?;
        let renewed = format!("{before}{start}\n{fresh}{end}{after}");
        if renewed == text {
            return Ok(());
        }
        if write {
            std::fs::write(&path, renewed)?;
        } else {
            findings.push(format!("{name}: what stands after {start} is out of date"));
        }
        Ok(())
    }
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
        let folder = folder(name);
        let _ = writeln!(
            out,
            "| [{folder}](crates/{folder}) | {} | `cargo add {name}` | {} / {} | {blocks} | {} |",
            budget.job, weight.bare, weight.default, budget.maturity
        );
    }
    out
}

fn others(own: &str, budgets: &BTreeMap<String, Budget>) -> String {
    let mut out = String::from("| crate | its job |\n| --- | --- |\n");
    for (name, budget) in budgets.iter().filter(|(name, _)| *name != own) {
        let folder = folder(name);
        let _ = writeln!(out, "| [{name}](../{folder}/README.md) | {} |", budget.job);
    }
    out
}

fn folder(name: &str) -> &str {
    name.strip_prefix("mainspring-").unwrap_or(name)
}
