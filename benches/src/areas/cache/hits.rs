//! Lookups that hit memory.

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use mainspring_cache_tier::{Cache, Clock, EntryOptions};

use super::{
    field::{Lookups, Numbered, each, value_of, verify},
    peers::{CacheKey, Moka, Ours, Peer, QuickCache},
};
use crate::{Bench, Contest, Measured, Standing, check, on_threads};

const REFERENCE: &str = <QuickCache<u64> as Peer<u64>>::NAME;

/// The sum of what is found.
fn found<K: CacheKey, P: Peer<K>>(peer: &P, keys: &[K]) -> u64 {
    keys.iter()
        .filter_map(|key| peer.get(key))
        .fold(0, u64::wrapping_add)
}

/// Name and version of a side.
pub(super) type Named = (&'static str, &'static str);

fn join<'a, K: CacheKey, P: Peer<K>>(
    contest: Contest<'a>,
    threads: usize,
    (name, version): Named,
    peer: &'a P,
    keys: &'a [K],
) -> Contest<'a> {
    if threads == 1 {
        return contest.side(name, version, move || {
            black_box(found(peer, keys));
        });
    }
    contest.side_timed(name, version, move |_| {
        on_threads(threads, |thread| {
            // Every thread starts elsewhere, so that they do not walk in step.
            let (front, back) = keys.split_at(keys.len() / threads * thread);
            black_box(found(peer, back).wrapping_add(found(peer, front)));
        })
    })
}

pub(super) fn named<K: CacheKey, P: Peer<K>>(_: &P) -> Named {
    (P::NAME, P::VERSION)
}

fn standing<K: Numbered>(bench: &Bench, threads: usize) -> Result<Standing> {
    let lookups = bench.fixture(|| Lookups::<K>::new(bench))?;
    lookups.verify(bench)?;
    let (field, keys) = (&lookups.field, &lookups.keys);
    let mut contest = Contest::new(bench, keys.len() as u64);
    each!(field, |peer| contest =
        join(contest, threads, named(peer), peer, keys));
    let dashmap = &field.dashmap;
    Ok(join(contest, threads, named(dashmap), dashmap, keys).run())
}

/// Time of a hit.
pub(super) fn time(bench: &Bench) -> Result<Measured> {
    Ok(standing::<u64>(bench, 1)?.time(1.0))
}

pub(super) fn bare(bench: &Bench) -> Result<Measured> {
    Ok(standing::<u64>(bench, 1)?.ratio(REFERENCE))
}

pub(super) fn bare_strings(bench: &Bench) -> Result<Measured> {
    Ok(standing::<String>(bench, 1)?.ratio(REFERENCE))
}

pub(super) fn bare_by_two(bench: &Bench) -> Result<Measured> {
    Ok(standing::<u64>(bench, 2)?.ratio(REFERENCE))
}

pub(super) fn bare_strings_by_two(bench: &Bench) -> Result<Measured> {
    Ok(standing::<String>(bench, 2)?.ratio(REFERENCE))
}

/// Ours with everything on: time to live, weigher, a tag on every entry; statistics always are.
pub(super) fn full_cache(entries: usize, clock: Clock) -> Ours<u64> {
    let built = Cache::builder(entries as u64 * BYTES)
        .ttl(TTL)
        .weigher(|_, _| BYTES as u32)
        .clock(clock)
        .build();
    built.expect("neither a number of shards nor a zero is given")
}

pub(super) fn full_options() -> EntryOptions {
    EntryOptions::new().tag("benchmark")
}

/// moka with what it has of that.
pub(super) fn full_moka(entries: usize) -> Moka<u64> {
    moka::sync::Cache::builder()
        .max_capacity(entries as u64 * BYTES)
        .weigher(|_, _| BYTES as u32)
        .time_to_live(TTL)
        .build_with_hasher(foldhash::fast::RandomState::default())
}

/// A clock as the crate recommends it where every nanosecond counts: an atomic that somebody sets.
pub(super) fn coarse_clock() -> Clock {
    let now = Arc::new(AtomicU64::new(1_000_000));
    Clock::new(move || Duration::from_millis(now.load(Ordering::Relaxed)))
}

pub(super) const COARSE: Named = ("mainspring-cache-tier, coarse clock", "");
pub(super) const FULL_MOKA: Named = ("moka (sync), ttl and weigher", "0.12");
const TTL: Duration = Duration::from_secs(300);
const BYTES: u64 = 16;

/// A hit with everything on, against quick_cache's bare hit.
pub(super) fn full(bench: &Bench) -> Result<Measured> {
    Ok(full_standing(bench, 1)?.ratio(REFERENCE))
}

pub(super) fn full_by_two(bench: &Bench) -> Result<Measured> {
    Ok(full_standing(bench, 2)?.ratio(REFERENCE))
}

fn full_standing(bench: &Bench, threads: usize) -> Result<Standing> {
    let lookups = bench.fixture(|| Lookups::<u64>::new(bench))?;
    let (keys, capacity) = (&lookups.keys, Lookups::<u64>::ENTRIES * 2);
    let ours = full_cache(capacity, Clock::system());
    let coarse = full_cache(capacity, coarse_clock());
    let moka = full_moka(capacity);
    let options = full_options();
    for key in keys {
        ours.insert_with(*key, value_of(key), &options);
        coarse.insert_with(*key, value_of(key), &options);
        moka.insert(*key, value_of(key));
    }
    let quick_cache = &lookups.field.quick_cache;
    verify(bench, &ours, keys)?;
    verify(bench, &coarse, keys)?;
    verify(bench, &moka, keys)?;
    verify(bench, quick_cache, keys)?;
    let hits = bench.answer(ours.stats().hits);
    check(
        hits == keys.len() as u64,
        "the statistics count other hits than there were",
    )?;
    let contest = Contest::new(bench, keys.len() as u64);
    let contest = join(contest, threads, named(&ours), &ours, keys);
    let contest = join(contest, threads, named(quick_cache), quick_cache, keys);
    let contest = join(contest, threads, COARSE, &coarse, keys);
    Ok(join(contest, threads, FULL_MOKA, &moka, keys).run())
}
