//! The project's own commands. `cargo xtask --help` explains each.

#![forbid(unsafe_code)]

mod benchmarks;
mod check;
mod run;
mod tidy;
mod workspace;

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "What this project can do, from its own folder."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Drive recorded (or generated) agent sessions through the whole system and verify every byte.
    ///
    /// Options go to the replay itself: `cargo xtask replay --help` lists them.
    #[command(disable_help_flag = true)]
    Replay {
        /// Files and folders of sessions, and the replay's own options.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Take recorded sessions in, give them back byte for byte, and show what is saved.
    ///
    /// Options go to the import itself: `cargo xtask import --help` lists them.
    #[command(disable_help_flag = true)]
    Import {
        /// Files and folders of sessions, and the import's own options.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Drive a runtime like a busy server while everything around it fails, and prove what it promised.
    ///
    /// Options go to the soak itself: `cargo xtask soak --help` lists them.
    #[command(disable_help_flag = true)]
    Soak {
        /// The soak's own options, such as `--minutes N` and `--seed S`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Run every crate's tests with all features: unit, integration, examples and doctests.
    Test,
    /// Measure the rows of the scoreboard against their targets and peers.
    ///
    /// Options go to the benchmarks themselves: `cargo xtask bench --help` lists them.
    #[command(disable_help_flag = true)]
    Bench {
        /// The scoreboard's own options.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Count the instructions of the hot paths and compare them with the recorded ones.
    ///
    /// Options go to the gate itself: `cargo xtask gate --help` lists them.
    #[command(disable_help_flag = true)]
    Gate {
        /// The gate's own options.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Check the rules of the house: independence, dependency budgets, unsafe, formats, manifests.
    Tidy {
        /// Write what can be written: the README's crate table, budgets and format digests.
        #[arg(long)]
        write: bool,
    },
    /// What CI runs after the tests: format, lints, docs, every feature alone, model checks, tidy, replays,
    /// and two minutes of soak.
    Ci,
    /// Run a crate's deterministic simulation over many seeds; prints a failing seed that reproduces.
    #[command(disable_help_flag = true)]
    Simulate {
        /// Which crate: `pool` or `scheduler`.
        #[arg(long)]
        area: String,
        /// The simulation's own options, such as `--seeds N` and `--first-seed S`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Replay { arguments } => run::replay(&arguments),
        Command::Import { arguments } => run::import(&arguments),
        Command::Soak { arguments } => run::soak(&arguments),
        Command::Test => check::test(),
        Command::Bench { arguments } => run::bench(&arguments),
        Command::Gate { arguments } => run::gate(&arguments),
        Command::Tidy { write } => tidy::tidy(write),
        Command::Ci => check::ci(),
        Command::Simulate { area, arguments } => run::simulate(&area, &arguments),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
