//! A filter in front of a slow cache tier.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mainspring_bloom::{BuildError, SharedBloomFilter};
use mainspring_cache_tier::{Key, Label, Marks, Tell, Tier, TierEntry, TierFuture, TierUsage};

/// A [`Tier`] that is not asked for what it cannot have: a Bloom filter over the keys put into it
/// answers first.
///
/// Worth it where a miss costs more than some 20 ns: a file per entry, a disk, a network. A tier that
/// other processes write to is always asked, since the filter does not know their keys; so is one that
/// cannot tell its keys when it is opened with entries in it. Removed and evicted keys stay in the filter and
/// cost a question, until the tier is opened again. Memory: about 10 bits for each key of the capacity.
/// Thread-safe. [`usage`](Tier::usage) is the tier's own: entries and bytes without the filter.
///
/// ```
/// # #[cfg(not(feature = "mmap-store"))]
/// # fn main() {}
/// # #[cfg(feature = "mmap-store")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::sync::Arc;
///
/// use mainspring::{
///     adapters::{FilteredTier, StoreTier},
///     cache_tier::{BytesCodec, Key, TieredCache},
///     mmap_store::Options,
/// };
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// # let dir = tempfile::tempdir()?;
/// let store = StoreTier::new(Options::new().create(true).open(dir.path())?, 50_000, 1 << 30)?;
/// let tier = Arc::new(FilteredTier::new(store, 50_000).await?);
/// let cache = TieredCache::<String>::builder(BytesCodec).tier(Arc::clone(&tier) as _).open().await?;
/// assert_eq!(cache.get(&Key::new("session:a", "never there")).await, None);
/// assert_eq!(tier.spared(), 1);
/// # Ok(()) })
/// # }
/// ```
#[derive(Debug)]
pub struct FilteredTier<T> {
    tier: T,
    filter: SharedBloomFilter,
    /// Whether every key of the tier is in the filter.
    complete: AtomicBool,
    spared: AtomicU64,
}

impl<T: Tier> FilteredTier<T> {
    /// Share of absent keys that the tier is asked for in vain, at capacity.
    const FALSE_POSITIVES: f64 = 0.01;

    /// Takes over a tier of up to `capacity` entries; beyond it more questions are asked in vain.
    /// Costs telling its keys.
    ///
    /// # Errors
    /// [`BuildError`] for a capacity of which no filter can be made.
    pub async fn new(tier: T, capacity: usize) -> Result<Self, BuildError> {
        let filter = SharedBloomFilter::with_capacity_and_fpr(capacity, Self::FALSE_POSITIVES)?;
        let keys = tier.keys(capacity).await.unwrap_or_default();
        for key in &keys {
            filter.insert(&key.digest());
        }
        let complete = !tier.is_shared() && tier.usage().entries <= keys.len() as u64;
        Ok(Self {
            tier,
            filter,
            complete: AtomicBool::new(complete),
            spared: AtomicU64::new(0),
        })
    }

    /// Questions that the tier was spared.
    pub fn spared(&self) -> u64 {
        self.spared.load(Ordering::Relaxed)
    }

    /// The tier behind the filter.
    pub fn tier(&self) -> &T {
        &self.tier
    }

    fn may_have(&self, key: &Key) -> bool {
        let may = !self.complete.load(Ordering::Acquire) || self.filter.contains(&key.digest());
        if !may {
            self.spared.fetch_add(1, Ordering::Relaxed);
        }
        may
    }
}

impl<T: Tier> Tier for FilteredTier<T> {
    fn name(&self) -> &str {
        self.tier.name()
    }

    fn get<'a>(&'a self, key: &'a Key) -> TierFuture<'a, Option<TierEntry>> {
        match self.may_have(key) {
            true => self.tier.get(key),
            false => Box::pin(async { Ok(None) }),
        }
    }

    fn get_many<'a>(&'a self, keys: &'a [Key]) -> TierFuture<'a, Vec<Option<TierEntry>>> {
        Box::pin(async move {
            let may: Vec<bool> = keys.iter().map(|key| self.may_have(key)).collect();
            let asked = keys.iter().zip(&may).filter(|&(_, &may)| may);
            let asked: Vec<Key> = asked.map(|(key, _)| key.clone()).collect();
            let mut found = self.tier.get_many(&asked).await?.into_iter();
            let answer = may.into_iter();
            Ok(answer
                .map(|may| may.then(|| found.next()).flatten().flatten())
                .collect())
        })
    }

    fn put<'a>(&'a self, key: &'a Key, entry: &'a TierEntry) -> TierFuture<'a, ()> {
        // Before the tier has it: from then on it must be asked.
        self.filter.insert(&key.digest());
        self.tier.put(key, entry)
    }

    fn remove<'a>(&'a self, key: &'a Key) -> TierFuture<'a, ()> {
        self.tier.remove(key)
    }

    fn mark<'a>(&'a self, labels: &'a [Label], epoch: u64) -> TierFuture<'a, u64> {
        self.tier.mark(labels, epoch)
    }

    fn marks(&self) -> TierFuture<'_, Marks> {
        self.tier.marks()
    }

    fn observe<'a>(&'a self, labels: &'a [Label]) -> TierFuture<'a, Marks> {
        self.tier.observe(labels)
    }

    fn is_shared(&self) -> bool {
        self.tier.is_shared()
    }

    fn watch(&self, tell: Tell) -> TierFuture<'_, ()> {
        self.tier.watch(tell)
    }

    fn distrust(&self) -> TierFuture<'_, ()> {
        self.tier.distrust()
    }

    fn keys(&self, limit: usize) -> TierFuture<'_, Vec<Key>> {
        self.tier.keys(limit)
    }

    fn clear(&self) -> TierFuture<'_, ()> {
        self.tier.clear()
    }

    fn flush(&self) -> TierFuture<'_, ()> {
        self.tier.flush()
    }

    fn usage(&self) -> TierUsage {
        self.tier.usage()
    }
}
