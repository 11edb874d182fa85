//! Instructions of one operation, counted.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::HotPath;

/// What counting one path gave.
#[derive(Debug, Clone)]
pub struct Counted {
    /// The path.
    pub name: &'static str,
    /// Instructions of one operation.
    pub instructions: f64,
}

/// Whether valgrind is here, and its version.
#[must_use]
pub fn valgrind() -> Option<String> {
    let out = Command::new("valgrind").arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&out.stdout);
    out.status
        .success()
        .then(|| text.trim().trim_start_matches("valgrind-").to_owned())
}

/// Counts one path: the instructions of 2N operations less those of N, by N, so that setting up,
/// starting and ending cancel out.
///
/// # Errors
/// When the probe fails under valgrind.
pub fn count(probe: &Path, path: &HotPath, slowdown: f64) -> Result<Counted> {
    let small = total(probe, path, path.burst, slowdown)?;
    let large = total(probe, path, 2 * path.burst, slowdown)?;
    Ok(Counted {
        name: path.name,
        instructions: (large as f64 - small as f64) / path.burst as f64,
    })
}

/// Counts one path up to three times while it takes more than `limit` instructions, and returns the
/// smallest count: where a path hashes with a seed of its own, probes vary from run to run, and only
/// what every run does is work.
///
/// # Errors
/// When the probe fails under valgrind.
pub fn count_within(probe: &Path, path: &HotPath, slowdown: f64, limit: f64) -> Result<Counted> {
    let mut least = count(probe, path, slowdown)?;
    for _ in 0..2 {
        if least.instructions <= limit {
            break;
        }
        let again = count(probe, path, slowdown)?;
        least.instructions = least.instructions.min(again.instructions);
    }
    Ok(least)
}

/// Instructions of a whole run.
fn total(probe: &Path, path: &HotPath, count: u64, slowdown: f64) -> Result<u64> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("out");
    let status = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(probe)
        .args([
            path.name,
            "--count",
            &count.to_string(),
            "--slowdown",
            &slowdown.to_string(),
        ])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .context("valgrind cannot be started")?;
    ensure!(
        status.success(),
        "{} fails under valgrind ({status})",
        path.name
    );
    let text = std::fs::read_to_string(&file).context("valgrind wrote no figures")?;
    totals(&text).with_context(|| format!("no total in what valgrind wrote of {}", path.name))
}

/// The `summary:` or `totals:` line of a callgrind file.
fn totals(text: &str) -> Option<u64> {
    let line = |key: &str| text.lines().rev().find_map(|line| line.strip_prefix(key));
    let value = line("summary:").or_else(|| line("totals:"))?;
    value.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::totals;

    #[test]
    fn the_total_stands_at_the_end() {
        assert_eq!(
            totals("events: Ir\nfn=a\n1 5\nsummary: 1234\n\ntotals: 1234\n"),
            Some(1234)
        );
        assert_eq!(totals("events: Ir\n"), None);
    }
}
