//! Membership.

mod claims;
mod large;
mod peers;
mod sessions;
mod shared;

use anyhow::Result;
use peers::{Filters, Pair, Work};

use super::Benchmark;
use crate::{Bench, Measured, PerInput};

pub(super) const ROWS: &[(&str, Benchmark)] = &[
    ("bloom.check", sessions::misses_against_a_set),
    ("bloom.insert", |bench| row(bench, Work::Insert)),
    ("bloom.hit", |bench| row(bench, Work::Hit)),
    ("bloom.miss", |bench| row(bench, Work::Miss)),
    ("bloom.insert_shared", shared::inserts),
    ("bloom.claims", claims::raced),
    ("bloom.batch", large::batches),
];

/// Our time over that of the fastest peer with one writer, at the same rate of false positives.
fn row(bench: &Bench, work: Work) -> Result<Measured> {
    let filters =
        bench.fixture(|| Filters::build(bench.scale().pick(2_000, 300_000, 1_000_000)))?;
    filters.check(bench)?;
    let standing = filters.contest(bench, work).run();
    let mut inputs = filters.figures();
    for &(count, fpr) in bench.scale().pick(
        &[][..],
        &[(100_000, 0.001)],
        &[(100_000, 0.01), (100_000, 0.001), (1_000_000, 0.001)],
    ) {
        let pair = Pair::build(count, fpr)?;
        pair.check(bench)?;
        let standing = pair.contest(bench, work).run();
        inputs.push(PerInput::new(
            format!("{count} keys at {fpr}"),
            [
                (
                    "ratio to sbbf-rs-safe",
                    standing.ratio("sbbf-rs-safe").value.median,
                ),
                ("ns", standing.time(1.0).value.median),
            ],
        ));
    }
    Ok(standing.ratio("sbbf-rs-safe").on_inputs(inputs))
}
