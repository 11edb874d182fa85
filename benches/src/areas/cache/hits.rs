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
use crate::{Bench, Clock::Wall, Contest, Measured, Standing, check, on_threads, quantile};

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
    let (dashmap, map) = (&field.dashmap, &field.map);
    let contest = join(contest, threads, named(dashmap), dashmap, keys);
    Ok(join(contest, threads, named(map), map, keys).run())
}

/// Hits in a row that one reading of the clock pays for.
const ROW: usize = 32;

/// The median time of a hit, over short runs of hits.
pub(super) fn time(bench: &Bench) -> Result<Measured> {
    let lookups = bench.fixture(|| Lookups::<u64>::new(bench))?;
    lookups.verify(bench)?;
    let (field, keys) = (&lookups.field, &lookups.keys);
    let mut contest = Contest::new(bench, keys.len() as u64);
    each!(field, |peer| contest = join_median(contest, peer, keys));
    let contest = join_median(contest, &field.dashmap, keys);
    Ok(join_median(contest, &field.map, keys).run().time(1.0))
}

/// A side whose run counts as if every hit had taken the median.
fn join_median<'a, P: Peer<u64>>(
    contest: Contest<'a>,
    peer: &'a P,
    keys: &'a [u64],
) -> Contest<'a> {
    contest.side_timed(P::NAME, P::VERSION, move |_| {
        // The wall clock is read without a system call; being interrupted is not in the median.
        let row = |row| {
            let took = Wall.time(|| {
                black_box(found(peer, row));
            });
            took / ROW as f64
        };
        let mut rows: Vec<f64> = keys.chunks_exact(ROW).map(row).collect();
        rows.sort_by(f64::total_cmp);
        quantile(&rows, 0.5) * keys.len() as f64
    })
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
