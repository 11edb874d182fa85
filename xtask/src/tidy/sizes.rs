//! Files and functions that outgrow their room.

use anyhow::Result;
use cargo_metadata::Package;

use super::unsafety::sources;

const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 60;

/// A line for each file above 600 lines and each function above 60, the longest first.
pub(super) fn outgrown(packages: &[Package]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for package in packages {
        let folder = package
            .manifest_path
            .parent()
            .expect("a manifest lies in a folder");
        for file in sources(folder.as_std_path())? {
            let text = std::fs::read_to_string(&file)?;
            let lines: Vec<&str> = text.lines().collect();
            let place = file
                .strip_prefix(folder.parent().unwrap_or(folder))
                .unwrap_or(&file);
            if lines.len() > FILE_LINES {
                found.push((
                    lines.len(),
                    format!("{} has {} lines", place.display(), lines.len()),
                ));
            }
            for (line, name, length) in functions(&lines) {
                if length > FUNCTION_LINES {
                    let text = format!("{}:{line}: `{name}` has {length} lines", place.display());
                    found.push((length, text));
                }
            }
        }
    }
    found.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    Ok(found.into_iter().map(|(_, text)| text).collect())
}

/// First line, name and length of each function, told by rustfmt's indentation.
fn functions<'a>(lines: &[&'a str]) -> Vec<(usize, &'a str, usize)> {
    let mut out = Vec::new();
    for (first, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let Some(at) = line.find("fn ").filter(|at| head(&line[..*at])) else {
            continue;
        };
        let name = line[at + 3..].split(['(', '<']).next().unwrap_or_default();
        let closing = format!("{}}}", " ".repeat(indent));
        let body = lines[first..].iter().position(|line| *line == closing);
        out.extend(body.map(|length| (first + 1, name, length + 1)));
    }
    out
}

fn head(before: &str) -> bool {
    let allowed = [
        "pub",
        "pub(crate)",
        "pub(super)",
        "async",
        "const",
        "unsafe",
        "extern",
        "\"C\"",
    ];
    before
        .split_whitespace()
        .all(|word| allowed.contains(&word))
}
