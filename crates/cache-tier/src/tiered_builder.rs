//! Settings of the tiered cache.

use crate::behind::Behind;
use crate::builder::BuildError;
use crate::cache::Cache;
use crate::clock::Clock;
use crate::codec::Codec;
use crate::debts::Debts;
use crate::epochs::Epochs;
use crate::error::Error;
use crate::history;
use crate::key::Key;
use crate::level::{Level, Owing};
use crate::prefetch::{Prefetch, Sequences};
use crate::sync::Arc;
use crate::tags::{self, Tags};
use crate::tier::Tier;
use crate::tiered::{Resident, TieredCache};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of one tier below memory.
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use = "settings do nothing until they are passed on"]
pub struct TierSettings {
    pub(crate) ttl: Option<Duration>,
    pub(crate) jitter: f64,
    pub(crate) promote: bool,
}

impl TierSettings {
    /// Entries live an hour there, less a jitter of at most a tenth; hits are promoted.
    pub fn new() -> Self {
        Self {
            ttl: Some(Duration::from_secs(3_600)),
            jitter: 0.1,
            promote: true,
        }
    }

    /// Time to live in this tier of entries that bring none of their own. Default: 1 h; `None`: no limit.
    pub fn ttl(mut self, ttl: impl Into<Option<Duration>>) -> Self {
        self.ttl = ttl.into();
        self
    }

    /// The fraction of the time to live by which it is shortened at random, so that entries written
    /// together do not expire together. Clamped to 0..=1. Default: 0.1.
    pub fn jitter(mut self, fraction: f64) -> Self {
        self.jitter = if fraction.is_finite() {
            fraction.clamp(0.0, 1.0)
        } else {
            0.0
        };
        self
    }

    /// Whether a hit in this tier is copied into the tiers above it. Memory takes it anyway. Default: yes.
    pub fn promote(mut self, promote: bool) -> Self {
        self.promote = promote;
        self
    }
}

impl Default for TierSettings {
    fn default() -> Self {
        Self::new()
    }
}

type Weigher<V> = Box<dyn Fn(&Key, &V) -> u32 + Send + Sync>;

/// Settings of a [`TieredCache`].
#[must_use = "a builder does nothing until it is opened"]
pub struct TieredBuilder<V> {
    codec: Arc<dyn Codec<V>>,
    capacity: u64,
    ttl: Option<Duration>,
    weigher: Option<Weigher<V>>,
    tiers: Vec<(Arc<dyn Tier>, TierSettings)>,
    clock: Clock,
    seed: u64,
    behind: Option<(usize, usize)>,
    labels: usize,
    debts: Option<PathBuf>,
    tags: Vec<String>,
    prefetch: Option<Prefetch>,
    by_cost: bool,
    essential: bool,
}

impl<V> fmt::Debug for TieredBuilder<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TieredBuilder")
            .field("capacity", &self.capacity)
            .field("ttl", &self.ttl)
            .field(
                "tiers",
                &self
                    .tiers
                    .iter()
                    .map(|(tier, _)| tier.name())
                    .collect::<Vec<_>>(),
            )
            .finish_non_exhaustive()
    }
}

