//! Paths that touch memory alone: filters, the cache, buffers, figures.

use std::hint::black_box;

use anyhow::Result;
use foldhash::fast::FixedState;
use mainspring_bloom::{BloomFilter, SharedBloomFilter};
use mainspring_cache_tier::Cache;
use mainspring_inputs::Random;
use mainspring_monitor::{Format, Registry};
use mainspring_pool::BufferPool;

use super::{HotPath, Operations};

pub(super) const PATHS: &[HotPath] = &[
    HotPath {
        name: "bloom.insert",
        burst: 100_000,
        prepare: bloom_insert,
    },
    HotPath {
        name: "bloom.insert_shared",
        burst: 50_000,
        prepare: bloom_insert_shared,
    },
    HotPath {
        name: "bloom.hit",
        burst: 100_000,
        prepare: || bloom_lookup(0),
    },
    HotPath {
        name: "bloom.miss",
        burst: 100_000,
        prepare: || bloom_lookup(1 << 40),
    },
    HotPath {
        name: "cache.hit",
        burst: 30_000,
        prepare: cache_hit,
    },
    HotPath {
        name: "cache.insert_evict",
        burst: 5_000,
        prepare: cache_insert_evict,
    },
    HotPath {
        name: "pool.buffer",
        burst: 50_000,
        prepare: pool_buffer,
    },
    HotPath {
        name: "monitor.counter",
        burst: 1_000_000,
        prepare: monitor_counter,
    },
    HotPath {
        name: "monitor.histogram",
        burst: 500_000,
        prepare: monitor_histogram,
    },
    HotPath {
        name: "monitor.export",
        burst: 20,
        prepare: monitor_export,
    },
];

// Tables that fit the first cache: where pages lie then differs from process to process without effect.
const KEYS: u64 = 5_000;

fn bloom_insert() -> Result<Operations> {
    let mut filter = BloomFilter::with_capacity_and_fpr(KEYS as usize, 0.01)?;
    let mut next = 0u64;
    Ok(Box::new(move |count| {
        for _ in 0..count {
            next += 1;
            black_box(filter.insert(&(next % KEYS)));
        }
    }))
}

fn bloom_insert_shared() -> Result<Operations> {
    let filter = SharedBloomFilter::with_capacity_and_fpr(KEYS as usize, 0.01)?;
    let mut next = 0u64;
    Ok(Box::new(move |count| {
        for _ in 0..count {
            next += 1;
            black_box(filter.insert(&(next % KEYS)));
        }
    }))
}

fn bloom_lookup(first: u64) -> Result<Operations> {
    let mut filter = BloomFilter::with_capacity_and_fpr(KEYS as usize, 0.01)?;
    for key in 0..KEYS {
        filter.insert(&key);
    }
    let mut next = 0u64;
    Ok(Box::new(move |count| {
        for _ in 0..count {
            next += 1;
            black_box(filter.contains(&(first + next % KEYS)));
        }
    }))
}

/// The cache with the hash that it has by default, but the same on every run.
fn cache(entries: u64) -> Result<Cache<u64, u64, FixedState>> {
    Ok(Cache::builder(entries).build_with_hasher(FixedState::with_seed(7))?)
}

fn cache_hit() -> Result<Operations> {
    const ENTRIES: u64 = 500;
    let cache = cache(ENTRIES * 2)?;
    for key in 0..ENTRIES {
        cache.insert(key, key);
    }
    let mut random = Random::new(1);
    let keys: Vec<u64> = (0..1 << 14)
        .map(|_| random.below(ENTRIES as usize) as u64)
        .collect();
    let mut at = 0;
    Ok(Box::new(move |count| {
        for _ in 0..count {
            at = (at + 1) % keys.len();
            black_box(cache.get(&keys[at]));
        }
    }))
}

fn cache_insert_evict() -> Result<Operations> {
    let cache = cache(1_000)?;
    let mut next = 0u64;
    let mut insert = move |count| {
        for _ in 0..count {
            next += 1;
            cache.insert(next, next);
        }
    };
    insert(20_000);
    Ok(Box::new(insert))
}

fn pool_buffer() -> Result<Operations> {
    let pool = BufferPool::new();
    Ok(Box::new(move |count| {
        for _ in 0..count {
            let mut buffer = pool.get(4 << 10);
            buffer.extend_from_slice(black_box(b"message"));
            black_box(&buffer);
        }
    }))
}

fn monitor_counter() -> Result<Operations> {
    let counter = Registry::new().counter("requests", &[("route", "/")]);
    Ok(Box::new(move |count| {
        (0..count).for_each(|_| black_box(&counter).add(1))
    }))
}

fn monitor_histogram() -> Result<Operations> {
    let histogram = Registry::new().histogram("sizes", &[]);
    Ok(Box::new(move |count| {
        (0..count).for_each(|value| black_box(&histogram).record(value & 0xfff));
    }))
}

fn monitor_export() -> Result<Operations> {
    let registry = Registry::new();
    for series in 0..1_000u64 {
        let route = format!("/route/{series}");
        registry
            .counter("requests", &[("route", route.as_str())])
            .add(series);
    }
    let mut page = String::new();
    Ok(Box::new(move |count| {
        for _ in 0..count {
            page.clear();
            registry.render_into(Format::OpenMetrics, &mut page);
            black_box(&page);
        }
    }))
}
