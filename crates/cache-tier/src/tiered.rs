//! The cache over several tiers.

use crate::behind::Behind;
use crate::cache::Cache;
use crate::clock::{Clock, saturating_millis};
use crate::codec::Codec;
use crate::doubt::Doubt;
use crate::epochs::Epochs;
use crate::error::SharedError;
use crate::events::Events;
use crate::explain::Explain;
use crate::fetch::Found;
use crate::flight::Flights;
use crate::key::Key;
use crate::keylock::KeyLocks;
use crate::label::Label;
use crate::level::Level;
use crate::mode::Mode;
use crate::options::EntryOptions;
use crate::prefetch::{PrefetchStats, Sequences};
use crate::stats::CacheStats;
use crate::sync::{Arc, AtomicU64, Ordering};
use crate::tags::{Mask, TagStats, Tags};
use crate::tier::TierStats;
use crate::tiered_builder::TieredBuilder;
use std::fmt;
use std::time::Duration;

/// A cache in memory over slower tiers, with one load per key at a time and invalidation that reaches
/// every tier. Needs no runtime of its own: its futures run on any. Handles are cloned freely.
///
/// - A lookup asks memory, then each tier in order; a hit is copied upwards.
/// - However many callers miss a key, one looks it up and loads it; the others wait. When that one is
///   cancelled or panics, another takes over with its own loader.
/// - A load that began before an invalidation of its key, tag, scope or resources never publishes.
/// - A tier that fails is skipped and counted, on reads and on writes.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use bytes::Bytes;
/// use mainspring_cache_tier::{BytesCodec, EntryOptions, Key, Source, TieredCache};
///
/// let cache = TieredCache::<Bytes>::builder(BytesCodec).memory(1_000).open().await?;
/// let key = Key::new("agent:7:tools", "read_file src/main.rs");
/// let options = EntryOptions::new().reads("src/main.rs");
///
/// let load = || async { Ok::<_, std::io::Error>(Bytes::from_static(b"fn main() {}")) };
/// assert_eq!(cache.get_or_try_load(&key, &options, load).await?.source, Source::Loaded);
/// assert_eq!(cache.get_or_try_load(&key, &options, load).await?.source, Source::Memory);
///
/// cache.invalidate_scope("agent:7:*").await;
/// assert_eq!(cache.get(&key).await, None);
/// # Ok::<(), mainspring_cache_tier::Error>(())
/// # }).unwrap().unwrap();
/// ```
pub struct TieredCache<V> {
    pub(crate) inner: Arc<Inner<V>>,
}

pub(crate) struct Inner<V> {
    pub(crate) memory: Cache<Key, Resident<V>>,
    memory_ttl: Option<Duration>,
    pub(crate) flights: Flights<Found<V>>,
    pub(crate) locks: KeyLocks,
    /// Of one key: whoever holds it tracks.
    pub(crate) trackers: KeyLocks,
    pub(crate) levels: Vec<Level>,
    /// The tier that other processes write to as well.
    pub(crate) shared: Option<usize>,
    pub(crate) doubt: Doubt,
    pub(crate) codec: Arc<dyn Codec<V>>,
    pub(crate) epochs: Arc<Epochs>,
    pub(crate) clock: Clock,
    pub(crate) behind: Option<Behind>,
    pub(crate) events: Events,
    pub(crate) counters: Counters,
    pub(crate) tags: Tags,
    pub(crate) sequences: Option<Sequences>,
    /// How long anything may live in memory at the moment, in milliseconds; zero for as long as it says.
    pub(crate) limit: AtomicU64,
    seed: AtomicU64,
}

/// What memory holds under a key.
#[derive(Clone)]
pub(crate) struct Resident<V> {
    pub(crate) content: Content<V>,
    /// When it came into memory, in milliseconds.
    pub(crate) since: u64,
    /// Milliseconds; zero for never.
    pub(crate) soft_at: u64,
    pub(crate) signature: Option<u64>,
    /// How long its load took, in microseconds; zero where that is not known.
    pub(crate) cost: u32,
    pub(crate) tags: Mask,
}

#[derive(Clone)]
pub(crate) enum Content<V> {
    Value(V),
    Failed(SharedError),
}

impl<V> Resident<V> {
    pub(crate) fn value(&self) -> Option<&V> {
        match &self.content {
            Content::Value(value) => Some(value),
            Content::Failed(_) => None,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) loads: AtomicU64,
    pub(crate) load_failures: AtomicU64,
    pub(crate) load_nanos: AtomicU64,
    pub(crate) joined: AtomicU64,
    pub(crate) superseded: AtomicU64,
    pub(crate) stale_served: AtomicU64,
    pub(crate) undecodable: AtomicU64,
    pub(crate) saved_micros: AtomicU64,
    /// Lookups, of which every 64th is timed in memory.
    pub(crate) lookups: AtomicU64,
    pub(crate) timed: AtomicU64,
    pub(crate) timed_nanos: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }
}

