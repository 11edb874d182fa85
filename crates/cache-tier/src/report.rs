//! The counters as metrics.

use crate::cache::Cache;
use crate::stats::CacheStats;
use crate::tier::TierStats;
use crate::tiered::TieredCache;
use metrics::{counter, gauge};
use std::hash::{BuildHasher, Hash};

impl<K: Hash + Eq, V: Clone, S: BuildHasher> Cache<K, V, S> {
    /// Hands the counters of [`stats`](Self::stats) to the recorder of the `metrics` facade, labelled `cache` with this name and `tier`
    /// with `memory`: call it before metrics are collected. Feature `metrics`. Counters: `cache_hits_total`, `cache_misses_total`,
    /// `cache_inserts_total`, `cache_loads_total`, `cache_load_failures_total`, `cache_load_microseconds_total` and, by `cause`,
    /// `cache_evictions_total`; gauges: `cache_entries`, `cache_weight`, `cache_capacity`. Lookups are no slower for it.
    pub fn report(&self, name: &str) {
        let stats = self.stats();
        memory(name, &stats);
        loads(
            name,
            stats.loads,
            stats.load_failures,
            stats.load_time.as_micros(),
        );
    }
}

impl<V: Clone + Send + Sync + 'static> TieredCache<V> {
    /// Like [`Cache::report`], of memory and of every tier by its name; of tiers also `cache_failures_total`,
    /// `cache_lookup_microseconds_total` and the gauge `cache_bytes`; of the whole `cache_saved_microseconds_total`.
    pub fn report(&self, name: &str) {
        let stats = self.stats();
        memory(name, &stats.memory);
        stats.tiers.iter().for_each(|stats| tier(name, stats));
        loads(
            name,
            stats.loads,
            stats.load_failures,
            stats.load_time.as_micros(),
        );
        let cache = name.to_owned();
        counter!("cache_saved_microseconds_total", "cache" => cache)
            .absolute(whole(stats.time_saved.as_micros()));
    }
}

fn whole(micros: u128) -> u64 {
    u64::try_from(micros).unwrap_or(u64::MAX)
}

fn count(metric: &'static str, cache: &str, tier: &str, value: u64) {
    counter!(metric, "cache" => cache.to_owned(), "tier" => tier.to_owned()).absolute(value);
}

fn show(metric: &'static str, cache: &str, tier: &str, value: u64) {
    gauge!(metric, "cache" => cache.to_owned(), "tier" => tier.to_owned()).set(value as f64);
}

fn memory(name: &str, stats: &CacheStats) {
    const TIER: &str = "memory";
    count("cache_hits_total", name, TIER, stats.hits);
    count("cache_misses_total", name, TIER, stats.misses);
    count("cache_inserts_total", name, TIER, stats.inserts);
    show("cache_entries", name, TIER, stats.entries);
    show("cache_weight", name, TIER, stats.weight);
    show("cache_capacity", name, TIER, stats.capacity);
    let left = &stats.evicted;
    for (cause, value) in [
        ("capacity", left.capacity),
        ("expired", left.expired),
        ("idle", left.idle),
        ("invalidated", left.invalidated),
        ("replaced", left.replaced),
        ("removed", left.removed),
        ("too_large", left.too_large),
    ] {
        counter!("cache_evictions_total", "cache" => name.to_owned(), "tier" => TIER, "cause" => cause)
            .absolute(value);
    }
}

fn tier(name: &str, stats: &TierStats) {
    count("cache_hits_total", name, &stats.name, stats.hits);
    count("cache_misses_total", name, &stats.name, stats.misses);
    count("cache_inserts_total", name, &stats.name, stats.puts);
    count("cache_failures_total", name, &stats.name, stats.failures);
    let time = whole(stats.lookup_time.as_micros());
    count("cache_lookup_microseconds_total", name, &stats.name, time);
    show("cache_entries", name, &stats.name, stats.usage.entries);
    show("cache_bytes", name, &stats.name, stats.usage.bytes);
}

fn loads(name: &str, loads: u64, failures: u64, micros: u128) {
    let count = |metric: &'static str, value| {
        counter!(metric, "cache" => name.to_owned()).absolute(value);
    };
    count("cache_loads_total", loads);
    count("cache_load_failures_total", failures);
    count("cache_load_microseconds_total", whole(micros));
}
