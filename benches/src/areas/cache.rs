//! The cache in memory.

use std::hint::black_box;

use anyhow::Result;
use mainspring_cache_tier::Cache;
use mainspring_inputs::Random;

use super::{Settings, check, peer};
use crate::{Measured, paired};

/// A hit, in nanoseconds, beside the fastest peer.
pub(super) fn hit(settings: &Settings) -> Result<Measured> {
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
    check(
        keys.iter().all(|key| ours.get(key) == Some(key + 1)),
        "a cached value is not what it was",
    )?;
    check(
        keys.iter().all(|key| theirs.get(key) == Some(key + 1)),
        "the peer's value is wrong",
    )?;
    let result = paired(
        settings.rounds(),
        keys.len() as u64,
        || {
            black_box(
                keys.iter()
                    .filter_map(|key| ours.get(key))
                    .fold(0u64, u64::wrapping_add),
            );
        },
        || {
            black_box(
                keys.iter()
                    .filter_map(|key| theirs.get(key))
                    .fold(0u64, u64::wrapping_add),
            );
        },
    );
    let peers = vec![peer("quick_cache", "0.7", &result)];
    Ok(Measured::Value {
        value: result.ours_ns,
        peers,
    })
}
