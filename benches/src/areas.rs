//! The benchmarks, one module an area of the scoreboard.

mod bloom;
mod cache;
mod compress;
mod monitor;
mod pool;
mod scheduler;
mod snapshot;
mod store;

use anyhow::{Result, ensure};

use crate::{Interval, Measured, Paired, Peer};

/// How much to measure.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Fewer rounds and smaller inputs.
    pub quick: bool,
}

impl Settings {
    /// How many interleaved pairs a timed row takes.
    #[must_use]
    pub fn rounds(&self) -> usize {
        if self.quick { 40 } else { 200 }
    }
}

/// Measures one row; a row without a benchmark is skipped.
///
/// # Errors
/// When a side gives a wrong answer, or the benchmark cannot run here.
pub fn measure(id: &str, settings: &Settings) -> Result<Measured> {
    match id {
        "bloom.check" => bloom::misses_against_a_set(settings),
        "cache.access_l1" => cache::hit(settings),
        "compress.reduction" => compress::reduction(settings),
        "mmap.load" => store::load(settings),
        "mmap.save" => store::save(settings),
        "monitor.counter" => monitor::counter(settings),
        "monitor.histogram" => monitor::histogram(settings),
        "parallel.speedup" => scheduler::waiting_calls(),
        "pool.alloc" => pool::against_zeroed_vectors(settings),
        "pool.alloc_burst" => pool::burst(settings),
        "snapshot.storage" => snapshot::against_full_json(),
        "snapshot.storage_floor" => snapshot::against_the_floor(),
        _ => Ok(Measured::Skipped("no benchmark yet".to_owned())),
    }
}

/// A value that is counted, not timed: its interval is itself.
fn counted(value: f64) -> Measured {
    let value = Interval {
        median: value,
        low: value,
        high: value,
    };
    Measured::Value {
        value,
        peers: Vec::new(),
    }
}

/// Our time over theirs.
fn ratio(paired: &Paired, peers: Vec<Peer>) -> Measured {
    Measured::Value {
        value: paired.ratio,
        peers,
    }
}

/// The share of their time that ours saves.
fn saved(paired: &Paired, peers: Vec<Peer>) -> Measured {
    let ratio = paired.ratio;
    let value = Interval {
        median: 1.0 - ratio.median,
        low: 1.0 - ratio.high,
        high: 1.0 - ratio.low,
    };
    Measured::Value { value, peers }
}

/// The other side of a pair, in nanoseconds an operation.
fn peer(name: &str, version: &str, paired: &Paired) -> Peer {
    Peer {
        name: name.to_owned(),
        version: version.to_owned(),
        value: paired.theirs_ns.median,
        ratio: paired.ratio.median,
    }
}

/// A wrong answer is no measurement.
fn check(right: bool, what: &str) -> Result<()> {
    ensure!(right, "wrong answer: {what}");
    Ok(())
}
