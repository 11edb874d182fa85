use std::sync::atomic::{AtomicU64, Ordering};

/// A snapshot of a store, cheap to take: O(segments).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Keys that exist.
    pub live_keys: u64,
    /// Bytes of their keys and values.
    pub live_bytes: u64,
    /// Bytes of all segments up to their ends; preallocated space is not counted.
    pub log_bytes: u64,
    /// Of those, bytes of records that exist no more.
    pub dead_bytes: u64,
    /// Bytes written ahead of the log and not used yet.
    pub preallocated_bytes: u64,
    /// Segments, the active one included.
    pub segments: u64,
    /// Bytes of memory of the index.
    pub index_bytes: u64,
    /// Bytes handed to the system since opening: log, zeros ahead of it, index, manifest.
    pub written_bytes: u64,
    /// Bytes of keys and values given to this handle since opening.
    pub user_bytes: u64,
    /// Group commits since opening.
    pub commits: u64,
    /// Requests that those groups carried.
    pub requests: u64,
    /// Syncs of the log since opening.
    pub syncs: u64,
    /// Bytes cut off a torn tail when the store was opened.
    pub torn_bytes: u64,
    /// Damaged places known from opening.
    pub damaged: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) reserved: AtomicU64,
    pub(crate) written: AtomicU64,
    pub(crate) user: AtomicU64,
    pub(crate) commits: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) torn: AtomicU64,
}

pub(crate) fn add(counter: &AtomicU64, value: u64) {
    counter.fetch_add(value, Ordering::Relaxed);
}

/// Subtracts without going below zero.
pub(crate) fn subtract(counter: &AtomicU64, value: u64) {
    let _ = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| {
        Some(old.saturating_sub(value))
    });
}

pub(crate) fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