/// A snapshot of a [`TieredCache`]'s counters since it was opened.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct TieredStats {
    /// The memory tier.
    pub memory: CacheStats,
    /// The tiers below, in order.
    pub tiers: Vec<TierStats>,
    /// Loaders that ran to their end.
    pub loads: u64,
    /// Of those, the ones that failed.
    pub load_failures: u64,
    /// Time spent in loaders.
    pub load_time: Duration,
    /// Callers that waited for another's lookup or load instead of doing their own.
    pub joined: u64,
    /// Lookups and loads that were not published because of a write or an invalidation meanwhile.
    pub superseded: u64,
    /// Old values served while a new one was loaded, or because loading failed.
    pub stale_served: u64,
    /// Stored bytes that the codec could not read.
    pub undecodable: u64,
    /// Time that hits in memory saved, going by how long each entry took to load here.
    pub time_saved: Duration,
    /// What prefetching did.
    pub prefetch: PrefetchStats,
    /// The tags that were asked for, in that order.
    pub tags: Vec<TagStats>,
    /// Lookups and loads under way.
    pub in_flight: u64,
    /// Keys whose tiers are being written.
    pub writing: u64,
    /// Entries waiting to be written behind.
    pub waiting_writes: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// Mean time of asking memory, over every 64th lookup; zero before the first.
    pub memory_lookup: Duration,
}

impl TieredStats {
    /// Lookups answered by memory or a tier, as a fraction of all; zero before the first.
    #[must_use]
    pub fn hit_rate(&self) -> f64 {
        let below: u64 = self.tiers.iter().map(|tier| tier.hits).sum();
        let lookups = self.memory.hits + self.memory.misses;
        if lookups == 0 {
            0.0
        } else {
            (self.memory.hits + below) as f64 / lookups as f64
        }
    }
}

impl TieredStats {
    /// Mean time that a lookup spent in memory and the tiers, loaders apart; zero before the first.
    #[must_use]
    pub fn mean_lookup(&self) -> Duration {
        let lookups = self.memory.hits + self.memory.misses;
        if lookups == 0 {
            return Duration::ZERO;
        }
        let below: Duration = self.tiers.iter().map(|tier| tier.lookup_time).sum();
        let below = below.as_nanos() / u128::from(lookups);
        self.memory_lookup + Duration::from_nanos(u64::try_from(below).unwrap_or(u64::MAX))
    }
}

impl<V> Clone for TieredCache<V> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<V> fmt::Debug for TieredCache<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tiers: Vec<_> = self.inner.levels.iter().map(|level| level.name()).collect();
        f.debug_struct("TieredCache")
            .field("memory", &self.inner.memory)
            .field("tiers", &tiers)
            .finish_non_exhaustive()
    }
}

