//! The tables that the documents show, written from measurements.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::{Comparison, Report, Row, Verdict, beside_bar, number, word};

/// Where `cargo xtask` leaves the digest of each area's benchmark code, as `area=digest,…`.
pub const CODE: &str = "MAINSPRING_BENCH_CODE";

/// What the documents quote, area by area: `docs/benchmarks.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Quoted {
    areas: BTreeMap<String, QuotedArea>,
}

/// The measurement of one area.
#[derive(Debug, Serialize, Deserialize)]
struct QuotedArea {
    commit: String,
    machine: String,
    day: String,
    quick: bool,
    /// The digest of the benchmark code that measured.
    code: String,
    rows: Vec<Row>,
}

/// Writes the measured areas of a report into the documents of the workspace at `root`: the raw
/// figures, and the tables between marks in `README.md`, `docs/BENCHMARKS.md`,
/// `docs/COMPARE.md` and the crates' READMEs. Areas that were not measured keep what they have.
///
/// # Errors
/// When only a part of an area was measured, the tree was not clean, the program was not started
/// through `cargo xtask`, or a file cannot be written.
pub fn write_documents(
    root: &Path,
    report: &Report,
    whole: &BTreeMap<String, usize>,
) -> Result<()> {
    if report.commit.ends_with("-dirty") {
        bail!("documents quote a commit: commit the code that was measured, then write them");
    }
    let codes = codes()?;
    let data = root.join("docs/benchmarks.json");
    let mut quoted: Quoted = match std::fs::read(&data) {
        Ok(text) => serde_json::from_slice(&text).context("docs/benchmarks.json")?,
        Err(_) => Quoted::default(),
    };
    for (area, rows) in by_area(report) {
        if whole.get(&area) != Some(&rows.len()) {
            bail!(
                "only a part of `{area}` was measured: documents take whole areas, `--only {area}`"
            );
        }
        let code = codes.get(&area).cloned().unwrap_or_default();
        let fresh = QuotedArea {
            commit: report.commit.clone(),
            machine: report.machine.clone(),
            day: report.day(),
            quick: report.quick,
            code,
            rows,
        };
        quoted.areas.insert(area, fresh);
    }
    quoted.areas.retain(|area, _| whole.contains_key(area));
    let mut text = serde_json::to_vec_pretty(&quoted)?;
    text.push(b'\n');
    std::fs::write(&data, text).context("docs/benchmarks.json cannot be written")?;
    for document in documents(root)? {
        rewrite(&document, &quoted)?;
    }
    Ok(())
}

fn codes() -> Result<BTreeMap<String, String>> {
    let codes = std::env::var(CODE)
        .context("documents are written through `cargo xtask bench --write-docs` alone")?;
    let pairs = codes.split(',').filter_map(|pair| pair.split_once('='));
    Ok(pairs
        .map(|(area, code)| (area.to_owned(), code.to_owned()))
        .collect())
}

/// The rows of each area, without the single rounds.
fn by_area(report: &Report) -> BTreeMap<String, Vec<Row>> {
    let mut areas: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for row in &report.rows {
        let mut row = row.clone();
        // The folders of whoever measured are nobody else's.
        row.command = format!("cargo xtask bench --only {}", row.id);
        row.samples.clear();
        row.own_samples.clear();
        row.peers.iter_mut().for_each(|peer| peer.samples.clear());
        areas.entry(row.area.clone()).or_default().push(row);
    }
    areas
}

fn documents(root: &Path) -> Result<Vec<PathBuf>> {
    let documents = ["README.md", "docs/BENCHMARKS.md", "docs/COMPARE.md"];
    let mut found: Vec<PathBuf> = documents.map(|path| root.join(path)).into();
    for entry in std::fs::read_dir(root.join("crates"))? {
        found.push(entry?.path().join("README.md"));
    }
    found.retain(|path| path.is_file());
    Ok(found)
}

/// Rewrites what stands between the marks of a document.
fn rewrite(path: &Path, quoted: &Quoted) -> Result<()> {
    let text = std::fs::read_to_string(path)?;
    let mut fresh = text.clone();
    let brief = path.ends_with("README.md");
    for (area, measured) in &quoted.areas {
        let content = if brief {
            matrix(measured)
        } else {
            full(measured)
        };
        fresh = between(&fresh, area, &content, &measured.code);
    }
    fresh = between(&fresh, "all", &overview(quoted), &all_code(quoted));
    if fresh != text {
        std::fs::write(path, fresh)
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(())
}

/// The code behind all areas together.
fn all_code(quoted: &Quoted) -> String {
    let codes: Vec<&str> = quoted
        .areas
        .values()
        .map(|area| area.code.as_str())
        .collect();
    format!("{:016x}", xxh3_64(codes.join(",").as_bytes()))
}

/// The document with `content` between the marks `bench:name`; unchanged when it has none. The end
/// mark carries the digests of the benchmark code and of the content, for `cargo xtask tidy`.
fn between(text: &str, name: &str, content: &str, code: &str) -> String {
    let start = format!("<!-- bench:{name} -->");
    let Some((before, rest)) = text.split_once(&start) else {
        return text.to_owned();
    };
    let Some((_, after)) = rest.split_once(&format!("<!-- /bench:{name}")) else {
        return text.to_owned();
    };
    let Some((_, after)) = after.split_once("-->") else {
        return text.to_owned();
    };
    let inner = format!("\n{content}\n");
    let table = format!("{:016x}", xxh3_64(inner.as_bytes()));
    format!("{before}{start}{inner}<!-- /bench:{name} code={code} table={table} -->{after}")
}

fn source(area: &QuotedArea) -> String {
    format!(
        "{} run of commit `{}` on {}, {}.",
        if area.quick { "Quick" } else { "Full" },
        area.commit,
        area.day,
        area.machine
    )
}

fn brief_source(area: &QuotedArea) -> String {
    let kind = if area.quick { "quick" } else { "full" };
    format!("{}, {kind}, `{}`", area.day, area.commit)
}

/// Every row of an area with its documented target.
fn full(area: &QuotedArea) -> String {
    let mut out = String::from(
        "| row | what | documented | our bar | measured (99 %) | best peer, ours over its | verdict |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for row in &area.rows {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} |",
            row.id,
            cell(&row.title),
            cell(&row.documented),
            bar(row),
            measured(row),
            best(row).unwrap_or_default(),
            verdict(row)
        );
    }
    let _ = write!(out, "\n{}", source(area));
    out
}

