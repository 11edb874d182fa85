//! `cargo xtask bench`: measures the rows of the scoreboard.

#![forbid(unsafe_code)]

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};
use clap::Parser;
use indicatif::ProgressBar;
use mainspring_benches::{
    Report, Row, Targets,
    areas::{self, Settings},
    canary, print_table,
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
    /// Also write the report as JSON to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let targets = Targets::load()?;
    let chosen: Vec<_> = targets
        .rows
        .iter()
        .filter(|row| {
            arguments.only.is_empty()
                || arguments
                    .only
                    .iter()
                    .any(|only| *only == row.area || *only == row.id)
        })
        .collect();
    if chosen.is_empty() {
        let mut areas: Vec<_> = targets.rows.iter().map(|row| row.area.as_str()).collect();
        areas.dedup();
        bail!("no row or area of that name; areas: {}", areas.join(", "));
    }
    let settings = Settings {
        quick: arguments.quick,
    };
    let progress = ProgressBar::new(chosen.len() as u64);
    let mut rows = Vec::with_capacity(chosen.len());
    for target in chosen {
        progress.set_message(target.id.clone());
        let measured = areas::measure(&target.id, &settings)
            .with_context(|| format!("measuring {}", target.id))?;
        rows.push(Row::judge(target, measured, &canary(settings.rounds())));
        progress.inc(1);
    }
    progress.finish_and_clear();
    let report = Report::new(rows);
    print_table(&report);
    if let Some(path) = arguments.json {
        let file = std::fs::File::create(&path)
            .with_context(|| format!("{} cannot be written", path.display()))?;
        serde_json::to_writer_pretty(file, &report)?;
    }
    Ok(ExitCode::SUCCESS)
}
