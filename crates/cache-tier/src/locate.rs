//! Where an entry is.

use crate::entry::TierEntry;
use crate::explain::{Explain, MissReason};
use crate::key::Key;
use crate::tiered::{Inner, TieredCache};
use std::sync::Arc;
use std::time::Duration;

/// Where the entry of a key is, and what every tier would make of it. Asking changes nothing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Located {
    /// What memory says.
    pub memory: Explain,
    /// True when the entry waits to be written behind.
    pub waits: bool,
    /// What each tier below memory says, in order.
    pub tiers: Vec<TierCopy>,
}

/// What a tier has under a key.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TierCopy {
    /// The tier's name.
    pub name: Arc<str>,
    /// `None` when the entry may be served.
    pub miss: Option<MissReason>,
    /// The logical time at which the entry's load began.
    pub birth: Option<u64>,
    /// The newest invalidation of any of its labels that this process knows of; the entry is stale when it is above
    /// `birth`.
    pub invalidated_at: Option<u64>,
    /// Time left to live there; `None` when nothing limits it.
    pub expires_in: Option<Duration>,
    /// Bytes of the value.
    pub bytes: Option<u64>,
}

impl Located {
    /// True when a lookup would be answered without a load.
    #[must_use]
    pub fn is_anywhere(&self) -> bool {
        let below = self.tiers.iter().any(|tier| tier.miss.is_none());
        self.memory.miss.is_none() || self.waits || below
    }
}

impl<V: Clone + Send + Sync + 'static> TieredCache<V> {
    /// Asks memory and every tier for the entry, without counting as a lookup and without bringing it up. While the
    /// cache is [off](crate::Mode::Off) no tier is asked.
    pub async fn locate(&self, key: &Key) -> Located {
        let inner = &*self.inner;
        let labels = inner.labels(key, &crate::EntryOptions::default());
        let heard = inner.learn(&labels).await;
        let mut tiers = Vec::with_capacity(inner.levels.len());
        for index in 0..inner.levels.len() {
            tiers.push(inner.copy_in(index, key, heard).await);
        }
        let waiting = inner.behind.as_ref().and_then(|behind| behind.get(key));
        Located {
            memory: self.explain(key),
            waits: waiting.is_some_and(|entry| inner.reason(&entry).is_none()),
            tiers,
        }
    }

    /// True when memory or a tier would answer a lookup: as [`locate`](Self::locate), up to the first that would.
    pub async fn contains(&self, key: &Key) -> bool {
        self.in_memory(key) || self.locate(key).await.is_anywhere()
    }
}

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    async fn copy_in(&self, index: usize, key: &Key, heard: bool) -> TierCopy {
        let level = &self.levels[index];
        let mut copy = TierCopy {
            name: level.name().into(),
            miss: Some(MissReason::Unreachable),
            birth: None,
            invalidated_at: None,
            expires_in: None,
            bytes: None,
        };
        if self.is_off() || !self.is_trusted(Some(index), heard) {
            return copy;
        }
        let Some(found) = level.look(key).await else {
            return copy;
        };
        let Some(entry) = found else {
            copy.miss = Some(MissReason::Absent);
            return copy;
        };
        if !self.learn_more(&entry.labels, heard).await && !self.is_trusted(Some(index), false) {
            return copy;
        }
        let left = entry.expires_at.saturating_sub(self.clock.millis());
        copy.miss = self.reason(&entry);
        copy.birth = Some(entry.birth);
        copy.invalidated_at = Some(self.epochs.newest(&entry.labels));
        copy.expires_in = (entry.expires_at != 0).then(|| Duration::from_millis(left));
        copy.bytes = Some(entry.value.len() as u64);
        copy
    }

    /// Why an entry may not be served, if it may not.
    fn reason(&self, entry: &TierEntry) -> Option<MissReason> {
        if self.is_live(entry, &crate::EntryOptions::default()) {
            return None;
        }
        let expired = entry.expires_at != 0 && self.clock.millis() >= entry.expires_at;
        Some(match expired {
            true => MissReason::Expired,
            false => MissReason::Invalidated,
        })
    }
}
