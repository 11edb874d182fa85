//! Settings of the synchronous cache.

use crate::arrival::Rules;
use crate::cache::Cache;
use crate::clock::{Clock, LATEST, saturating_millis};
use crate::epochs::Epochs;
use crate::ledger::Counted;
use crate::stats::EvictionCause;
use crate::sync::Arc;
use crate::tags::{self, Tags};
use std::error::Error as StdError;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

/// Settings that make no cache.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// The number of shards is no power of two, or zero.
    Shards(usize),
    /// A time to live or a time-to-idle of zero: nothing would ever be served.
    ZeroDuration(&'static str),
    /// Two tiers that other processes write to; their clocks of invalidations could not be kept in step.
    SharedTiers,
    /// A bound of zero where something must fit.
    ZeroBound(&'static str),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shards(shards) => write!(f, "{shards} shards: the number must be a power of two"),
            Self::ZeroDuration(what) => write!(f, "{what} of zero: pass None to switch it off"),
            Self::SharedTiers => {
                f.write_str("two shared tiers: at most one may be written to by other processes")
            }
            Self::ZeroBound(what) => write!(f, "{what} of zero: pass at least one"),
        }
    }
}

impl StdError for BuildError {}

type Weigher<K, V> = Arc<dyn Fn(&K, &V) -> u32 + Send + Sync>;
type Expiry<K, V> = Arc<dyn Fn(&K, &V) -> Option<Duration> + Send + Sync>;
type Listener<K, V> = Arc<dyn Fn(&K, &V, EvictionCause) + Send + Sync>;

/// What a cache is told once.
pub(crate) struct Settings<K, V> {
    pub(crate) capacity: u64,
    pub(crate) shards: usize,
    /// Milliseconds; zero for off.
    pub(crate) idle: u64,
    pub(crate) clock: Clock,
    pub(crate) by_cost: bool,
    pub(crate) essential: bool,
    pub(crate) listener: Option<Listener<K, V>>,
    /// The tags that are counted for, if any.
    pub(crate) tags: Option<Arc<Counted>>,
    /// The same, where this cache itself tells of them.
    pub(crate) told: Option<Arc<Tags>>,
    ttl: Option<Duration>,
    ttl_millis: Option<u64>,
    weigher: Option<Weigher<K, V>>,
    expiry: Option<Expiry<K, V>>,
}

impl<K, V> Settings<K, V> {
    #[inline]
    pub(crate) fn weigh(&self, key: &K, value: &V) -> u32 {
        self.weigher.as_ref().map_or(1, |weigh| weigh(key, value))
    }

    /// The time to live of entries that bring none, in milliseconds; `None` for no limit, or where it is computed.
    pub(crate) fn usual_ttl(&self) -> Option<u64> {
        self.ttl_millis.filter(|_| self.expiry.is_none())
    }

    /// When an entry expires: after its own time to live, else the one computed for it, else the cache's.
    #[inline]
    pub(crate) fn deadline(
        &self,
        key: &K,
        value: &V,
        own: Option<Duration>,
        stretch: u32,
        rules: &Rules<'_>,
    ) -> u64 {
        let mut ttl = self.ttl_millis.map(|ttl| ttl * u64::from(stretch));
        if own.is_some() || self.expiry.is_some() {
            let computed = || self.expiry.as_ref().and_then(|expiry| expiry(key, value));
            ttl = own.or_else(computed).map(saturating_millis).or(ttl);
        }
        ttl.map_or(0, |ttl| rules.millis().saturating_add(ttl).clamp(1, LATEST))
    }
}

/// Settings of a [`Cache`]. Defaults: 60 s to live, no time-to-idle, entries weigh one each.
#[must_use = "a builder does nothing until it is built"]
pub struct CacheBuilder<K, V> {
    settings: Settings<K, V>,
    shards: Option<usize>,
    idle: Option<Duration>,
    epochs: Option<Arc<Epochs>>,
    labels: usize,
}

impl<K, V> fmt::Debug for CacheBuilder<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheBuilder")
            .field("capacity", &self.settings.capacity)
            .field("shards", &self.shards)
            .field("ttl", &self.settings.ttl)
            .field("tti", &self.idle)
            .finish_non_exhaustive()
    }
}

impl<K: Hash + Eq, V: Clone> CacheBuilder<K, V> {
    pub(crate) fn new(capacity: u64) -> Self {
        Self {
            settings: Settings {
                capacity,
                shards: 1,
                idle: 0,
                clock: Clock::system(),
                by_cost: false,
                essential: true,
                listener: None,
                tags: None,
                told: None,
                ttl: Some(Duration::from_secs(60)),
                ttl_millis: None,
                weigher: None,
                expiry: None,
            },
            shards: None,
            idle: None,
            epochs: None,
            labels: Epochs::BOUND,
        }
    }

    /// How much an entry counts against the capacity, for instance its size in bytes. Called once per
    /// insert, outside the locks (inside for `compute`). Entries of weight zero are bounded by nothing.
    /// Default: 1.
    pub fn weigher(mut self, weigher: impl Fn(&K, &V) -> u32 + Send + Sync + 'static) -> Self {
        self.settings.weigher = Some(Arc::new(weigher));
        self
    }

    /// Time to live of an entry, counted from its insertion. Default: 60 s; `None`: no limit.
    /// With a limit, a hit reads the clock, which takes longer than the rest of it. Where that matters pass a
    /// [`clock`](Self::clock) that reads an atomic which your runtime sets every few milliseconds.
    pub fn ttl(mut self, ttl: impl Into<Option<Duration>>) -> Self {
        self.settings.ttl = ttl.into();
        self
    }

