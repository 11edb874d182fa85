//! `cargo xtask gate`: the regression gate on its own.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use indicatif::ProgressBar;
use mainspring_gate::{
    Counted, HotPath, Recorded, Toolchain, Verdict, build_probe, choose, command, count_within,
    overall, prove, valgrind,
};

/// Counts the instructions of every hot path and compares them with those recorded in the
/// repository. Ends with 0 when none grew by more than 2 %, 1 when one did, 2 when nothing can be
/// said here.
#[derive(Parser)]
#[command(name = "cargo xtask gate", bin_name = "cargo xtask gate")]
struct Arguments {
    /// Only these hot paths or areas, separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Write the counts down as the new ones to compare with.
    #[arg(long, conflicts_with_all = ["prove", "slowdown"])]
    record: bool,
    /// Do this share more work than asked for, to see the gate catch it.
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    slowdown: f64,
    /// Prove the paired gate instead: the same build against itself, which must stay silent, and
    /// 5 % more work, which must be caught.
    #[arg(long)]
    prove: bool,
    /// How often the same build runs against itself in the proof.
    #[arg(long, default_value_t = 20, requires = "prove")]
    runs: usize,
}

fn main() -> ExitCode {
    command(|arguments: Arguments| Ok(run(&arguments)?.exit_code()))
}

fn run(arguments: &Arguments) -> Result<Verdict> {
    let paths = choose(&arguments.only)?;
    if arguments.prove {
        return proof(&paths, arguments.runs);
    }
    if valgrind().is_none() {
        println!("skipped: valgrind is not installed, so instructions cannot be counted");
        return Ok(Verdict::Inconclusive);
    }
    let toolchain = Toolchain::here()?;
    if arguments.record {
        return record(&paths, toolchain);
    }
    let recorded = Recorded::read()?;
    if recorded.toolchain != toolchain {
        println!(
            "skipped: the recorded counts were made with {:?}, here is {:?}; `cargo xtask gate --record` on the commit to compare with makes new ones",
            recorded.toolchain, toolchain
        );
        return Ok(Verdict::Inconclusive);
    }
    let limit = |name: &str| recorded.limit(name).unwrap_or(f64::INFINITY);
    let counted = count_all(&paths, arguments.slowdown, limit)?;
    Ok(overall(
        counted.iter().map(|counted| shown(&recorded, counted)),
    ))
}

fn count_all(
    paths: &[HotPath],
    slowdown: f64,
    limit: impl Fn(&str) -> f64,
) -> Result<Vec<Counted>> {
    let probe = build_probe()?;
    let progress = ProgressBar::new(paths.len() as u64);
    let mut counted = Vec::with_capacity(paths.len());
    for path in paths {
        progress.set_message(path.name);
        counted.push(count_within(&probe, path, slowdown, limit(path.name))?);
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(counted)
}

fn shown(recorded: &Recorded, counted: &Counted) -> Verdict {
    let (verdict, ratio) = recorded.judge(counted);
    let word = match (verdict, ratio) {
        (_, None) => "never recorded: run `cargo xtask gate --record`".to_owned(),
        (Verdict::Regressed, Some(ratio)) => format!("REGRESSED {:+.2} %", (ratio - 1.0) * 100.0),
        (_, Some(ratio)) => format!("{:+.2} %", (ratio - 1.0) * 100.0),
    };
    println!(
        "{:<22} {:>14.1} instructions  {word}",
        counted.name, counted.instructions
    );
    verdict
}

fn record(paths: &[HotPath], toolchain: Toolchain) -> Result<Verdict> {
    let counted = count_all(paths, 0.0, |_| f64::INFINITY)?;
    let kept = Recorded::read()
        .ok()
        .filter(|kept| kept.toolchain == toolchain);
    let known: Vec<_> = mainspring_gate::hot_paths()
        .iter()
        .map(|path| path.name)
        .collect();
    let mut instructions = kept.map(|kept| kept.instructions).unwrap_or_default();
    instructions.retain(|name, _| known.contains(&name.as_str()));
    for counted in counted {
        println!(
            "{:<22} {:>14.1} instructions",
            counted.name, counted.instructions
        );
        let rounded = (counted.instructions * 10.0).round() / 10.0;
        instructions.insert(counted.name.to_owned(), rounded);
    }
    Recorded {
        toolchain,
        instructions,
    }
    .write()?;
    Ok(Verdict::Met)
}

/// Met when every path was silent without and caught with more work.
fn proof(paths: &[HotPath], runs: usize) -> Result<Verdict> {
    const SLOWDOWN: f64 = 0.05;
    let probe = build_probe()?;
    let progress = ProgressBar::new(paths.len() as u64);
    let mut sound = true;
    for path in paths {
        progress.set_message(path.name);
        let proof = prove(&probe, path, runs, SLOWDOWN)?;
        progress.suspend(|| {
            println!(
                "{:<22} same build: {} of {runs} fired, {} said nothing; {:+.1} %: {} ({:.4} .. {:.4}, canary {:.4})",
                proof.name,
                proof.same.iter().filter(|run| run.verdict == Verdict::Regressed).count(),
                proof.inconclusive(),
                SLOWDOWN * 100.0,
                if proof.caught() { "caught" } else { "NOT CAUGHT" },
                proof.slowed.interval[0],
                proof.slowed.interval[1],
                proof.slowed.canary,
            );
        });
        sound &= proof.silent() && proof.caught();
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(if sound {
        Verdict::Met
    } else {
        Verdict::Regressed
    })
}
