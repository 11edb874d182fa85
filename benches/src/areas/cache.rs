//! The cache.

use std::hint::black_box;

use anyhow::Result;
use mainspring_cache_tier::Cache;
use mainspring_inputs::Random;

use super::Benchmark;
use crate::{Bench, Contest, Measured, check};

pub(super) const ROWS: &[(&str, Benchmark)] = &[("cache.access_l1", hit)];

/// A hit, in nanoseconds, beside the fastest peer.
fn hit(bench: &Bench) -> Result<Measured> {
    const ENTRIES: u64 = 10_000;
    let ours: Cache<u64, u64> = Cache::new(ENTRIES * 2);
    let theirs = quick_cache::sync::Cache::<u64, u64>::new(ENTRIES as usize * 2);
    for key in 0..ENTRIES {
        ours.insert(key, key + 1);
        theirs.insert(key, key + 1);
    }
    let mut random = Random::new(1);
    let keys: Vec<u64> = (0..50_000)
        .map(|_| random.below(ENTRIES as usize) as u64)
        .collect();
    for key in &keys {
        let both = [ours.get(key), theirs.get(key)].map(|value| bench.answer(value));
        check(
            both == [Some(key + 1); 2],
            "a cached value is not what it was",
        )?;
    }
    let standing = Contest::new(bench, keys.len() as u64)
        .side("mainspring-cache-tier", "", || {
            black_box(
                keys.iter()
                    .filter_map(|key| ours.get(key))
                    .fold(0u64, u64::wrapping_add),
            );
        })
        .side("quick_cache", "0.7", || {
            black_box(
                keys.iter()
                    .filter_map(|key| theirs.get(key))
                    .fold(0u64, u64::wrapping_add),
            );
        })
        .run();
    Ok(standing.time(1.0))
}
