//! The cache, in memory and below it.

mod field;
mod footprint;
mod hits;
mod hot;
mod inserts;
mod peers;
mod policies;
mod recorded;
mod remote;
mod replay;
mod shelves;
mod tiers;

use super::Benchmark;

pub(super) const ROWS: &[(&str, Benchmark)] = &[
    ("cache.access_l1", hits::time),
    ("cache.access_l2", tiers::compressed),
    ("cache.access_l3", tiers::directory),
    ("cache.hit", hits::bare),
    ("cache.hit_str", hits::bare_strings),
    ("cache.hit_2t", hits::bare_by_two),
    ("cache.hit_str_2t", hits::bare_strings_by_two),
    ("cache.hit_full", hits::full),
    ("cache.hit_full_2t", hits::full_by_two),
    ("cache.insert_evict", inserts::bare),
    ("cache.insert_evict_2t", inserts::bare_by_two),
    ("cache.insert_full", inserts::full),
    ("cache.memory", tiers::memory),
    ("cache.metadata", footprint::metadata),
    ("cache.hit_rate", hot::rate),
    ("cache.hit_rate_recorded", recorded::rate),
    ("cache.cached_response", hot::cached_response),
    ("cache.policy", replay::policy),
    ("cache.policy_worst", replay::worst),
    ("cache.redis_many", remote::many),
];