    /// Time after its last use at which an entry goes. Default: `None`. Costs 8 bytes an entry.
    pub fn tti(mut self, tti: impl Into<Option<Duration>>) -> Self {
        self.idle = tti.into();
        self
    }

    /// Computes an entry's time to live at insertion; `None` means the cache's own.
    pub fn expire_with(
        mut self,
        expiry: impl Fn(&K, &V) -> Option<Duration> + Send + Sync + 'static,
    ) -> Self {
        self.settings.expiry = Some(Arc::new(expiry));
        self
    }

    /// Told of every entry that leaves, with the cause, after the fact and outside the locks; it may use
    /// the cache. Values that `insert` hands back are not told.
    pub fn on_evict(
        mut self,
        listener: impl Fn(&K, &V, EvictionCause) + Send + Sync + 'static,
    ) -> Self {
        self.settings.listener = Some(Arc::new(listener));
        self
    }

    /// Evicts by what an entry costs to make anew for its weight, too: those above the (geometric) mean are passed
    /// over at their eviction, once for every doubling and up to seven times, anew after every hit. The cost is
    /// [`EntryOptions::cost`](crate::EntryOptions::cost), else the time that the closure of `get_or_insert_with` took; entries of unknown
    /// cost are evicted as ever. One byte an entry. Default: off.
    pub fn by_cost(mut self) -> Self {
        self.settings.by_cost = true;
        self
    }

    /// Declares that the process can do without what the cache holds (contents of files, answers of servers), so that
    /// [`Caches::clear_non_essential`](crate::Caches::clear_non_essential) empties it when memory gets short. Default:
    /// essential.
    pub fn non_essential(mut self) -> Self {
        self.settings.essential = false;
        self
    }

    /// Where the time is read. Default: the machine's clock.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.settings.clock = clock;
        self
    }

    /// The number of independently locked parts, a power of two. An entry may weigh at most its part's
    /// share of the capacity. Default: four per core, fewer where a part would hold less than 512.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
        self
    }

    /// Invalidated labels remembered one by one (default 65,536; 24 bytes each); beyond, the oldest half
    /// is folded into one, which costs needless misses and never a stale hit.
    pub fn labels(mut self, bound: usize) -> Self {
        self.labels = bound;
        self
    }

    /// Counts for these tags, at most 64 of them, what [`Cache::tag_stats`] tells. 12 bytes for every entry, from the first
    /// that has one of them; a hit of an entry with labels takes some nanoseconds longer. Default: none.
    pub fn count_tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        let tags = tags.into_iter().take(tags::MOST).map(Into::into).collect();
        let tags = Arc::new(Tags::new(tags));
        let counted = tags.counted();
        self.settings.told = (!counted.is_empty()).then_some(tags);
        self.count_labels(counted)
    }

    /// Counts what there is of these tags, and what left.
    pub(crate) fn count_labels(mut self, tags: Arc<Counted>) -> Self {
        self.settings.tags = (!tags.is_empty()).then_some(tags);
        self
    }

    pub(crate) fn epochs(mut self, epochs: Arc<Epochs>) -> Self {
        self.epochs = Some(epochs);
        self
    }

    /// Makes the cache.
    ///
    /// # Errors
    /// [`BuildError`] when the number of shards is no power of two or a duration is zero.
    pub fn build(self) -> Result<Cache<K, V>, BuildError> {
        self.build_with_hasher(foldhash::fast::RandomState::default())
    }

    /// Makes the cache with a hasher of your own. It should spread keys over all 64 bits.
    ///
    /// # Errors
    /// [`BuildError`] when the number of shards is no power of two or a duration is zero.
    pub fn build_with_hasher<S: BuildHasher>(
        self,
        hasher: S,
    ) -> Result<Cache<K, V, S>, BuildError> {
        match self.shards {
            Some(shards) if !shards.is_power_of_two() => return Err(BuildError::Shards(shards)),
            _ => {}
        }
        if self.settings.ttl.is_some_and(|ttl| ttl.is_zero()) {
            return Err(BuildError::ZeroDuration("a time to live"));
        }
        if self.idle.is_some_and(|idle| idle.is_zero()) {
            return Err(BuildError::ZeroDuration("a time-to-idle"));
        }
        Ok(self.assemble(hasher))
    }

    /// Called with settings that were checked, or that the crate chose.
    pub(crate) fn assemble<S: BuildHasher>(mut self, hasher: S) -> Cache<K, V, S> {
        self.settings.shards = self
            .shards
            .unwrap_or_else(|| shards_for(self.settings.capacity));
        self.settings.idle = self.idle.map_or(0, |idle| saturating_millis(idle).max(1));
        self.settings.ttl_millis = self.settings.ttl.map(saturating_millis);
        let epochs = self
            .epochs
            .unwrap_or_else(|| Arc::new(Epochs::new(self.labels)));
        Cache::assemble(self.settings, hasher, epochs)
    }
}

fn shards_for(capacity: u64) -> usize {
    let cores = std::thread::available_parallelism().map_or(4, usize::from);
    let wanted = (cores * 4).next_power_of_two();
    let room = usize::try_from(capacity / 512).unwrap_or(usize::MAX).max(1);
    // The largest power of two that leaves each shard its room.
    wanted.min(1 << room.ilog2())
}
