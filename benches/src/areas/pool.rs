//! Buffers, objects and connections.

mod buffers;
mod checkout;
mod contended;
mod fairness;
mod mimalloc;
mod objects;
mod peers;
mod reclaim;

use super::Benchmark;

pub(super) const ROWS: &[(&str, Benchmark)] = &[
    ("pool.alloc_1k", buffers::against_zeroed_vectors::<1>),
    ("pool.alloc_4k", buffers::against_zeroed_vectors::<4>),
    ("pool.alloc", buffers::against_zeroed_vectors::<16>),
    ("pool.alloc_64k", buffers::against_zeroed_vectors::<64>),
    ("pool.alloc_malloc", buffers::against_untouched_memory),
    ("pool.alloc_burst", buffers::burst),
    ("pool.object", objects::sessions),
    ("pool.reclaim", reclaim::hot_path),
    ("pool.fair", fairness::waits),
    ("pool.contended", contended::on_one_thread),
    ("pool.contended_2t", contended::on_two_threads),
    ("connection.setup", checkout::time),
    ("connection.setup_floor", checkout::over_floor),
];
