//! What gives memory back when it gets short.

use mainspring_cache_tier::TieredCache;
use mainspring_monitor::{Pressure, Registry};
use mainspring_pool::BufferPool;

/// Stages for [`Watch::pressure`](mainspring_monitor::Watch::pressure): above `trim_above` bytes in
/// use, idle buffers are freed; above `clear_above`, the cache's memory tier is emptied too (what
/// lies in lower tiers stays). The bytes freed are those of buffers, which know their size.
#[must_use]
pub fn relief<V: Clone + Send + Sync + 'static>(
    registry: &Registry,
    trim_above: u64,
    clear_above: u64,
    buffers: &BufferPool,
    cache: &TieredCache<V>,
) -> Pressure {
    relief_told(
        registry,
        trim_above,
        clear_above,
        buffers,
        cache,
        |_stage, _freed| {},
    )
}

/// As [`relief`], and calls `tell` with the name of each stage (`trim`, `clear`) and the bytes that it
/// freed.
#[must_use]
pub fn relief_told<V: Clone + Send + Sync + 'static>(
    registry: &Registry,
    trim_above: u64,
    clear_above: u64,
    buffers: &BufferPool,
    cache: &TieredCache<V>,
    tell: impl Fn(&'static str, u64) + Clone + Send + Sync + 'static,
) -> Pressure {
    let (trimmed, told) = (buffers.clone(), tell.clone());
    let (cleared, cache) = (buffers.clone(), cache.clone());
    Pressure::new(registry)
        .stage("trim", trim_above, move || {
            let freed = trimmed.trim(mainspring_pool::Pressure::Moderate).bytes as u64;
            told("trim", freed);
            freed
        })
        .stage("clear", clear_above, move || {
            cache.clear_memory();
            let freed = cleared.trim(mainspring_pool::Pressure::Critical).bytes as u64;
            tell("clear", freed);
            freed
        })
}
