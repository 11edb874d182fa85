//! Runs seeded schedules of callers against a resource pool with faults, and names a seed that fails:
//! `cargo run --example simulate -- [--seeds N] [--first-seed S]`.

use std::process::ExitCode;

#[expect(dead_code, reason = "shared with the tests, which need more of it")]
#[path = "../tests/it/faults.rs"]
mod faults;
#[expect(dead_code, reason = "shared with the tests, which need more of it")]
#[path = "../tests/it/sim.rs"]
mod sim;
#[path = "../tests/it/storm.rs"]
mod storm;

fn main() -> ExitCode {
    let (mut seeds, mut first) = (1_000_u64, 0_u64);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let value = args.next().and_then(|value| value.parse().ok());
        match (arg.as_str(), value) {
            ("--seeds", Some(value)) => seeds = value,
            ("--first-seed", Some(value)) => first = value,
            _ => {
                eprintln!("usage: simulate [--seeds N] [--first-seed S]");
                return ExitCode::from(2);
            }
        }
    }
    for seed in first..first.saturating_add(seeds) {
        if std::panic::catch_unwind(|| storm::storm(seed)).is_err() {
            println!("seed {seed} fails; again: --first-seed {seed} --seeds 1");
            return ExitCode::FAILURE;
        }
    }
    println!("{seeds} schedules from seed {first}: every promise held");
    ExitCode::SUCCESS
}
