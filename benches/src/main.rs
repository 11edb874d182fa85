//! `cargo xtask bench`: measures the rows of the scoreboard.

#![forbid(unsafe_code)]

mod gate;

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use indicatif::ProgressBar;
use mainspring_benches::{
    Bench, History, Options, Report, Row, Scale, Target, Targets, Verdict, areas, explored, page,
    table, write_documents,
};

/// Measures the scoreboard's rows: documented target, our bar, measured value, peers, verdict.
///
/// Missed rows are part of the table and do not fail the command. With `--baseline` it is a gate: it
/// ends with 0 when no hot path does more work than the baseline's, 1 when one does, 2 when nothing
/// can be said. Errors end with 3.
#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Arguments {
    /// Fewer rounds and smaller inputs: the whole table in minutes.
    #[arg(long)]
    quick: bool,
    /// Only these areas or rows, separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "AREA")]
    only: Vec<String>,
    /// Recorded sessions to measure on, instead of generated ones.
    #[arg(long, value_name = "DIR")]
    sessions: Option<PathBuf>,
    /// Tokens of the windows that contexts fill before they are compacted.
    #[arg(long, value_name = "TOKENS", value_parser = window)]
    window: Option<usize>,
    /// Cache traces to replay, instead of a generated one.
    #[arg(long, value_name = "DIR")]
    traces: Option<PathBuf>,
    /// Also write the report as JSON to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also write the report as one HTML page with plots, with the saved baselines as history.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Keep this run, and the hot paths as they are built now, to compare with later.
    #[arg(long, value_name = "NAME")]
    save_baseline: Option<String>,
    /// Compare the hot paths with those of a saved baseline, process pair by process pair.
    #[arg(long, value_name = "NAME")]
    baseline: Option<String>,
    /// Write the tables of the README files and of docs/BENCHMARKS.md.
    #[arg(long)]
    write_docs: bool,
    /// Measure nothing: derive the verdicts of a report again from its figures.
    #[arg(long, value_name = "FILE", exclusive = true)]
    judge: Option<PathBuf>,
}

/// A window that holds at least a system prompt and a few messages.
fn window(text: &str) -> Result<usize> {
    let tokens = text.replace('_', "").parse()?;
    ensure!(
        (2_000..=10_000_000).contains(&tokens),
        "2,000 to 10,000,000 tokens"
    );
    Ok(tokens)
}

fn main() -> ExitCode {
    mainspring_gate::command(run)
}

fn run(arguments: Arguments) -> Result<u8> {
    if let Some(path) = &arguments.judge {
        return judge(path);
    }
    let targets = Targets::load()?;
    let chosen = targets.choose(&arguments.only)?;
    prepare(&arguments, &targets, &chosen)?;
    let gate = gate::Gate::open(&arguments, &chosen)?;
    let bench = Bench::new(Options {
        scale: if arguments.quick {
            Scale::Quick
        } else {
            Scale::Full
        },
        sessions: arguments.sessions.clone(),
        traces: arguments.traces.clone(),
        window: arguments.window,
        plant: None,
    });
    let rows = measure(&chosen, &bench);
    let rows = rows
        .into_iter()
        .map(|row| row.reproduced_with(bench.options()));
    let report = Report::new(arguments.quick, rows.collect());
    print!("{}", table(&report));
    if let Some(path) = &arguments.json {
        report.write(path)?;
    }
    if let Some(path) = &arguments.html {
        let criterion = mainspring_gate::target_folder().join("criterion");
        let page = page(&report, &History::saved(), &explored(&criterion));
        std::fs::write(path, page)
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    if arguments.write_docs {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
        write_documents(&root, &report, &sizes(&targets))?;
    }
    let verdict = gate.decide(&report, arguments.quick)?;
    let failed = report.rows.iter().any(|row| row.failed);
    Ok(if failed { 3 } else { verdict.exit_code() })
}

/// Refuses what cannot end well before anything is measured.
fn prepare(arguments: &Arguments, targets: &Targets, chosen: &[&Target]) -> Result<()> {
    for folder in [&arguments.sessions, &arguments.traces]
        .into_iter()
        .flatten()
    {
        let entries = std::fs::read_dir(folder);
        let mut entries =
            entries.with_context(|| format!("{} cannot be read", folder.display()))?;
        ensure!(entries.next().is_some(), "{} is empty", folder.display());
    }
    for file in [&arguments.json, &arguments.html].into_iter().flatten() {
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent)
                .with_context(|| format!("{} cannot be made", parent.display()))?;
        }
    }
    if arguments.write_docs {
        let sizes = sizes(targets);
        for target in chosen {
            let measured = chosen.iter().filter(|other| other.area == target.area);
            ensure!(
                sizes.get(&target.area) == Some(&measured.count()),
                "documents take whole areas: `--only {}`",
                target.area
            );
        }
    }
    Ok(())
}

/// Rows in each area.
fn sizes(targets: &Targets) -> BTreeMap<String, usize> {
    let mut sizes = BTreeMap::new();
    for target in &targets.rows {
        *sizes.entry(target.area.clone()).or_default() += 1;
    }
    sizes
}

/// Derives every verdict of a written report again.
fn judge(path: &std::path::Path) -> Result<u8> {
    let report = Report::read(path)?;
    let targets = Targets::load()?;
    let asked = |row: &Row| {
        let target = targets.rows.iter().find(|target| target.id == row.id);
        target.is_some_and(|target| target.bar == row.bar && target.comparison == row.comparison)
    };
    let rows = report.rows.iter();
    let wrong: Vec<&Row> = rows
        .filter(|row| !row.is_consistent() || !asked(row))
        .collect();
    for row in &wrong {
        let (verdict, reason) = row.judge();
        println!(
            "{}: written {:?}, its figures and the bar of this build say {verdict:?} {reason}",
            row.id, row.verdict
        );
    }
    println!(
        "{} rows, {} verdicts do not follow from their figures",
        report.rows.len(),
        wrong.len()
    );
    Ok(u8::from(!wrong.is_empty()))
}

/// Measures the chosen rows, area by area.
fn measure(chosen: &[&Target], bench: &Bench) -> Vec<Row> {
    let progress = ProgressBar::new(chosen.len() as u64);
    progress.set_style(
        indicatif::ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {elapsed}")
            .unwrap_or_else(|_| indicatif::ProgressStyle::default_bar()),
    );
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
    bench.forget_fixtures();
    progress.finish_and_clear();
    rows
}

/// Measures one row until it says something, three times at most; once when it should be quick.
fn decide(target: &Target, bench: &Bench) -> Row {
    let attempts = if bench.scale() == Scale::Full { 3 } else { 1 };
    let mut attempt = 0;
    loop {
        bench.set_attempt(attempt);
        let row = areas::measure(target, bench);
        attempt += 1;
        if row.verdict != Verdict::Inconclusive || attempts == 1 {
            return row;
        }
        if attempt == attempts {
            return row.given_up(attempts);
        }
    }
}
