//! Compaction.

mod baselines;
mod memory;
mod plan;
mod reduction;
mod trigger;

use super::Benchmark;

pub(super) const ROWS: &[(&str, Benchmark)] = &[
    ("compress.reduction", reduction::measure),
    ("compress.trigger", trigger::measure),
    ("compress.plan", plan::measure),
    ("memory.dedupe", memory::measure),
];
