//! The benchmarks, one module an area of the scoreboard.

mod alone;
mod bloom;
mod cache;
mod compress;
mod facade;
mod monitor;
mod pool;
mod runtime;
mod scheduler;
mod snapshot;
mod store;
mod tokens;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use anyhow::{Result, anyhow};

use crate::{Bench, Measured, Row, Target};

/// Measures one row. Fails when a side gives a wrong answer ([`crate::WrongAnswer`]) or the benchmark
/// cannot run here ([`Unavailable`]).
pub type Benchmark = fn(&Bench) -> Result<Measured>;

const AREAS: [&[(&str, Benchmark)]; 11] = [
    bloom::ROWS,
    cache::ROWS,
    compress::ROWS,
    facade::ROWS,
    monitor::ROWS,
    pool::ROWS,
    runtime::ROWS,
    scheduler::ROWS,
    snapshot::ROWS,
    store::ROWS,
    tokens::ROWS,
];

/// Something that this machine or this run lacks: the row is skipped.
#[derive(Debug)]
pub struct Unavailable(pub String);

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unavailable {}

/// Every row that has a benchmark.
pub fn benchmarks() -> impl Iterator<Item = (&'static str, Benchmark)> {
    AREAS.into_iter().flatten().copied()
}

/// Measures a row and judges it. A row without a benchmark is skipped; one whose answers are wrong
/// or that fails or panics is missed, and says so.
#[must_use]
pub fn measure(target: &Target, bench: &Bench) -> Row {
    let Some((_, benchmark)) = benchmarks().find(|(id, _)| *id == target.id) else {
        return Row::skipped(target, "no benchmark yet");
    };
    let caught = catch_unwind(AssertUnwindSafe(|| benchmark(bench)));
    let outcome = caught.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(anyhow!("the benchmark panicked: {}", text.unwrap_or("?")))
    });
    match outcome {
        Ok(measured) => Row::measured(target, bench.scale(), measured),
        Err(error) => match error.downcast_ref::<Unavailable>() {
            Some(missing) => Row::skipped(target, missing.to_string()),
            None => Row::failed(target, &error),
        },
    }
}
