//! The caches side by side, each as its documentation recommends and all with the same hasher.

use std::{
    collections::HashMap,
    hash::Hash,
    num::NonZeroUsize,
    sync::{Mutex, PoisonError, RwLock},
};

use foldhash::fast::RandomState;
use mini_moka::sync::ConcurrentCacheExt as _;

/// How a cache is cut up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// As it comes, for threads.
    Usual,
    /// In one piece where that can be chosen, so that the policy is judged and not the spread over
    /// shards.
    OnePiece,
}

/// What the caches of these rows are asked for.
pub(super) trait CacheKey: Hash + Eq + Clone + Send + Sync + 'static {
    /// How stretto recommends to hash it.
    type Stretto: stretto::KeyBuilder<Key = Self> + Default + Send + Sync;
}

impl CacheKey for u64 {
    type Stretto = stretto::TransparentKeyBuilder<u64>;
}

impl CacheKey for String {
    type Stretto = stretto::DefaultKeyBuilder<String>;
}

/// A cache of numbers.
pub(super) trait Peer<K: CacheKey>: Sync + Sized {
    const NAME: &'static str;
    const VERSION: &'static str;

    /// An empty cache of at most `capacity` entries.
    fn new(capacity: usize, shape: Shape) -> Self;

    fn get(&self, key: &K) -> Option<u64>;

    fn insert(&self, key: K, value: u64);

    /// Entries resident now.
    fn len(&self) -> usize;

    /// Does what it has put off.
    fn settle(&self) {}
}

/// Ours, bare.
pub(super) type Ours<K> = mainspring_cache_tier::Cache<K, u64>;

impl<K: CacheKey> Peer<K> for Ours<K> {
    const NAME: &'static str = "mainspring-cache-tier";
    const VERSION: &'static str = "";

    fn new(capacity: usize, shape: Shape) -> Self {
        let builder = Self::builder(capacity as u64).ttl(None);
        let built = match shape {
            Shape::Usual => builder.build(),
            Shape::OnePiece => builder.shards(1).build(),
        };
        built.expect("one shard is a power of two")
    }

    fn get(&self, key: &K) -> Option<u64> {
        self.get(key)
    }

    fn insert(&self, key: K, value: u64) {
        self.insert(key, value);
    }

    fn len(&self) -> usize {
        self.len()
    }
}

pub(super) type QuickCache<K> =
    quick_cache::sync::Cache<K, u64, quick_cache::UnitWeighter, RandomState>;

impl<K: CacheKey> Peer<K> for QuickCache<K> {
    const NAME: &'static str = "quick_cache";
    const VERSION: &'static str = "0.7";

    fn new(capacity: usize, shape: Shape) -> Self {
        let mut options = quick_cache::OptionsBuilder::new();
        options
            .estimated_items_capacity(capacity)
            .weight_capacity(capacity as u64);
        if shape == Shape::OnePiece {
            options.shards(1);
        }
        Self::with_options(
            options.build().expect("both capacities are given"),
            quick_cache::UnitWeighter,
            RandomState::default(),
            quick_cache::sync::DefaultLifecycle::default(),
        )
    }

    fn get(&self, key: &K) -> Option<u64> {
        self.get(key)
    }

    fn insert(&self, key: K, value: u64) {
        self.insert(key, value);
    }

    fn len(&self) -> usize {
        self.len()
    }
}

pub(super) struct Foyer<K: CacheKey>(foyer_memory::Cache<K, u64, RandomState>);

impl<K: CacheKey> Peer<K> for Foyer<K> {
    const NAME: &'static str = "foyer (memory, S3-FIFO)";
    const VERSION: &'static str = "0.22";

    fn new(capacity: usize, shape: Shape) -> Self {
        let builder = foyer_memory::CacheBuilder::new(capacity)
            .with_eviction_config(foyer_memory::S3FifoConfig::default())
            .with_hash_builder(RandomState::default());
        Self(match shape {
            Shape::Usual => builder.build(),
            Shape::OnePiece => builder.with_shards(1).build(),
        })
    }

    fn get(&self, key: &K) -> Option<u64> {
        self.0.get(key).map(|entry| *entry.value())
    }

    fn insert(&self, key: K, value: u64) {
        self.0.insert(key, value);
    }

    fn len(&self) -> usize {
        self.0.entries()
    }
}

pub(super) type Moka<K> = moka::sync::Cache<K, u64, RandomState>;

impl<K: CacheKey> Peer<K> for Moka<K> {
    const NAME: &'static str = "moka (sync)";
    const VERSION: &'static str = "0.12";

    fn new(capacity: usize, _: Shape) -> Self {
        moka::sync::Cache::builder()
            .max_capacity(capacity as u64)
            .build_with_hasher(RandomState::default())
    }

    fn get(&self, key: &K) -> Option<u64> {
        self.get(key)
    }

    fn insert(&self, key: K, value: u64) {
        self.insert(key, value);
    }

