//! The interface of everything below memory.

#[cfg(doc)]
use crate::change::Change;
use crate::change::Tell;
use crate::entry::TierEntry;
use crate::error::Error;
use crate::key::Key;
use crate::label::Label;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// What a tier's methods return: a boxed future, so that tiers are trait objects.
pub type TierFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// A store below the memory of a [`TieredCache`](crate::TieredCache): larger and slower.
///
/// A tier stores entries and gives them back; whether one may still be served (time to live, labels,
/// signature) the cache decides. A tier may drop entries whenever it likes. An error makes the cache go
/// on without the tier: it never reaches a caller of the cache. Futures may be dropped at any await; a
/// write whose future was dropped must either not happen or happen before any later call to the tier.
pub trait Tier: Send + Sync + 'static {
    /// A short name for statistics.
    fn name(&self) -> &str;

    /// The stored entry.
    fn get<'a>(&'a self, key: &'a Key) -> TierFuture<'a, Option<TierEntry>>;

    /// The stored entries, in the order of the keys; a damaged one is none. The default asks for one after
    /// the other.
    fn get_many<'a>(&'a self, keys: &'a [Key]) -> TierFuture<'a, Vec<Option<TierEntry>>> {
        Box::pin(async move {
            let mut entries = Vec::with_capacity(keys.len());
            for key in keys {
                entries.push(match self.get(key).await {
                    Err(Error::Damaged { .. }) => None,
                    answer => answer?,
                });
            }
            Ok(entries)
        })
    }

    /// Stores an entry, in place of an older one under the key.
    fn put<'a>(&'a self, key: &'a Key, entry: &'a TierEntry) -> TierFuture<'a, ()>;

    /// Removes what is stored under the key.
    fn remove<'a>(&'a self, key: &'a Key) -> TierFuture<'a, ()>;

    /// Notes that the labels were invalidated at this logical time, to outlive every entry in the tier;
    /// returns the time under which it was noted. A tier that several processes share orders their
    /// invalidations: it may answer with a later time than the one proposed. A tier that forgets its
    /// entries when the process ends has nothing to note: `Ok(epoch)`.
    fn mark<'a>(&'a self, labels: &'a [Label], epoch: u64) -> TierFuture<'a, u64>;

    /// Every mark noted so far, and the latest logical time among them. Asked when a cache opens. An entry that
    /// was born after the cache's time is a miss: a tier that outlives the process notes births, too. Where
    /// marks were dropped, the time must not be lower than any of theirs, and `floor` says below which
    /// birth an entry with labels is stale.
    ///
    /// A shared tier whose clock can be lost names it by labels at the logical time zero: private tiers that were last
    /// used under another clock, across a restart, too, are emptied when a cache opens.
    fn marks(&self) -> TierFuture<'_, Marks>;

    /// The marks of these labels (each with the floor where it was dropped) and the latest logical time of
    /// the store. Asked of shared tiers only, before each lookup, load or insertion of such an entry.
    fn observe<'a>(&'a self, labels: &'a [Label]) -> TierFuture<'a, Marks> {
        let _ = labels;
        Box::pin(async { Ok(Marks::default()) })
    }

    /// True when other processes write to the same store at the same time. They learn of this process's
    /// invalidations at their next lookup below memory; what their memory has, they serve until its time
    /// to live ends.
    fn is_shared(&self) -> bool {
        false
    }

    /// Tells what other processes change, until the future is dropped; a tier that cannot tell answers at once,
    /// as the default does. The tier says when it [starts](Change::Started) to tell, and as soon as it knows that
    /// something may have gone unsaid that it [lost](Change::Lost) the way to know. It need not tell of changes
    /// that were made through itself.
    fn watch(&self, tell: Tell) -> TierFuture<'_, ()> {
        drop(tell);
        Box::pin(async { Ok(()) })
    }

    /// Notes for whoever opens the tier next that it missed an invalidation, a removal or a write, and holds what
    /// must not be served, until it was [cleared](Self::clear). Called when such a call failed, so it should need
    /// less than they do. The default notes nothing.
    fn distrust(&self) -> TierFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    /// The keys of at most so many entries, those first that are worth most to a cache that starts. The default knows
    /// none.
    fn keys(&self, limit: usize) -> TierFuture<'_, Vec<Key>> {
        let _ = limit;
        Box::pin(async { Ok(Vec::new()) })
    }

    /// Removes every entry; marks stay.
    fn clear(&self) -> TierFuture<'_, ()>;

    /// Makes what was put so far as durable as the tier makes things.
    fn flush(&self) -> TierFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    /// What the tier holds now.
    fn usage(&self) -> TierUsage {
        TierUsage::default()
    }
}

/// The invalidations a tier remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Labels and the logical time at which each was last invalidated.
    pub marks: Vec<(Label, u64)>,
    /// Entries with labels that were born before this are stale: marks of that age were dropped.
    pub floor: u64,
    /// The latest logical time the tier knows.
    pub latest: u64,
}

/// What a tier holds; zero where it does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TierUsage {
    /// Entries stored.
    pub entries: u64,
    /// Bytes stored, after compression.
    pub bytes: u64,
    /// The most bytes there ever were.
    pub peak_bytes: u64,
    /// The bytes the stored values have uncompressed; zero where the tier does not compress.
    pub raw_bytes: u64,
    /// Entries dropped to make room.
    pub evictions: u64,
}

impl TierUsage {
    /// A tier's figures, for implementations outside this crate.
    #[must_use]
    pub fn new(entries: u64, bytes: u64) -> Self {
        Self {
            entries,
            bytes,
            ..Self::default()
        }
    }
}

/// What a cache counted about one of its tiers.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct TierStats {
    /// The tier's name.
    pub name: String,
    /// Lookups that the tier answered with a live entry.
    pub hits: u64,
    /// Lookups that it did not.
    pub misses: u64,
    /// Of those, entries that were there but expired, invalidated or of another signature.
    pub dead: u64,
    /// Entries written.
    pub puts: u64,
    /// Calls that failed; the cache went on without the tier.
    pub failures: u64,
    /// Time spent in lookups.
    pub lookup_time: Duration,
    /// What the tier says of itself.
    pub usage: TierUsage,
}

impl TierStats {
    /// Mean time of a lookup; zero before the first.
    #[must_use]
    pub fn mean_lookup(&self) -> Duration {
        let lookups = self.hits + self.misses;
        if lookups == 0 {
            return Duration::ZERO;
        }
        Duration::from_nanos(
            u64::try_from(self.lookup_time.as_nanos() / u128::from(lookups)).unwrap_or(u64::MAX),
        )
    }
}
