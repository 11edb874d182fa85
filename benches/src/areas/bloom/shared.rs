//! Inserts through a shared reference.

use std::hint::black_box;

use anyhow::Result;
use fastbloom::AtomicBloomFilter;
use foldhash::fast::FixedState;
use mainspring_bloom::SharedBloomFilter;

use super::large::{STRIPES_A_ROW, Stripes, key};
use super::peers::{check_side, keys};
use super::{rate, worst};
use crate::{Bench, Clock, Contest, Measured, PerInput, Standing, on_threads};

fn ours(count: usize, fpr: f64) -> Result<SharedBloomFilter> {
    Ok(SharedBloomFilter::with_capacity_and_fpr(count, fpr)?)
}

fn fast(count: usize, fpr: f64) -> AtomicBloomFilter<FixedState> {
    AtomicBloomFilter::with_false_pos(fpr)
        .hasher(FixedState::default())
        .expected_items(count)
}

/// Fresh keys through a shared reference, at `T` false positives in a thousand, on one thread: of three
/// sizes the one at which we do worst; two threads on halves of the keys beside it.
pub(super) fn inserts<const T: u32>(bench: &Bench) -> Result<Measured> {
    let fpr = rate(T);
    let sizes = bench
        .scale()
        .pick([1_000, 2_000], [100_000, 300_000], [100_000, 1_000_000]);
    let keys = keys(3, sizes[1]);
    check_all(bench, &keys, fpr)?;
    let small = contest(bench, &keys[..sizes[0]], 1, fpr)?.run();
    let middle = contest(bench, &keys, 1, fpr)?.run();
    let sides = [(sizes[0], small), (sizes[1], middle), large(bench, fpr)?];
    let two = contest(bench, &keys, 2, fpr)?.at_most(30).run();
    let figures = |input: String, standing: &Standing| {
        PerInput::new(
            input,
            [
                ("ns", standing.time(1.0).value.median),
                ("ratio to fastbloom", standing.ratio(RIVAL).value.median),
            ],
        )
    };
    let mut inputs: Vec<PerInput> = sides
        .iter()
        .map(|(size, standing)| figures(format!("{size} keys"), standing))
        .collect();
    inputs.push(figures("two threads".to_owned(), &two));
    Ok(worst(&sides, RIVAL).on_inputs(inputs))
}

/// A filter that no cache holds, most of its keys there already, others in each round.
fn large(bench: &Bench, fpr: f64) -> Result<(usize, Standing)> {
    let count = super::large::size(bench);
    let stripes = Stripes { count };
    let (ours, fast) = (ours(count, fpr)?, fast(count, fpr));
    ours.insert_many(stripes.filled().map(key));
    for number in stripes.filled() {
        fast.insert(&key(number));
    }
    let present = stripes.present();
    let sides: [&dyn Fn(&u64) -> bool; 2] = [&|key| ours.contains(key), &|key| fast.contains(key)];
    for side in sides {
        check_side(bench, side, &present, &stripes.absent(), fpr)?;
    }
    let (mut mine, mut theirs) = (stripes.fresh(), stripes.fresh());
    let standing = Contest::new(bench, stripes.length() as u64)
        .at_most(STRIPES_A_ROW)
        .side_timed("mainspring-bloom", "", |clock| {
            let keys = mine.next().unwrap_or_default();
            spent(clock, &keys, 1, |key| ours.insert(key))
        })
        .side_timed(RIVAL, "0.17", |clock| {
            let keys = theirs.next().unwrap_or_default();
            spent(clock, &keys, 1, |key| fast.insert(key))
        })
        .run();
    Ok((count, standing))
}

const RIVAL: &str = "fastbloom atomic, foldhash";

fn contest<'a>(bench: &Bench, keys: &'a [u64], threads: usize, fpr: f64) -> Result<Contest<'a>> {
    let count = keys.len();
    ours(count, fpr)?;
    Ok(Contest::new(bench, (count / threads) as u64)
        .side_timed("mainspring-bloom", "", move |clock| {
            let filter = ours(count, fpr).expect("it was built before");
            spent(clock, keys, threads, |key| filter.insert(key))
        })
        .side_timed(RIVAL, "0.17", move |clock| {
            let filter = fast(count, fpr);
            spent(clock, keys, threads, |key| filter.insert(key))
        })
        .side_timed("fastbloom atomic, its own hasher", "0.17", move |clock| {
            let filter = AtomicBloomFilter::with_false_pos(fpr).expected_items(count);
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
fn check_all(bench: &Bench, keys: &[u64], fpr: f64) -> Result<()> {
    let (ours, fast) = (ours(keys.len(), fpr)?, fast(keys.len(), fpr));
    let own_hasher = AtomicBloomFilter::with_false_pos(fpr).expected_items(keys.len());
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
        check_side(bench, side, keys, &self::keys(4, 100_000), fpr)?;
    }
    Ok(())
}