impl<V: Clone + Send + Sync + 'static> TieredCache<V> {
    /// Settings for a cache whose values `codec` turns into bytes for the tiers below memory.
    pub fn builder(codec: impl Codec<V>) -> TieredBuilder<V> {
        TieredBuilder::new(codec)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "called in one place, which names them all"
    )]
    pub(crate) fn assemble(
        memory: Cache<Key, Resident<V>>,
        memory_ttl: Option<Duration>,
        levels: Vec<Level>,
        shared: Option<usize>,
        codec: Arc<dyn Codec<V>>,
        epochs: Arc<Epochs>,
        clock: Clock,
        behind: Option<Behind>,
        seed: u64,
        tags: Tags,
        sequences: Option<Sequences>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                memory,
                memory_ttl,
                flights: Flights::new(),
                locks: KeyLocks::default(),
                trackers: KeyLocks::default(),
                levels,
                shared,
                doubt: Doubt::new(),
                codec,
                epochs,
                clock,
                behind,
                events: Events::default(),
                counters: Counters::default(),
                tags,
                sequences,
                limit: AtomicU64::new(0),
                seed: AtomicU64::new(seed),
            }),
        }
    }

    /// True when memory would answer. Tiers are not asked.
    #[must_use]
    pub fn in_memory(&self, key: &Key) -> bool {
        self.inner.memory.contains(key)
    }

    /// Changes the memory tier's capacity.
    pub fn resize_memory(&self, capacity: u64) {
        self.inner.memory.resize(capacity);
    }

    /// Drops the memory tier's entries, for instance under memory pressure; the other tiers keep theirs.
    pub fn clear_memory(&self) {
        self.inner.memory.clear();
    }

    /// How eagerly the cache keeps things now.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.inner.memory.mode()
    }

    /// Changes how eagerly the cache keeps things, in memory and in the tiers. With [`Mode::Off`] memory is emptied, no tier is
    /// asked, and what is loaded or inserted is removed from the tiers instead of written; loads of one key are still
    /// shared.
    pub fn set_mode(&self, mode: Mode) {
        self.inner.memory.set_mode(mode);
    }

    /// Switches the cache off, or on again as its settings say: [`set_mode`](Self::set_mode).
    pub fn set_enabled(&self, enabled: bool) {
        self.inner.memory.set_enabled(enabled);
    }

    /// Why memory would or would not answer, without counting as a lookup. [`locate`](Self::locate) asks the tiers, too.
    #[must_use]
    pub fn explain(&self, key: &Key) -> Explain {
        let inner = &*self.inner;
        let mut explained = inner.memory.explain(key);
        let awaited = |sequences: &Sequences| sequences.awaits(key);
        explained.age = inner.memory.peek(key).map(|resident| {
            Duration::from_millis(inner.clock.millis().saturating_sub(resident.since))
        });
        explained.prefetched =
            explained.miss.is_none() && inner.sequences.as_ref().is_some_and(awaited);
        explained
    }

    /// The counters now. O(shards + tiers).
    #[must_use]
    pub fn stats(&self) -> TieredStats {
        let inner = &*self.inner;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (waiting_writes, waiting_bytes) = inner.behind.as_ref().map_or((0, 0), Behind::waiting);
        TieredStats {
            memory: inner.memory.stats(),
            tiers: inner.levels.iter().map(Level::stats).collect(),
            loads: read(&inner.counters.loads),
            load_failures: read(&inner.counters.load_failures),
            load_time: Duration::from_nanos(read(&inner.counters.load_nanos)),
            joined: read(&inner.counters.joined),
            superseded: read(&inner.counters.superseded),
            stale_served: read(&inner.counters.stale_served),
            undecodable: read(&inner.counters.undecodable),
            time_saved: Duration::from_micros(read(&inner.counters.saved_micros)),
            tags: inner.tags.stats(&inner.memory.tallies()),
            prefetch: inner
                .sequences
                .as_ref()
                .map(Sequences::stats)
                .unwrap_or_default(),
            in_flight: inner.flights.len() as u64,
            writing: inner.locks.len() as u64,
            waiting_writes,
            waiting_bytes,
            memory_lookup: Duration::from_nanos(
                read(&inner.counters.timed_nanos) / read(&inner.counters.timed).max(1),
            ),
        }
    }
}

impl<V> Inner<V> {
    /// Everything that invalidates an entry of that key with these options.
    pub(crate) fn labels(&self, key: &Key, options: &EntryOptions) -> Vec<Label> {
        let own = self.shared.map(|_| Label::of_key(key));
        let given = options.labels();
        let mut labels: Vec<Label> = key.scope().labels().chain(given).chain(own).collect();
        labels.sort_unstable();
        labels.dedup();
        labels
    }

    pub(crate) fn is_off(&self) -> bool {
        self.memory.inner.mode() == Mode::Off
    }

    /// The longest that what brings no time of its own lives in memory.
    pub(crate) fn memory_ttl(&self) -> Option<Duration> {
        let stretch = self.memory.inner.mode().stretch();
        self.memory_ttl.map(|ttl| ttl.saturating_mul(stretch))
    }

    /// The time `span` from now, in milliseconds.
    pub(crate) fn after(&self, span: Duration) -> u64 {
        saturating_millis(Duration::from_millis(self.clock.millis()).saturating_add(span)).max(1)
    }

    /// When an entry written now expires in that tier.
    pub(crate) fn expiry_in(&self, level: &Level, own: Option<Duration>) -> u64 {
        if let Some(own) = own {
            return self.after(own);
        }
        let Some(ttl) = level.settings.ttl else {
            return 0;
        };
        let part = 1.0 - level.settings.jitter * self.random();
        let ttl = ttl.saturating_mul(self.memory.inner.mode().stretch());
        let shortened = Duration::try_from_secs_f64(ttl.as_secs_f64() * part);
        self.after(shortened.unwrap_or(ttl))
    }

    /// A number in 0..1 (SplitMix64 over a counter).
    fn random(&self) -> f64 {
        let mut z = self
            .seed
            .fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}
