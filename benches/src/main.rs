//! `cargo xtask bench`: measures the rows of the scoreboard.

#![forbid(unsafe_code)]

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Parser;
use indicatif::ProgressBar;
use mainspring_benches::{
    Bench, Options, Report, Row, Scale, Target, Targets, Verdict, areas, table,
};

/// Measures the scoreboard's rows: documented target, our bar, measured value, peers, verdict.
#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Arguments {
    /// Fewer rounds and smaller inputs: the whole table in minutes.
    #[arg(long)]
    quick: bool,
    /// Only these areas or rows, separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Recorded sessions to measure on, instead of generated ones.
    #[arg(long, value_name = "DIR")]
    sessions: Option<PathBuf>,
    /// Cache traces to replay, instead of a generated one.
    #[arg(long, value_name = "DIR")]
    traces: Option<PathBuf>,
    /// Also write the report as JSON to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let targets = Targets::load()?;
    let chosen = targets.choose(&arguments.only)?;
    let bench = Bench::new(Options {
        scale: if arguments.quick {
            Scale::Quick
        } else {
            Scale::Full
        },
        sessions: arguments.sessions,
        traces: arguments.traces,
        plant: None,
    });
    let report = Report::new(arguments.quick, measure(&chosen, &bench));
    print!("{}", table(&report));
    if let Some(path) = arguments.json {
        report.write(&path)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Measures the chosen rows, area by area.
fn measure(chosen: &[&Target], bench: &Bench) -> Vec<Row> {
    let progress = ProgressBar::new(chosen.len() as u64);
    let mut rows = Vec::with_capacity(chosen.len());
    let mut area = "";
    for target in chosen {
        if target.area != area {
            bench.forget_fixtures();
            area = &target.area;
        }
        progress.set_message(target.id.clone());
        rows.push(decide(target, bench));
        progress.inc(1);
    }
    progress.finish_and_clear();
    rows
}

/// Measures one row until it says something, three times at most; once when it should be quick.
fn decide(target: &Target, bench: &Bench) -> Row {
    let attempts = if bench.scale() == Scale::Full { 3 } else { 1 };
    for attempt in 0..attempts {
        bench.set_attempt(attempt);
        let row = areas::measure(target, bench);
        if row.verdict != Verdict::Inconclusive || attempts == 1 {
            return row;
        }
        if attempt + 1 == attempts {
            return row.given_up(attempts);
        }
    }
    unreachable!("the last attempt returns")
}
