//! What the cache counts.

use std::time::Duration;

/// Why an entry left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EvictionCause {
    /// To make room.
    Capacity,
    /// Its time to live was over.
    Expired,
    /// Nobody had asked for it for the time-to-idle.
    Idle,
    /// One of its tags, scopes or resources was invalidated.
    Invalidated,
    /// A new value took its place.
    Replaced,
    /// It was removed by key, or with everything by `clear`.
    Removed,
    /// It was heavier than its shard may hold and never went in.
    TooLarge,
}

impl EvictionCause {
    pub(crate) const COUNT: usize = 7;

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// Entries that left, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Evicted {
    /// See [`EvictionCause::Capacity`].
    pub capacity: u64,
    /// See [`EvictionCause::Expired`].
    pub expired: u64,
    /// See [`EvictionCause::Idle`].
    pub idle: u64,
    /// See [`EvictionCause::Invalidated`].
    pub invalidated: u64,
    /// See [`EvictionCause::Replaced`].
    pub replaced: u64,
    /// See [`EvictionCause::Removed`].
    pub removed: u64,
    /// See [`EvictionCause::TooLarge`].
    pub too_large: u64,
}

impl Evicted {
    pub(crate) fn add(&mut self, counts: &[u64; EvictionCause::COUNT]) {
        self.capacity += counts[EvictionCause::Capacity.index()];
        self.expired += counts[EvictionCause::Expired.index()];
        self.idle += counts[EvictionCause::Idle.index()];
        self.invalidated += counts[EvictionCause::Invalidated.index()];
        self.replaced += counts[EvictionCause::Replaced.index()];
        self.removed += counts[EvictionCause::Removed.index()];
        self.too_large += counts[EvictionCause::TooLarge.index()];
    }
}

/// A snapshot of a [`Cache`](crate::Cache)'s counters since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Entries resident now, expired ones that nobody met yet included.
    pub entries: u64,
    /// Their weight.
    pub weight: u64,
    /// The most weight there may be.
    pub capacity: u64,
    /// An upper bound of the most weight there ever was: the sum of the shards' peaks. Never above the
    /// largest capacity that was set.
    pub peak_weight: u64,
    /// Lookups that found a live entry.
    pub hits: u64,
    /// Lookups that did not.
    pub misses: u64,
    /// Values put in, replaced ones included.
    pub inserts: u64,
    /// Loaders run to their end.
    pub loads: u64,
    /// Loaders that failed or panicked.
    pub load_failures: u64,
    /// Time spent in loaders.
    pub load_time: Duration,
    /// Entries that left, by cause.
    pub evicted: Evicted,
}

impl CacheStats {
    /// Hits as a fraction of lookups; zero before the first.
    #[must_use]
    pub fn hit_rate(&self) -> f64 {
        let lookups = self.hits + self.misses;
        if lookups == 0 {
            0.0
        } else {
            self.hits as f64 / lookups as f64
        }
    }
}
