//! The scoreboard as people and machines read it.

use std::process::Command;

use serde::Serialize;

use crate::{Row, Verdict};

/// Everything one run found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The commit that was measured, `-dirty` when the tree had changes.
    pub commit: String,
    /// The processor, its cores and the system.
    pub machine: String,
    /// The rows.
    pub rows: Vec<Row>,
}

impl Report {
    /// A report of `rows` on this commit and machine.
    #[must_use]
    pub fn new(rows: Vec<Row>) -> Self {
        Self {
            commit: commit(),
            machine: machine(),
            rows,
        }
    }
}

/// Prints the table that a person reads.
pub fn print_table(report: &Report) {
    println!("{} · {}\n", report.commit, report.machine);
    println!(
        "{:<22} {:>12} {:>12} {:>24}  {:<13} title",
        "row", "bar", "measured", "interval", "verdict"
    );
    for row in &report.rows {
        let measured = row.measured.map_or("-".to_owned(), number);
        let interval = row.interval.map_or("-".to_owned(), |[low, high]| {
            format!("{} .. {}", number(low), number(high))
        });
        let verdict = match row.verdict {
            Verdict::Met => "met",
            Verdict::Missed => "MISSED",
            Verdict::Inconclusive => "inconclusive",
            Verdict::Skipped => "skipped",
        };
        println!(
            "{:<22} {:>12} {measured:>12} {interval:>24}  {verdict:<13} {} [{}]",
            row.id,
            number(row.bar),
            row.title,
            row.unit
        );
        if !row.reason.is_empty() {
            println!("{:>24}{}", "", row.reason);
        }
        for peer in &row.peers {
            println!(
                "{:>24}{} {}: {} ({}× ours over its)",
                "",
                peer.name,
                peer.version,
                number(peer.value),
                number(peer.ratio)
            );
        }
    }
}

fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        let out = Command::new("git").args(arguments).output().ok()?;
        out.status
            .success()
            .then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
    };
    let hash = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "no commit".to_owned());
    match git(&["status", "--porcelain"]) {
        Some(changes) if !changes.is_empty() => format!("{hash}-dirty"),
        _ => hash,
    }
}

fn machine() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| {
            line.strip_prefix("model name")?
                .split_once(": ")
                .map(|(_, model)| model)
        })
        .unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{model}, {cores} cores, {} {}",
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}