impl<V: Clone + Send + Sync + 'static> TieredBuilder<V> {
    pub(crate) fn new(codec: impl Codec<V>) -> Self {
        Self {
            codec: Arc::new(codec),
            capacity: 1_000,
            ttl: Some(Duration::from_secs(300)),
            weigher: None,
            tiers: Vec::new(),
            clock: Clock::system(),
            seed: 0x9E37_79B9_7F4A_7C15,
            behind: None,
            labels: Epochs::BOUND,
            debts: None,
            tags: Vec::new(),
            prefetch: None,
            by_cost: false,
            essential: true,
        }
    }

    /// Capacity of the memory tier, in entries or what the weigher weighs in. Default: 1,000.
    pub fn memory(mut self, capacity: u64) -> Self {
        self.capacity = capacity;
        self
    }

    /// Time to live in memory of entries that bring none of their own. Default: 5 min; `None`: no limit.
    pub fn memory_ttl(mut self, ttl: impl Into<Option<Duration>>) -> Self {
        self.ttl = ttl.into();
        self
    }

    /// How much an entry counts against the memory tier's capacity; those of weight zero are bounded by
    /// nothing. Runs under a lock of the cache, which it must not use. Default: 1.
    pub fn weigher(mut self, weigher: impl Fn(&Key, &V) -> u32 + Send + Sync + 'static) -> Self {
        self.weigher = Some(Box::new(weigher));
        self
    }

    /// Adds a tier below those added so far, with [`TierSettings::new`].
    pub fn tier(self, tier: Arc<dyn Tier>) -> Self {
        self.tier_with(tier, TierSettings::new())
    }

    /// Adds a tier below those added so far.
    pub fn tier_with(mut self, tier: Arc<dyn Tier>, settings: TierSettings) -> Self {
        self.tiers.push((tier, settings));
        self
    }

    /// Writes to the tiers later instead of at once: at most `entries` entries and `bytes` bytes wait; what
    /// would pass either bound is written at once. Those that wait are written by
    /// [`drive`](TieredCache::drive), which you spawn, and by [`flush`](TieredCache::flush) and
    /// [`close`](TieredCache::close). Default: written at once.
    pub fn write_behind(mut self, entries: usize, bytes: usize) -> Self {
        self.behind = Some((entries, bytes));
        self
    }

    /// Where the time is read. Default: the machine's clock.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Seeds the jitter of times to live. Default: a constant.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Invalidated labels remembered one by one (default 65,536; 24 bytes each); beyond, the oldest half
    /// is folded into one, which costs needless misses and never a stale hit.
    pub fn labels(mut self, bound: usize) -> Self {
        self.labels = bound;
        self
    }

    /// Learns which key is asked for after which, for [`prefetch`](TieredCache::prefetch), which you spawn. Default: off.
    /// Costs a lock and a few hundred nanoseconds a lookup.
    pub fn prefetch(mut self, settings: Prefetch) -> Self {
        self.prefetch = Some(settings);
        self
    }

    /// Memory evicts by what an entry costs to make anew for its weight, too, as [`CacheBuilder::by_cost`](crate::CacheBuilder::by_cost) says:
    /// [`EntryOptions::cost`](crate::EntryOptions::cost), else the time that its load took here. Default: off.
    pub fn by_cost(mut self) -> Self {
        self.by_cost = true;
        self
    }

    /// Declares that the process can do without what memory holds (contents of files, answers of servers), so that
    /// [`Caches::clear_non_essential`](crate::Caches::clear_non_essential) empties memory when it gets short; the tiers
    /// keep theirs. Default: essential.
    pub fn non_essential(mut self) -> Self {
        self.essential = false;
        self
    }

    /// Counts for these tags, at most 64 of them, what [`TagStats`](crate::TagStats) tells. Costs 8 bytes an entry in memory
    /// where one of them was, a search in the list for each label of an entry that comes, and nothing for a hit of an
    /// entry that is under none. Default: for none.
    pub fn count_tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags = tags.into_iter().take(tags::MOST).map(Into::into).collect();
        self
    }

    /// Keeps in `folder` which tiers missed an invalidation, a removal or a write that could not reach them, so that
    /// the next process empties those before it uses them. One folder for one cache at a time. Default: none, and
    /// only tiers that note it themselves (`DirTier`) are emptied after a restart.
    pub fn debts(mut self, folder: impl Into<PathBuf>) -> Self {
        self.debts = Some(folder.into());
        self
    }

    /// Opens the cache: asks the tiers for the invalidations that they remember.
    ///
    /// # Errors
    /// [`Error::Build`] for settings that make no cache; the error of a tier that cannot tell its
    /// invalidations, because without them it could serve what was invalidated before.
    pub async fn open(self) -> Result<TieredCache<V>, Error> {
        let shared = self.check().map_err(Error::Build)?;
        let epochs = Arc::new(Epochs::new(self.labels));
        let names = || {
            let tiers = self.tiers.iter().enumerate();
            tiers.map(|(place, (tier, _))| Debts::name(place, tier.name()))
        };
        let debts = match self.debts {
            Some(folder) => Some(Arc::new(Debts::open(folder, names())?)),
            None => None,
        };
        let mut remembered = Vec::with_capacity(self.tiers.len());
        for (tier, _) in &self.tiers {
            let marks = tier.marks().await?;
            epochs.adopt(&marks);
            remembered.push(marks);
        }
        epochs.leap();
        for (tier, _) in self.tiers.iter().filter(|(tier, _)| tier.is_shared()) {
            let latest = tier.mark(&[], epochs.generation()).await?;
            epochs.advance(latest);
        }
        if let Some(shared) = shared {
            history::agree(&self.tiers, &remembered, shared, epochs.generation()).await?;
        }
        let tags = Tags::new(self.tags);
        let mut memory = Cache::<Key, Resident<V>>::builder(self.capacity)
            .ttl(self.ttl)
            .count_labels(tags.counted())
            .clock(self.clock.clone());
        if self.by_cost {
            memory = memory.by_cost();
        }
        if !self.essential {
            memory = memory.non_essential();
        }
        if let Some(weigher) = self.weigher {
            memory = memory.weigher(move |key, resident: &Resident<V>| {
                resident.value().map_or(1, |value| weigher(key, value))
            });
        }
        let memory = memory
            .epochs(Arc::clone(&epochs))
            .build()
            .map_err(Error::Build)?;
        let level = |(place, (tier, settings)): (usize, (Arc<dyn Tier>, TierSettings))| {
            let owing = debts.as_ref().map(|debts| Owing {
                debts: Arc::clone(debts),
                name: Debts::name(place, tier.name()),
            });
            Level::new(tier, settings, Arc::clone(&epochs), owing)
        };
        let levels = self.tiers.into_iter().enumerate().map(level).collect();
        let behind = self
            .behind
            .map(|(entries, bytes)| Behind::new(entries, bytes));
        Ok(TieredCache::assemble(
            memory,
            self.ttl,
            levels,
            shared,
            self.codec,
            epochs,
            self.clock,
            behind,
            self.seed,
            tags,
            self.prefetch.map(Sequences::new),
        ))
    }

    fn check(&self) -> Result<Option<usize>, BuildError> {
        let mut shared = self
            .tiers
            .iter()
            .enumerate()
            .filter(|(_, (tier, _))| tier.is_shared());
        let first = shared.next().map(|(index, _)| index);
        if shared.next().is_some() {
            return Err(BuildError::SharedTiers);
        }
        if self
            .behind
            .is_some_and(|(entries, bytes)| entries == 0 || bytes == 0)
        {
            return Err(BuildError::ZeroBound("a write-behind queue"));
        }
        if self.ttl.is_some_and(|ttl| ttl.is_zero()) {
            return Err(BuildError::ZeroDuration("a time to live in memory"));
        }
        if self
            .tiers
            .iter()
            .any(|(_, settings)| settings.ttl.is_some_and(|ttl| ttl.is_zero()))
        {
            return Err(BuildError::ZeroDuration("a tier's time to live"));
        }
        Ok(first)
    }
}
