//! What a shared tier tells of other processes while it is watched, and what memory does about it.

use crate::key::{Digest, Key};
use crate::label::Label;
use crate::sync::{Arc, Ordering};
use crate::tiered::{Inner, TieredCache};
use std::fmt;
use std::time::Duration;

/// What another process did to the store that a shared tier is in, or what became of being told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// From now on every change is told. What came before may not have been.
    Started,
    /// Changes are not told any more.
    Lost,
    /// The entry under the key of this [digest](crate::Key::digest) was written, removed or expired.
    Written(u128),
    /// These labels were invalidated at these logical times.
    Invalidated(Vec<(Label, u64)>),
    /// Anything may have changed.
    Everything,
}

/// Where a tier that is [watched](crate::Tier::watch) says what changed. Cheap to clone.
#[derive(Clone)]
pub struct Tell(Arc<dyn Fn(Change) + Send + Sync>);

impl Tell {
    /// Hands every change to `hear`, which must be quick.
    pub fn new(hear: impl Fn(Change) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hear))
    }

    /// Says that something changed.
    pub fn tell(&self, change: Change) {
        (self.0)(change);
    }
}

impl fmt::Debug for Tell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tell")
    }
}

impl<V: Clone + Send + Sync + 'static> TieredCache<V> {
    /// How long what comes into memory is served while changes of other processes are not told.
    pub const UNTOLD: Duration = Duration::from_secs(1);

    /// Keeps memory in step with what other processes do to the shared tier, for as long as it is polled: spawn
    /// it on your runtime. Returns at once when no tier is shared, or the one that is cannot tell. One call tracks at a
    /// time; another waits, and takes over when that one is dropped.
    ///
    /// Without it, memory serves what others invalidated or overwrote until `memory_ttl` ends. With it, what they
    /// change leaves memory as soon as the tier tells of it. When being told is lost, memory is emptied, and
    /// whatever comes into it until it is told again lives for [`UNTOLD`](Self::UNTOLD) at most. Nothing is served
    /// from memory longer after another process's acknowledged change than the longer of that time and the one in
    /// which the tier notices that it is cut off (`RedisTier`: half a second and its timeout).
    ///
    /// While being told is lost and the shared tier does not answer, private tiers (a `DirTier` above it, say) and the
    /// queue of those written behind are not asked either. A cache that is not tracked goes on serving from them
    /// what others may have invalidated, until the shared tier answers again or the entry's time to live in that tier
    /// ends. What another process may have overwritten (all that private tiers got before this process was being told,
    /// and the keys that it was told of since) they serve only where the shared tier has no entry in its place: it is
    /// asked, too. So a private tier above a shared one spares calls in a tracked cache only. When the shared tier
    /// evicted what was overwritten, or its time there ended, the value before may come back from a private tier that
    /// keeps its entries longer, until its time to live there ends.
    pub async fn track(&self) {
        let inner = &self.inner;
        let Some(level) = inner.shared.map(|index| &inner.levels[index]) else {
            return;
        };
        let only = Key::new("", "track");
        let _turn = inner.trackers.acquire(&only).await;
        let weak = Arc::downgrade(inner);
        let tell = Tell::new(move |change| {
            if let Some(inner) = weak.upgrade() {
                inner.heard(change);
            }
        });
        // Whatever way this ends, nothing is told any more from then on.
        let _untold = Untold(inner);
        level.watch(tell).await;
    }
}

struct Untold<'a, V: Clone + Send + Sync + 'static>(&'a Inner<V>);

impl<V: Clone + Send + Sync + 'static> Drop for Untold<'_, V> {
    fn drop(&mut self) {
        self.0.doubt.untold();
        self.0.limit.store(0, Ordering::Release);
        self.0.flights.supersede_all(|| self.0.memory.clear());
    }
}

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    fn heard(&self, change: Change) {
        match change {
            Change::Started => {
                self.doubt.told_since(self.epochs.begin());
                self.empty_memory(0);
            }
            Change::Lost => {
                self.doubt.untold();
                let limit = TieredCache::<V>::UNTOLD.as_millis() as u64;
                self.empty_memory(limit);
            }
            Change::Everything => {
                self.doubt.told_since(self.epochs.begin());
                self.flights.supersede_all(|| self.memory.clear());
            }
            Change::Written(digest) => {
                self.doubt.wrote(digest, || self.epochs.begin());
                let digest = Digest(digest);
                self.flights
                    .supersede(&digest, || drop(self.memory.remove(&digest)));
            }
            Change::Invalidated(marks) => {
                let latest = marks.iter().map(|(_, epoch)| *epoch).max();
                self.epochs.learn(&marks);
                self.epochs.advance(latest.unwrap_or(0));
            }
        }
    }

    fn empty_memory(&self, limit: u64) {
        self.limit.store(limit, Ordering::Release);
        self.flights.supersede_all(|| self.memory.clear());
    }

    /// True while this process should be told what others change, and is not.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.limit.load(Ordering::Acquire) != 0
    }

    /// The time that something may live in memory which otherwise lives so long and was begun to be read or made at
    /// `began`, in milliseconds.
    pub(crate) fn limited(&self, ttl: Option<Duration>, began: u64) -> Option<Duration> {
        match self.limit.load(Ordering::Acquire) {
            0 => ttl,
            limit => {
                let age = self.clock.millis().saturating_sub(began);
                let limit = Duration::from_millis(limit.saturating_sub(age));
                Some(
                    ttl.or(self.memory_ttl())
                        .map_or(limit, |ttl| ttl.min(limit)),
                )
            }
        }
    }
}
