//! Runs seeded schedules with faults through the scheduler's core and checks its promises after every event.
//!
//! `simulate [--seeds N] [--first-seed S] [--faults all|none|errors,hangs,…] [--plant BUG]`; exits with 1 and the
//! failing seed when a promise is broken. `--plant` builds a bug in, to see it found.

use std::process::ExitCode;

#[path = "../tests/simulation/mod.rs"]
mod simulated;

use simulated::{Faults, Plant, Summary, simulate};

struct Options {
    seeds: u64,
    first: u64,
    faults: Faults,
    plant: Plant,
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        seeds: 10_000,
        first: 0,
        faults: Faults::all(),
        plant: Plant::Nothing,
    };
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
        let number = || {
            value
                .parse::<u64>()
                .map_err(|_| format!("{name}: {value:?} is not a number"))
        };
        match name.as_str() {
            "--seeds" => options.seeds = number()?,
            "--first-seed" => options.first = number()?,
            "--faults" => options.faults = Faults::parse(&value)?,
            "--plant" => {
                let plant = Plant::ALL.iter().find(|(name, _)| *name == value);
                let names = || Plant::ALL.map(|(name, _)| name).join(", ");
                options.plant = plant
                    .ok_or_else(|| format!("unknown bug {value:?}; there are {}", names()))?
                    .1;
            }
            _ => return Err(format!("unknown option {name:?}")),
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(what) => {
            eprintln!("{what}");
            return ExitCode::from(2);
        }
    };
    let mut sum = Summary::default();
    for seed in options.first..options.first.saturating_add(options.seeds) {
        match simulate(seed, options.faults, options.plant) {
            Ok(one) => {
                sum.tasks += one.tasks;
                sum.events += one.events;
                sum.succeeded += one.succeeded;
                sum.failed += one.failed;
                sum.stopped += one.stopped;
                sum.deferred += one.deferred;
                sum.scaled += one.scaled;
            }
            Err(failure) => {
                eprintln!("{failure}\nagain: --first-seed {seed} --seeds 1");
                return ExitCode::FAILURE;
            }
        }
    }
    println!(
        "{} schedules: {} tasks, {} events; {} succeeded, {} failed, {} stopped, {} deferrals, {} moves of the limit; every promise kept",
        options.seeds,
        sum.tasks,
        sum.events,
        sum.succeeded,
        sum.failed,
        sum.stopped,
        sum.deferred,
        sum.scaled
    );
    ExitCode::SUCCESS
}
