//! Inserts through a shared reference.

use std::hint::black_box;

use anyhow::Result;
use fastbloom::AtomicBloomFilter;
use foldhash::fast::FixedState;
use mainspring_bloom::SharedBloomFilter;

use super::peers::keys;
use crate::{Bench, Clock, Contest, Measured, PerInput, check, on_threads};

const FPR: f64 = 0.01;

fn ours(count: usize) -> Result<SharedBloomFilter> {
    Ok(SharedBloomFilter::with_capacity_and_fpr(count, FPR)?)
}

fn fast(count: usize) -> AtomicBloomFilter<FixedState> {
    AtomicBloomFilter::with_false_pos(FPR)
        .hasher(FixedState::default())
        .expected_items(count)
}

/// Fresh keys into an empty filter, one thread; two threads on halves of them beside it.
pub(super) fn inserts(bench: &Bench) -> Result<Measured> {
    let keys = keys(3, bench.scale().pick(2_000, 300_000, 1_000_000));
    check_all(bench, &keys)?;
    let one = contest(bench, &keys, 1)?;
    let two = contest(bench, &keys, 2)?.at_most(30).run();
    let on_two = PerInput::new(
        "two threads",
        [
            ("ns", two.time(1.0).value.median),
            ("ratio to fastbloom", two.ratio(RIVAL).value.median),
        ],
    );
    Ok(one.run().ratio(RIVAL).on_inputs(vec![on_two]))
}

const RIVAL: &str = "fastbloom atomic, foldhash";

fn contest<'a>(bench: &Bench, keys: &'a [u64], threads: usize) -> Result<Contest<'a>> {
    let count = keys.len();
    ours(count)?;
    Ok(Contest::new(bench, (count / threads) as u64)
        .side_timed("mainspring-bloom", "", move |clock| {
            let filter = ours(count).expect("it was built before");
            spent(clock, keys, threads, |key| filter.insert(key))
        })
        .side_timed(RIVAL, "0.17", move |clock| {
            let filter = fast(count);
            spent(clock, keys, threads, |key| filter.insert(key))
        })
        .side_timed("fastbloom atomic, its own hasher", "0.17", move |clock| {
            let filter = AtomicBloomFilter::with_false_pos(FPR).expected_items(count);
            spent(clock, keys, threads, |key| filter.insert(key))
        }))
}

/// What one thread spends on all keys, or each of several, in the mean, on its share.
fn spent(clock: Clock, keys: &[u64], threads: usize, insert: impl Fn(&u64) -> bool + Sync) -> f64 {
    let share = |share: &[u64]| {
        for key in share {
            black_box(insert(key));
        }
    };
    if threads == 1 {
        return clock.time(|| share(keys));
    }
    let shares: Vec<&[u64]> = keys.chunks(keys.len().div_ceil(threads)).collect();
    on_threads(threads, |thread| share(shares[thread]))
}

/// What two threads inserted is found.
fn check_all(bench: &Bench, keys: &[u64]) -> Result<()> {
    let (ours, fast) = (ours(keys.len())?, fast(keys.len()));
    let own_hasher = AtomicBloomFilter::with_false_pos(FPR).expected_items(keys.len());
    on_threads(2, |thread| {
        for key in keys.iter().skip(thread).step_by(2) {
            ours.insert(key);
            fast.insert(key);
            own_hasher.insert(key);
        }
    });
    let sides: [&dyn Fn(&u64) -> bool; 3] = [
        &|key| ours.contains(key),
        &|key| fast.contains(key),
        &|key| own_hasher.contains(key),
    ];
    for side in sides {
        let found = bench.answer(keys.iter().filter(|key| side(key)).count());
        check(found == keys.len(), "a key that was inserted is missing")?;
        let others = self::keys(4, 20_000);
        let wrong = others.iter().filter(|key| side(key)).count();
        let rate = bench.answer(wrong as f64 / others.len() as f64);
        check(rate <= 2.0 * FPR, "more than twice the false positives")?;
    }
    Ok(())
}
