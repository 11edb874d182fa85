//! Entries on their way into a shard and out of it, and what decides about them.

use crate::clock::Clock;
use crate::epochs::Epochs;
use crate::label::Labels;
use crate::stats::EvictionCause;
use std::cell::Cell;

/// On what terms an entry comes in: beside its key and value, so that it stays where it was made while they move.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) weight: u32,
    /// Milliseconds; zero for never.
    pub(crate) deadline: u64,
    /// The deadline is not that of the cache's own time to live.
    pub(crate) own_time: bool,
    /// The logical time at which the value's load began.
    pub(crate) birth: u64,
    pub(crate) labels: Option<Labels>,
    /// What it takes to make the value anew, in nanoseconds; zero where that is not known or does not count.
    pub(crate) cost: u64,
    /// Nobody asked for it yet: it goes on probation, whatever is remembered of its key.
    pub(crate) early: bool,
}

/// Entries that left under the lock and are dropped, and told to the listener, after it.
#[derive(Debug)]
pub(crate) struct Leavers<K, V> {
    first: Option<(K, V, EvictionCause)>,
    more: Vec<(K, V, EvictionCause)>,
}

impl<K, V> Leavers<K, V> {
    #[inline]
    pub(crate) fn new() -> Self {
        Self {
            first: None,
            more: Vec::new(),
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, key: K, value: V, cause: EvictionCause) {
        if self.first.is_none() {
            self.first = Some((key, value, cause));
        } else {
            self.more.push((key, value, cause));
        }
    }

    #[inline]
    pub(crate) fn each(self, mut tell: impl FnMut(K, V, EvictionCause)) {
        if let Some((key, value, cause)) = self.first {
            tell(key, value, cause);
            for (key, value, cause) in self.more {
                tell(key, value, cause);
            }
        }
    }
}

/// What all shards of a cache are told alike.
#[derive(Debug)]
pub(crate) struct Rules<'a> {
    pub(crate) epochs: &'a Epochs,
    /// Milliseconds; zero when entries do not idle out.
    pub(crate) idle: u64,
    clock: &'a Clock,
    /// The time, once it was read; zero before.
    now: Cell<u64>,
}

impl<'a> Rules<'a> {
    #[inline]
    pub(crate) fn new(epochs: &'a Epochs, idle: u64, clock: &'a Clock) -> Self {
        Self {
            epochs,
            idle,
            clock,
            now: Cell::new(0),
        }
    }

    /// The time: read where an entry depends on it, and once for all that one operation decides, for it is
    /// what costs most in a hit.
    #[inline]
    pub(crate) fn millis(&self) -> u64 {
        if self.now.get() == 0 {
            self.now.set(self.clock.millis());
        }
        self.now.get()
    }
}
