//! A hard day for a runtime: `cargo xtask soak --help`.

#![forbid(unsafe_code)]

mod backend;
mod clock;
mod damage;
mod day;
mod disk;
mod fault;
mod harm;
mod journal;
mod process;
mod provider;
mod redis;
mod supervisor;
mod worker;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Drives a runtime like a busy server while everything around it fails, and proves from a log of
/// acknowledgements that no promise was broken.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask soak", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(flatten)]
    day: day::Arguments,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The server, as the soak starts it.
    #[command(hide = true)]
    Server(worker::Arguments),
}

/// It could not be run at all.
const CANNOT_RUN: u8 = 3;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Some(Command::Server(arguments)) => worker::main(arguments).map(|()| ExitCode::SUCCESS),
        None => day::main(&arguments.day),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(CANNOT_RUN)
    })
}
