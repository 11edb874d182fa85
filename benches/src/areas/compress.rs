//! Compaction.

mod baselines;
mod contexts;
mod memory;
mod outcomes;
mod plan;
mod recall;
mod reduction;
mod trigger;

use super::Benchmark;

pub(super) const ROWS: &[(&str, Benchmark)] = &[
    ("compress.reduction", reduction::measure),
    ("compress.recall", recall::measure),
    ("compress.trigger", trigger::measure),
    ("compress.plan", plan::measure),
    ("memory.dedupe", memory::measure),
];