    fn len(&self) -> usize {
        self.entry_count() as usize
    }

    fn settle(&self) {
        self.run_pending_tasks();
    }
}

pub(super) type MiniMoka<K> = mini_moka::sync::Cache<K, u64, RandomState>;

impl<K: CacheKey> Peer<K> for MiniMoka<K> {
    const NAME: &'static str = "mini-moka (sync)";
    const VERSION: &'static str = "0.10";

    fn new(capacity: usize, _: Shape) -> Self {
        mini_moka::sync::Cache::builder()
            .max_capacity(capacity as u64)
            .build_with_hasher(RandomState::default())
    }

    fn get(&self, key: &K) -> Option<u64> {
        self.get(key)
    }

    fn insert(&self, key: K, value: u64) {
        self.insert(key, value);
    }

    fn len(&self) -> usize {
        self.entry_count() as usize
    }

    fn settle(&self) {
        self.sync();
    }
}

/// stretto puts values in on a thread of its own, with ten counters an entry and costs of 1 that its
/// documents recommend. An insert into a full cache goes through all entries there to draw the five of
/// which one must leave, so that its time grows with the capacity: 40 us at 10,000 entries.
pub(super) type Stretto<K> = stretto::Cache<
    K,
    u64,
    <K as CacheKey>::Stretto,
    stretto::DefaultCoster<u64>,
    stretto::DefaultUpdateValidator<u64>,
    stretto::DefaultCacheCallback<u64>,
    RandomState,
>;

impl<K: CacheKey> Peer<K> for Stretto<K> {
    const NAME: &'static str = "stretto (sync)";
    const VERSION: &'static str = "0.9";

    fn new(capacity: usize, _: Shape) -> Self {
        let capacity = capacity.max(1);
        let hashing = K::Stretto::default();
        let builder =
            stretto::CacheBuilder::new_with_key_builder(capacity * 10, capacity as i64, hashing);
        let cache = builder.set_hasher(RandomState::default()).finalize();
        cache.expect("stretto's defaults are valid")
    }

    fn get(&self, key: &K) -> Option<u64> {
        self.get(key).map(|value| *value.value())
    }

    fn insert(&self, key: K, value: u64) {
        self.insert(key, value, 1);
    }

    fn len(&self) -> usize {
        self.len()
    }

    fn settle(&self) {
        self.wait().expect("stretto's thread runs");
    }
}

/// lru behind a lock, as its users share it.
pub(super) struct MutexLru<K: CacheKey>(Mutex<lru::LruCache<K, u64, RandomState>>);

impl<K: CacheKey> MutexLru<K> {
    fn lock(&self) -> std::sync::MutexGuard<'_, lru::LruCache<K, u64, RandomState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: CacheKey> Peer<K> for MutexLru<K> {
    const NAME: &'static str = "Mutex<lru>";
    const VERSION: &'static str = "0.19";

    fn new(capacity: usize, _: Shape) -> Self {
        let capacity = NonZeroUsize::new(capacity).unwrap_or(NonZeroUsize::MIN);
        let cache = lru::LruCache::with_hasher(capacity, RandomState::default());
        Self(Mutex::new(cache))
    }

    fn get(&self, key: &K) -> Option<u64> {
        self.lock().get(key).copied()
    }

    fn insert(&self, key: K, value: u64) {
        self.lock().put(key, value);
    }

    fn len(&self) -> usize {
        self.lock().len()
    }
}

/// No cache: what a concurrent map without eviction takes.
pub(super) type DashMap<K> = dashmap::DashMap<K, u64, RandomState>;

impl<K: CacheKey> Peer<K> for DashMap<K> {
    const NAME: &'static str = "dashmap (no eviction)";
    const VERSION: &'static str = "6";

    fn new(capacity: usize, _: Shape) -> Self {
        Self::with_capacity_and_hasher(capacity, RandomState::default())
    }

    fn get(&self, key: &K) -> Option<u64> {
        self.get(key).map(|entry| *entry)
    }

    fn insert(&self, key: K, value: u64) {
        self.insert(key, value);
    }

    fn len(&self) -> usize {
        self.len()
    }
}

/// The limit: a map behind a lock that never evicts.
pub(super) struct Map<K: CacheKey>(RwLock<HashMap<K, u64, RandomState>>);

impl<K: CacheKey> Peer<K> for Map<K> {
    const NAME: &'static str = "RwLock<HashMap> (limit: no eviction, no bound)";
    const VERSION: &'static str = "std";

    fn new(capacity: usize, _: Shape) -> Self {
        let map = HashMap::with_capacity_and_hasher(capacity, RandomState::default());
        Self(RwLock::new(map))
    }

    fn get(&self, key: &K) -> Option<u64> {
        let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
        map.get(key).copied()
    }

    fn insert(&self, key: K, value: u64) {
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        map.insert(key, value);
    }

    fn len(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).len()
    }
}
