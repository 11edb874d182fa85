//! Why a key is or is not in the cache.

use crate::stats::EvictionCause;
use std::time::Duration;

/// Why a lookup of a key would miss now, or did when its entry was met dead. Memory remembers the last 64 such keys of
/// each shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MissReason {
    /// Nothing is known of the key: never inserted, removed, or evicted long ago.
    Absent,
    /// It was evicted to make room, lately enough to be remembered.
    EvictedLately,
    /// It was removed, lately enough to be remembered.
    Removed,
    /// Its time to live is over.
    Expired,
    /// It was not asked for during the time-to-idle.
    Idle,
    /// A label of it was invalidated after its load began.
    Invalidated,
    /// A tier that does not answer.
    Unreachable,
}

/// What [`Cache::explain`](crate::Cache::explain) goes by where the entry is gone: the keys that died or were removed
/// last, by their hashes.
#[derive(Debug, Default)]
pub(crate) struct Departed(Option<Box<[Departure; DEPARTED]>>);

/// A hash, and why a lookup of that key would miss.
type Departure = (u32, Option<MissReason>);

const DEPARTED: usize = 64;

impl Departed {
    /// Notes what a lookup would have been told.
    pub(crate) fn note(&mut self, hash: u32, cause: EvictionCause) {
        if let Some(reason) = MissReason::of(cause) {
            let all = self
                .0
                .get_or_insert_with(|| Box::new([(0, None); DEPARTED]));
            all[hash as usize % DEPARTED] = (hash, Some(reason));
        }
    }

    pub(crate) fn reason(&self, hash: u32) -> Option<MissReason> {
        let (noted, reason) = self.0.as_ref()?[hash as usize % DEPARTED];
        reason.filter(|_| noted == hash)
    }
}

impl MissReason {
    /// Of those causes that a lookup is told of.
    pub(crate) fn of(cause: EvictionCause) -> Option<Self> {
        match cause {
            EvictionCause::Expired => Some(Self::Expired),
            EvictionCause::Idle => Some(Self::Idle),
            EvictionCause::Invalidated => Some(Self::Invalidated),
            EvictionCause::Removed => Some(Self::Removed),
            _ => None,
        }
    }
}

/// What [`Cache::explain`](crate::Cache::explain) tells of a key. Asking changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explain {
    /// `None` when a lookup would hit.
    pub miss: Option<MissReason>,
    /// How long ago the entry came into memory. `None` when it is not there, and in a [`Cache`](crate::Cache) also when
    /// it brought a time to live of its own or the cache has none: nothing is kept for it then.
    pub age: Option<Duration>,
    /// True for what was prefetched and nobody asked for yet.
    pub prefetched: bool,
    /// The entry's weight, when one is resident (even a dead one).
    pub weight: Option<u32>,
    /// Hits the policy has counted since it last looked at the entry, at most three.
    pub recent_hits: Option<u8>,
    /// True when the entry waits among those that came back, false when it is on probation.
    pub proven: Option<bool>,
    /// Time left to live; `None` when nothing limits it.
    pub expires_in: Option<Duration>,
    /// The logical time at which the entry's load began; `None` for entries without labels.
    pub birth: Option<u64>,
    /// The newest invalidation of any of its labels; the entry is stale when it is above `birth`.
    pub invalidated_at: Option<u64>,
}

impl Explain {
    pub(crate) fn absent(reason: MissReason) -> Self {
        Self {
            miss: Some(reason),
            age: None,
            prefetched: false,
            weight: None,
            recent_hits: None,
            proven: None,
            expires_in: None,
            birth: None,
            invalidated_at: None,
        }
    }
}
