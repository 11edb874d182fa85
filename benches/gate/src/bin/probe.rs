//! Runs one hot path, as often as it is told to.

#![forbid(unsafe_code)]

use std::io::{BufRead as _, Write as _};

use anyhow::{Context as _, Result};
use clap::Parser;
use mainspring_gate::{choose, hot_paths};
use rustix::time::{ClockId, clock_gettime};

/// Runs a hot path: so many operations, or bursts as they are asked for on standard input.
#[derive(Parser)]
struct Arguments {
    /// The hot path.
    #[arg(required_unless_present = "list")]
    path: Option<String>,
    /// Prints the names of all hot paths.
    #[arg(long)]
    list: bool,
    /// Operations to do; without it, reads numbers of operations, a line each, and answers each with
    /// the nanoseconds of CPU time that they took.
    #[arg(long)]
    count: Option<u64>,
    /// Does this share more operations than it is asked for: a slowdown for the gate to catch.
    #[arg(long, default_value_t = 0.0)]
    slowdown: f64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.list {
        hot_paths()
            .iter()
            .for_each(|path| println!("{}", path.name));
        return Ok(());
    }
    let chosen = choose(&arguments.path.into_iter().collect::<Vec<_>>())?;
    let path = chosen.first().context("no such hot path")?;
    let mut operations = (path.prepare)()?;
    let asked = |count: u64| count + (count as f64 * arguments.slowdown).round() as u64;
    if let Some(count) = arguments.count {
        operations(asked(count));
        return Ok(());
    }
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let count: u64 = line?.trim().parse().context("a number of operations")?;
        let before = thread_time();
        operations(asked(count));
        writeln!(out, "{}", thread_time() - before)?;
        out.flush()?;
    }
    Ok(())
}

fn thread_time() -> i64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}
