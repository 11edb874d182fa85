//! Runs seeded schedules of callers against the pools, with connects and checks that fail, hang and
//! are slow, resources that die and callers that are cut off, and names a seed that breaks a promise.

use std::fmt::Write;
use std::io::IsTerminal;
use std::process::ExitCode;

#[expect(dead_code, reason = "shared with the tests, which need more of it")]
#[path = "../tests/simulator/mod.rs"]
mod simulator;

use simulator::schedule::{Subject, failure, trace};
use simulator::simple::Bug;

const USAGE: &str = "usage: simulate [--seeds N] [--first-seed S] [--plant BUG] [--json]

  --seeds N        schedules to run (1000)
  --first-seed S   seed of the first one (0)
  --plant BUG      against a simple pool with a bug, which is to be found:
                   lost-wake-up, leaked-permit, above-max, no-deadline, leaked-resource
  --json           one JSON object instead of text";

struct Options {
    seeds: u64,
    first: u64,
    plant: Option<(&'static str, Bug)>,
    json: bool,
}

struct Failure {
    seed: u64,
    what: String,
    trace: Vec<String>,
    again: String,
}

fn main() -> ExitCode {
    let Some(options) = options(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    // A schedule fails by a panic; what it says is told below, once.
    std::panic::set_hook(Box::new(|_| ()));
    let failed = first_failure(&options);
    if options.json {
        println!("{}", json(&options, failed.as_ref()));
    } else {
        print!("{}", text(&options, failed.as_ref()));
    }
    ExitCode::from(u8::from(failed.is_some()))
}

fn options(mut args: impl Iterator<Item = String>) -> Option<Options> {
    let mut options = Options {
        seeds: 1_000,
        first: 0,
        plant: None,
        json: false,
    };
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--seeds" => options.seeds = args.next()?.parse().ok()?,
            "--first-seed" => options.first = args.next()?.parse().ok()?,
            "--plant" => {
                let name = args.next()?;
                let known = Bug::PLANTED.into_iter().find(|(known, _)| *known == name);
                options.plant = Some(known?);
            }
            "--json" => options.json = true,
            _ => return None,
        }
    }
    Some(options)
}

fn first_failure(options: &Options) -> Option<Failure> {
    let subject = options
        .plant
        .map_or(Subject::Pools, |(_, bug)| Subject::Simple(bug));
    let shown = std::io::stderr().is_terminal();
    for done in 0..options.seeds {
        let seed = options.first.checked_add(done)?;
        if shown && done % 100 == 0 {
            eprint!("\r{done} of {} schedules", options.seeds);
        }
        if let Some(what) = failure(seed, subject) {
            let plant = options
                .plant
                .map_or(String::new(), |(name, _)| format!(" --plant {name}"));
            return Some(Failure {
                seed,
                what,
                trace: trace(seed, subject),
                again: format!(
                    "cargo run --release -p mainspring-pool --example simulate -- --first-seed {seed} --seeds 1{plant}"
                ),
            });
        }
    }
    if shown {
        eprint!("\r");
    }
    None
}

fn text(options: &Options, failed: Option<&Failure>) -> String {
    let Some(failed) = failed else {
        let (seeds, first) = (options.seeds, options.first);
        return format!("{seeds} schedules from seed {first}: every promise held\n");
    };
    let mut text = String::new();
    for line in &failed.trace {
        let _ = writeln!(text, "  {line}");
    }
    let Failure {
        seed, what, again, ..
    } = failed;
    let _ = writeln!(text, "seed {seed} fails: {what}\nagain: {again}");
    text
}

fn json(options: &Options, failed: Option<&Failure>) -> String {
    let failed = failed.map_or("null".to_owned(), |failed| {
        let trace: Vec<String> = failed.trace.iter().map(|line| quoted(line)).collect();
        format!(
            r#"{{"seed":{},"what":{},"trace":[{}],"again":{}}}"#,
            failed.seed,
            quoted(&failed.what),
            trace.join(","),
            quoted(&failed.again)
        )
    });
    let plant = options
        .plant
        .map_or("null".to_owned(), |(name, _)| quoted(name));
    format!(
        r#"{{"area":"pool","first_seed":{},"seeds":{},"plant":{plant},"failure":{failed}}}"#,
        options.first, options.seeds
    )
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            character if character.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(character));
            }
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}
