//! Threads that race for the same keys.

use std::sync::Barrier;

use anyhow::Result;
use fastbloom::AtomicBloomFilter;
use foldhash::fast::FixedState;
use mainspring_bloom::{ClaimFilter, SharedBloomFilter};

use super::peers::keys;
use crate::{Bench, Measured, Peer, check};

const FPR: f64 = 0.001;
/// The threads meet again after so many keys, so that they stay at the same ones.
const STRIDE: usize = 2_048;

/// Keys that more than one of the racing threads was told are new.
pub(super) fn raced(bench: &Bench) -> Result<Measured> {
    let keys = keys(5, bench.scale().pick(20_000, 1_000_000, 4_000_000));
    let claims = ClaimFilter::with_capacity_and_fpr(keys.len(), FPR)?;
    let ours = race(bench, &keys, |key| claims.claim(key))?;
    check_kept(bench, &keys, |key| claims.is_claimed(key))?;
    let shared = SharedBloomFilter::with_capacity_and_fpr(keys.len(), FPR)?;
    let several_words = race(bench, &keys, |key| shared.insert(key))?;
    check_kept(bench, &keys, |key| shared.contains(key))?;
    let fast: AtomicBloomFilter<FixedState> = AtomicBloomFilter::with_false_pos(FPR)
        .hasher(FixedState::default())
        .expected_items(keys.len());
    let rival = race(bench, &keys, |key| !fast.insert(key))?;
    check_kept(bench, &keys, |key| fast.contains(key))?;
    let doubled = ours.doubled as f64;
    let peer = |name, version, race: &Race| Peer {
        ratio: doubled / (race.doubled as f64).max(1.0),
        ..Peer::counted(name, version, race.doubled as f64, doubled)
    };
    let peers = vec![
        peer("fastbloom atomic", "0.17", &rival),
        peer("our SharedBloomFilter", "", &several_words),
    ];
    Ok(Measured::counted(doubled)
        .beside("keys claimed twice", doubled, peers)
        .noting(note(keys.len(), &rival)))
}

/// A race that was too short to show the rival's fault says so.
fn note(keys: usize, rival: &Race) -> String {
    let raced = format!("{keys} keys raced by two threads");
    match rival.doubled {
        0 => format!("{raced}: too few to show a double claim of fastbloom; the full size does"),
        _ => raced,
    }
}

/// Nothing is denied after the race.
fn check_kept(bench: &Bench, keys: &[u64], has: impl Fn(&u64) -> bool) -> Result<()> {
    let kept = bench.answer(keys.iter().filter(|key| has(key)).count());
    check(kept == keys.len(), "a key that was claimed is missing")
}

struct Race {
    doubled: usize,
}

/// Two threads ask for every key in the same order; each says which it was told are new.
fn race(bench: &Bench, keys: &[u64], claim: impl Fn(&u64) -> bool + Sync) -> Result<Race> {
    let gate = Barrier::new(2);
    let run = || {
        let mut told = Vec::with_capacity(keys.len());
        for stride in keys.chunks(STRIDE) {
            gate.wait();
            told.extend(stride.iter().map(&claim));
        }
        told
    };
    let [first, second] = std::thread::scope(|scope| {
        let racers = [scope.spawn(run), scope.spawn(run)];
        racers.map(|racer| racer.join().expect("a racer panicked"))
    });
    let count = |told: &[bool]| told.iter().filter(|new| **new).count();
    let pairs = || first.iter().zip(&second);
    let distinct = pairs().filter(|(a, b)| **a || **b).count();
    let doubled = bench.answer(pairs().filter(|(a, b)| **a && **b).count());
    let counted = bench.answer(count(&first) + count(&second) - distinct);
    check(doubled == counted, "the claims do not add up")?;
    let suppressed = bench.answer((keys.len() - distinct) as f64 / keys.len() as f64);
    check(
        suppressed <= 2.0 * FPR,
        "more fresh keys were refused than the rate allows",
    )?;
    Ok(Race { doubled })
}
