//! Tables of measurements: written by the benchmarks, never by hand, never older than their code.

use std::path::{Path, PathBuf};

use anyhow::Result;
use xxhash_rust::xxh3::xxh3_64;

use super::Findings;
use crate::{benchmarks, workspace::root};

/// Every marked table of the documents against the code that wrote it.
pub(super) fn check(findings: &mut Findings) -> Result<()> {
    let mut codes = benchmarks::codes()?;
    codes.insert("all".to_owned(), benchmarks::all(&codes));
    for path in documents()? {
        let text = std::fs::read_to_string(&path)?;
        let name = path.strip_prefix(root()).unwrap_or(&path).display();
        for block in blocks(&text) {
            if let Some(wrong) = wrong(&block, codes.get(block.area).map(String::as_str)) {
                findings.push(format!("{name}: the table `{}` {wrong}", block.area));
            }
        }
    }
    Ok(())
}

fn documents() -> Result<Vec<PathBuf>> {
    let documents = ["README.md", "docs/BENCHMARKS.md", "docs/COMPARE.md"];
    let mut found: Vec<PathBuf> = documents.map(|path| root().join(path)).into();
    for entry in std::fs::read_dir(root().join("crates"))? {
        found.push(entry?.path().join("README.md"));
    }
    found.retain(|path: &PathBuf| Path::is_file(path));
    Ok(found)
}

/// A table between its marks.
struct Block<'a> {
    area: &'a str,
    content: &'a str,
    /// What the end mark says after the area.
    end: &'a str,
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("<!-- bench:") {
        let Some((area, after)) = after.split_once(" -->") else {
            break;
        };
        let (content, end, after) = match after.split_once("<!-- /bench:") {
            Some((content, after)) => match after.split_once("-->") {
                Some((end, after)) => (content, end.strip_prefix(area).unwrap_or(""), after),
                None => (content, "", ""),
            },
            None => (after, "", ""),
        };
        found.push(Block { area, content, end });
        rest = after;
    }
    found
}

fn wrong(block: &Block<'_>, code: Option<&str>) -> Option<String> {
    let again = match block.area {
        "all" => "cargo xtask bench --write-docs".to_owned(),
        area => format!("cargo xtask bench --only {area} --write-docs"),
    };
    let said = |key: &str| {
        let mut words = block.end.split_whitespace();
        words.find_map(|word| word.strip_prefix(key))
    };
    let table = format!("{:016x}", xxh3_64(block.content.as_bytes()));
    match (code, said("code="), said("table=")) {
        (None, _, _) => Some("belongs to no area of benches/targets.toml".to_owned()),
        (_, None, _) | (_, _, None) => Some(format!("was never measured: `{again}`")),
        (Some(now), Some(then), _) if now != then => {
            Some(format!("is older than its benchmark code: `{again}`"))
        }
        (_, _, Some(written)) if written != table => {
            Some(format!("was changed by hand: `{again}`"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str, code: &str) -> Option<String> {
        let found = blocks(text);
        assert_eq!(found.len(), 1);
        wrong(&found[0], Some(code))
    }

    #[test]
    fn a_table_is_in_order_only_with_its_code_and_its_content() {
        let table = format!("{:016x}", xxh3_64(b"\n| a |\n"));
        let text = |content: &str| {
            format!("x<!-- bench:store -->{content}<!-- /bench:store code=1 table={table} -->y")
        };
        assert_eq!(said(&text("\n| a |\n"), "1"), None);
        assert!(said(&text("\n| a |\n"), "2").unwrap().contains("older"));
        assert!(said(&text("\n| b |\n"), "1").unwrap().contains("by hand"));
        let bare = "<!-- bench:store -->\n<!-- /bench:store -->";
        assert!(said(bare, "1").unwrap().contains("never measured"));
    }
}
