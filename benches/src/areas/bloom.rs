//! Membership.

mod batches;
mod claims;
mod large;
mod peers;
mod sessions;
mod shared;

use anyhow::Result;
use large::Large;
use peers::{Filters, Pair, SBBF, Work};

use super::Benchmark;
use crate::{Bench, Measured, PerInput, Standing};

pub(super) const ROWS: &[(&str, Benchmark)] = &[
    ("bloom.check", sessions::misses_against_a_set),
    ("bloom.insert", |bench| row::<10>(bench, Work::Insert)),
    ("bloom.insert_01", |bench| row::<1>(bench, Work::Insert)),
    ("bloom.hit", |bench| row::<10>(bench, Work::Hit)),
    ("bloom.hit_01", |bench| row::<1>(bench, Work::Hit)),
    ("bloom.miss", |bench| row::<10>(bench, Work::Miss)),
    ("bloom.miss_01", |bench| row::<1>(bench, Work::Miss)),
    ("bloom.insert_shared", shared::inserts::<10>),
    ("bloom.insert_shared_01", shared::inserts::<1>),
    ("bloom.claims", claims::raced),
    ("bloom.batch", batches::look_ups),
];

/// The rate of false positives that so many in a thousand are.
const fn rate(in_a_thousand: u32) -> f64 {
    in_a_thousand as f64 / 1_000.0
}

/// Our time over that of the fastest peer with one writer, at the same rate of false positives: of
/// three sizes the one at which we do worst.
fn row<const T: u32>(bench: &Bench, work: Work) -> Result<Measured> {
    let filters =
        bench.fixture(|| Filters::<T>::build(bench.scale().pick(2_000, 300_000, 1_000_000)))?;
    filters.check(bench)?;
    let middle = (filters.count(), filters.contest(bench, work).run());
    let small = bench.scale().pick(1_000, 100_000, 100_000);
    let pair = Pair::build(small, rate(T))?;
    pair.check(bench)?;
    let small = (small, pair.contest(bench, work).run());
    let large = Large::<T>::shared(bench)?;
    large.borrow().check(bench)?;
    let large = {
        let mut large = large.borrow_mut();
        (large.count(), large.contest(bench, work).run())
    };
    let sizes = [small, middle, large];
    let mut inputs: Vec<PerInput> = sizes.iter().map(figures).collect();
    inputs.extend(filters.figures());
    Ok(worst(&sizes, SBBF).on_inputs(inputs))
}

/// The row of the size at which we do worst against `rival`; the times beside it are those of the
/// second size, at which all take part.
fn worst(sizes: &[(usize, Standing); 3], rival: &str) -> Measured {
    let mut ratios = sizes
        .each_ref()
        .map(|(count, standing)| (*count, standing.ratio(rival)));
    ratios.sort_by(|(_, a), (_, b)| a.value.median.total_cmp(&b.value.median));
    let [.., (count, worst)] = ratios;
    let (beside, standing) = &sizes[1];
    Measured {
        value: worst.value,
        samples: worst.samples,
        ..standing.ratio(rival)
    }
    .noting(format!(
        "the ratio is that of {count} keys, the times are those of {beside}"
    ))
}

fn figures((count, standing): &(usize, Standing)) -> PerInput {
    let ratio = standing.ratio(SBBF).value;
    PerInput::new(
        format!("{count} keys"),
        [
            ("ratio to sbbf-rs-safe", ratio.median),
            ("its 99 % interval, low", ratio.low),
            ("its 99 % interval, high", ratio.high),
            ("ns", standing.time(1.0).value.median),
        ],
    )
}