/// The rows of an area against all of its peers.
fn matrix(area: &QuotedArea) -> String {
    let rows: Vec<&Row> = area
        .rows
        .iter()
        .filter(|row| row.verdict != Verdict::Skipped)
        .collect();
    let mut out = String::from(
        "| | measured (99 %) | our bar | verdict | ours | peers (ours over theirs) |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    for row in rows {
        let own = row.own.filter(|_| !row.peers.is_empty());
        let own = own.map_or(String::new(), |own| {
            format!("{} {}", number(own), row.peer_unit)
        });
        let peers: Vec<String> = row
            .peers
            .iter()
            .map(|peer| {
                let name = format!("{} {}", peer.name, peer.version);
                format!(
                    "{} {} ({}×)",
                    cell(name.trim()),
                    number(peer.value),
                    number(peer.ratio)
                )
            })
            .collect();
        let _ = writeln!(
            out,
            "| {} `{}` | {} | {} | {} | {own} | {} |",
            cell(&row.title),
            row.id,
            measured(row),
            bar(row),
            verdict(row),
            peers.join("; ")
        );
    }
    let _ = write!(
        out,
        "\n{} Measure it again: `cargo xtask bench --only {}`.",
        source(area),
        area.rows[0].area
    );
    out
}

/// How every area stands, and the rows that are lost.
fn overview(quoted: &Quoted) -> String {
    let mut out = String::from(
        "| area | met | missed | inconclusive | not yet measured | lost rows | measured |\n| --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for (name, area) in &quoted.areas {
        let count = |verdict| {
            area.rows
                .iter()
                .filter(|row| row.verdict == verdict)
                .count()
        };
        let lost: Vec<String> = area
            .rows
            .iter()
            .filter(|row| row.verdict == Verdict::Missed)
            .map(|row| {
                format!(
                    "`{}` {} (bar {})",
                    row.id,
                    row.measured
                        .map_or("failed".to_owned(), |value| beside_bar(value, row.bar)),
                    bar(row)
                )
            })
            .collect();
        let _ = writeln!(
            out,
            "| {name} | {} | {} | {} | {} | {} | {} |",
            count(Verdict::Met),
            count(Verdict::Missed),
            count(Verdict::Inconclusive),
            count(Verdict::Skipped),
            lost.join(", "),
            brief_source(area)
        );
    }
    out
}

fn bar(row: &Row) -> String {
    let side = match row.comparison {
        Comparison::AtMost => "≤",
        Comparison::AtLeast => "≥",
    };
    format!("{side} {} {}", number(row.bar), row.unit)
}

fn measured(row: &Row) -> String {
    match (row.measured, row.interval) {
        (Some(value), Some([low, high])) if low < high => {
            format!(
                "{} ({} .. {}) {}",
                number(value),
                number(low),
                number(high),
                row.unit
            )
        }
        (Some(value), _) => format!("{} {}", beside_bar(value, row.bar), row.unit),
        _ => cell(&row.reason),
    }
}

fn verdict(row: &Row) -> String {
    match row.verdict {
        Verdict::Missed => "**missed**".to_owned(),
        other => word(other).to_owned(),
    }
}

/// The peer that does best.
fn best(row: &Row) -> Option<String> {
    let peer = row.best()?;
    Some(format!(
        "{} {}: {} {}, {}×",
        cell(&peer.name),
        cell(&peer.version),
        number(peer.value),
        row.peer_unit,
        number(peer.ratio)
    ))
}

/// Text as it may stand in a table of Markdown.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::between;

    #[test]
    fn what_stands_between_the_marks_is_replaced_and_nothing_else() {
        let text = "a\n<!-- bench:store -->\nold\n<!-- /bench:store code=1 table=2 -->\nb\n";
        let once = between(text, "store", "new", "77");
        assert!(once.starts_with("a\n<!-- bench:store -->\nnew\n<!-- /bench:store code=77 table="));
        assert!(once.ends_with("-->\nb\n"), "{once}");
        assert_eq!(between(&once, "store", "new", "77"), once);
        assert_eq!(between(&once, "cache", "x", "1"), once);
    }
}
