//! Why a key is or is not in the cache.

use std::time::Duration;

/// Why a lookup of a key would miss now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MissReason {
    /// Nothing is known of the key: never inserted, removed, or evicted long ago.
    Absent,
    /// It was evicted to make room, lately enough to be remembered.
    EvictedLately,
    /// Its time to live is over.
    Expired,
    /// It was not asked for during the time-to-idle.
    Idle,
    /// A label of it was invalidated after its load began.
    Invalidated,
}

/// What [`Cache::explain`](crate::Cache::explain) tells of a key. Asking changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explain {
    /// `None` when a lookup would hit.
    pub miss: Option<MissReason>,
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
            weight: None,
            recent_hits: None,
            proven: None,
            expires_in: None,
            birth: None,
            invalidated_at: None,
        }
    }
}
