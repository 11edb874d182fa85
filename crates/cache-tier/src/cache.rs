//! The synchronous cache.

use crate::arrival::{Leavers, Rules, Terms};
use crate::builder::{CacheBuilder, Settings};
use crate::compute::Compute;
use crate::epochs::Epochs;
use crate::explain::Explain;
use crate::label::{Effects, Label, Scope};
use crate::lanes::Lanes;
use crate::mode::Mode;
use crate::options::EntryOptions;
use crate::shard::Shard;
use crate::slab::{LABELLED, Node, TIMED};
use crate::stats::{CacheStats, EvictionCause};
use crate::sync::{Arc, AtomicU8, AtomicU64, Ordering, RwLock};
use hashbrown::Equivalent;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

/// A concurrent cache in memory: bounded by weight at every instant, with an eviction policy that adapts
/// between recency and frequency by itself. No thread, no runtime.
///
/// A hit takes one shard's read lock, sets a small counter in the entry and clones the value: make `V`
/// cheap to clone (`Arc`, `Bytes`, numbers). Handles are cloned freely and share one cache.
///
/// Closures and destructors of keys and values run outside the locks, except the one given to
/// [`compute`](Self::compute), which weighs and times its value there too, the clock, and the clones of keys
/// and values.
///
/// ```
/// use mainspring_cache_tier::Cache;
///
/// let cache: Cache<String, usize> = Cache::new(1_000);
/// let length = cache.get_or_insert_with("hello".to_owned(), || "hello".len());
/// assert_eq!(length, 5);
/// assert_eq!(cache.get("hello"), Some(5)); // borrowed: no String is made
/// assert_eq!(cache.stats().hits, 1);
/// ```
pub struct Cache<K, V, S = foldhash::fast::RandomState> {
    pub(crate) inner: Arc<Inner<K, V, S>>,
}

/// A shard on cache lines of its own.
#[repr(align(128))]
pub(crate) struct Part<K, V> {
    pub(crate) shard: RwLock<Shard<K, V>>,
}

pub(crate) struct Inner<K, V, S> {
    parts: Box<[Part<K, V>]>,
    hasher: S,
    pub(crate) epochs: Arc<Epochs>,
    pub(crate) settings: Settings<K, V>,
    lanes: Lanes,
    /// A `Mode`.
    pub(crate) mode: AtomicU8,
    pub(crate) loads: AtomicU64,
    pub(crate) load_failures: AtomicU64,
    pub(crate) load_nanos: AtomicU64,
}

impl<K, V, S> Clone for Cache<K, V, S> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<K, V, S> fmt::Debug for Cache<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("shards", &self.inner.parts.len())
            .finish_non_exhaustive()
    }
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    /// A cache of at most `capacity` entries that live until they are evicted or invalidated.
    #[must_use]
    pub fn new(capacity: u64) -> Self {
        Self::builder(capacity)
            .ttl(None)
            .assemble(foldhash::fast::RandomState::default())
    }

    /// Settings for a cache of at most `capacity` (entries, or whatever the weigher weighs in).
    pub fn builder(capacity: u64) -> CacheBuilder<K, V> {
        CacheBuilder::new(capacity)
    }
}

/// The share of `capacity` that shard `index` of `shards` gets; the shares add up to the whole.
fn share(capacity: u64, shards: usize, index: usize) -> u64 {
    let shards = shards as u64;
    capacity / shards + u64::from((index as u64) < capacity % shards)
}

/// A duration as whole nanoseconds.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl<K: Hash + Eq, V: Clone, S: BuildHasher> Cache<K, V, S> {
    pub(crate) fn assemble(settings: Settings<K, V>, hasher: S, epochs: Arc<Epochs>) -> Self {
        let shards = settings.shards;
        let parts = (0..shards).map(|index| {
            let capacity = share(settings.capacity, shards, index);
            let mut shard = Shard::new(capacity, settings.by_cost);
            if let Some(tags) = &settings.tags {
                shard.count(Arc::clone(tags), settings.told.is_some());
            }
            Part {
                shard: RwLock::new(shard),
            }
        });
        Self {
            inner: Arc::new(Inner {
                parts: parts.collect(),
                hasher,
                epochs,
                settings,
                lanes: Lanes::new(),
                mode: AtomicU8::new(Mode::Normal as u8),
                loads: AtomicU64::new(0),
                load_failures: AtomicU64::new(0),
                load_nanos: AtomicU64::new(0),
            }),
        }
    }

    #[inline]
    pub(crate) fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        self.inner.hasher.hash_one(key)
    }

    #[inline]
    pub(crate) fn part(&self, hash: u64) -> &Part<K, V> {
        let parts = &self.inner.parts;
        &parts[(hash >> 40) as usize & (parts.len() - 1)]
    }

    pub(crate) fn essential(&self) -> bool {
        self.inner.settings.essential
    }

    pub(crate) fn parts(&self) -> &[Part<K, V>] {
        &self.inner.parts
    }

    #[inline]
    pub(crate) fn rules(&self) -> Rules<'_> {
        let settings = &self.inner.settings;
        Rules::new(&self.inner.epochs, settings.idle, &settings.clock)
    }

    /// The value, when it is there and alive. One read lock; `V` is cloned.
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.get_with(key, V::clone)
    }

    /// Shows the value to `look` instead of cloning it. `look` runs under the shard's read lock: it must be
    /// short and must not write to this cache.
    #[inline]
    pub fn get_with<Q, R>(&self, key: &Q, look: impl FnOnce(&V) -> R) -> Option<R>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let shard = self.part(hash).shard.read();
        if let Some((index, node)) = shard.find(hash as u32, key) {
            let ends = node.ends();
            if ends == 0 || self.lives(&shard, index, node, ends) {
                node.touch();
                let seen = look(&node.value);
                drop(shard);
                self.inner.lanes.hit();
                return Some(seen);
            }
            drop(shard);
            self.reclaim(hash, key);
        } else {
            drop(shard);
        }
        self.inner.lanes.miss();
        None
    }

    /// True when the entry may be served; where entries idle out, its time begins anew. Apart, so that the
    /// hit of an entry that nothing can end stays short.
    #[inline(never)]
    fn lives(&self, shard: &Shard<K, V>, index: u32, node: &Node<K, V>, ends: u8) -> bool {
        let settings = &self.inner.settings;
        if ends & TIMED != 0 {
            let now = settings.clock.millis();
            let in_time = now < node.end();
            if !in_time || (settings.idle != 0 && !shard.wakes(index, now, settings.idle)) {
                return false;
            }
        }
        if ends & LABELLED == 0 {
            return true;
        }
        let valid = !shard.is_invalidated(index, &self.inner.epochs);
        if let Some(tags) = settings.told.as_ref().filter(|_| valid) {
            let (mask, saved) = shard.counted(index);
            tags.hit(mask, saved);
        }
        valid
    }

    #[cold]
    fn reclaim<Q>(&self, hash: u64, key: &Q)
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let mut leavers = Leavers::new();
        self.part(hash)
            .shard
            .write()
            .reclaim(hash as u32, key, &self.rules(), &mut leavers);
        self.see_off(leavers);
    }

    /// Looks without counting and without telling the policy.
    pub(crate) fn peek<Q>(&self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let shard = self.part(hash).shard.read();
        let (index, node) = shard.find(hash as u32, key)?;
        shard
            .death(index, node, &self.rules())
            .is_none()
            .then(|| node.value.clone())
    }

    /// True when a lookup would hit. Counts as no lookup.
    pub fn contains<Q>(&self, key: &Q) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let shard = self.part(hash).shard.read();
        shard
            .find(hash as u32, key)
            .is_some_and(|(index, node)| shard.death(index, node, &self.rules()).is_none())
    }

    /// Puts a value, evicting what must go to make room for it first; gives back the live value it
    /// replaced. A value heavier than its shard's share of the capacity does not go in (the listener
    /// hears [`EvictionCause::TooLarge`]), and what was there under the key is gone as well.
    pub fn insert(&self, key: K, value: V) -> Option<V> {
        self.insert_with(key, value, &EntryOptions::default())
    }

    /// Like [`insert`](Self::insert), with a time to live or labels of the entry's own.
    pub fn insert_with(&self, key: K, value: V, options: &EntryOptions) -> Option<V> {
        self.insert_born(key, value, options, self.inner.epochs.generation())
    }

    /// The value's load began at the logical time `birth`: labels invalidated since make it stale at once.
    #[inline]
    pub(crate) fn insert_born(
        &self,
        key: K,
        value: V,
        options: &EntryOptions,
        birth: u64,
    ) -> Option<V> {
        let rules = self.rules();
        let mut terms = self.terms(&key, &value, options, birth, &rules);
        self.admit(key, value, &mut terms, &rules)
    }

    /// Like [`insert_born`](Self::insert_born), for what nobody asked for yet.
    pub(crate) fn insert_early(&self, key: K, value: V, options: &EntryOptions, birth: u64) {
        let rules = self.rules();
        let mut terms = self.terms(&key, &value, options, birth, &rules);
        terms.early = true;
        self.admit(key, value, &mut terms, &rules);
    }

    #[inline]
    fn admit(&self, key: K, value: V, terms: &mut Terms, rules: &Rules<'_>) -> Option<V> {
        let hash = self.hash(&key);
        let mut leavers = Leavers::new();
        let mut shard = self.part(hash).shard.write();
        shard.turns.supersede(hash);
        let old = shard.insert(hash as u32, key, value, terms, rules, &mut leavers);
        drop(shard);
        self.see_off(leavers);
        old.map(|(_, value)| value)
    }

    #[inline]
    pub(crate) fn terms(
        &self,
        key: &K,
        value: &V,
        options: &EntryOptions,
        birth: u64,
        rules: &Rules<'_>,
    ) -> Terms {
        let settings = &self.inner.settings;
        let weight = settings.weigh(key, value);
        let stretch = self.inner.mode().stretch();
        let deadline = settings.deadline(key, value, options.ttl, stretch, rules);
        Terms {
            weight,
            deadline,
            own_time: options.ttl.is_some() || stretch != 1,
            birth,
            labels: options.labels.clone(),
            cost: options.cost.map_or(0, nanos),
            early: false,
        }
    }

    /// Drops what left the cache, telling the listener first. No lock is held.
    #[inline(always)]
    pub(crate) fn see_off(&self, leavers: Leavers<K, V>) {
        let listener = self.inner.settings.listener.as_deref();
        if listener.is_none() && !std::mem::needs_drop::<(K, V)>() {
            return;
        }
        leavers.each(|key, value, cause| {
            if let Some(listener) = listener {
                listener(&key, &value, cause);
            }
        });
    }

    /// Removes the entry and gives back its value when it was alive. Loads of the key under way will not
    /// publish what they find.
    pub fn remove<Q>(&self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let mut leavers = Leavers::new();
        let mut shard = self.part(hash).shard.write();
        shard.turns.supersede(hash);
        let rules = self.rules();
        let mut removed = None;
        if shard.reclaim(hash as u32, key, &rules, &mut leavers)
            && let Some(index) = shard.find(hash as u32, key).map(|(index, _)| index)
        {
            removed = shard.detach(index, EvictionCause::Removed);
        }
        drop(shard);
        self.see_off(leavers);
        let (key, value) = removed?;
        if let Some(listener) = &self.inner.settings.listener {
            listener(&key, &value, EvictionCause::Removed);
        }
        Some(value)
    }

    /// Removes the entry; true when a live one was there.
    pub fn invalidate<Q>(&self, key: &Q) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.remove(key).is_some()
    }

    /// Invalidates every entry under the tag: O(1), whatever their number. The entries are unreachable at
    /// once and their room is taken back as they are met or evicted.
    pub fn invalidate_tag(&self, tag: &str) {
        self.inner.epochs.invalidate(&[Label::tag(tag)]);
    }

    /// Invalidates every entry in the scope and below it: O(1).
    pub fn invalidate_scope(&self, scope: impl Into<Scope>) {
        self.inner
            .epochs
            .invalidate(&[Label::scope(scope.into().as_str())]);
    }

    /// Invalidates every entry that reads what these effects write: O(effects).
    pub fn invalidate_writes(&self, effects: &Effects) {
        self.inner.epochs.invalidate(effects.labels());
    }

    /// Decides about an entry atomically: `decide` sees the live value, if there is one, and says what
    /// becomes of it; the value afterwards is returned. `decide` runs under the shard's lock: it must be
    /// short and must not use this cache (it would deadlock); the same goes for the weigher and the closure
    /// given to `expire_with`, which run there for the new value. A panic in it changes nothing.
    pub fn compute(&self, key: K, decide: impl FnOnce(Option<&V>) -> Compute<V>) -> Option<V> {
        let hash = self.hash(&key);
        let rules = self.rules();
        let birth = self.inner.epochs.generation();
        let mut leavers = Leavers::new();
        let mut shard = self.part(hash).shard.write();
        shard.reclaim(hash as u32, &key, &rules, &mut leavers);
        let found = shard
            .find(hash as u32, &key)
            .map(|(index, node)| (index, &node.value));
        let (kept, put) = match (decide(found.map(|(_, value)| value)), found) {
            (Compute::Keep, found) => (found.map(|(_, value)| value.clone()), None),
            (Compute::Remove, Some((index, _))) => {
                let gone = shard.detach(index, EvictionCause::Removed);
                gone.into_iter()
                    .for_each(|(key, value)| leavers.push(key, value, EvictionCause::Removed));
                (None, None)
            }
            (Compute::Remove, None) => (None, None),
            (Compute::Put(value), _) => (Some(value.clone()), Some(value)),
        };
        let changed = put.is_some() || kept.is_none();
        if changed {
            shard.turns.supersede(hash);
        }
        if let Some(value) = put {
            let options = EntryOptions::default();
            let terms = &mut self.terms(&key, &value, &options, birth, &rules);
            let old = shard.insert(hash as u32, key, value, terms, &rules, &mut leavers);
            if let Some((key, old)) = old {
                leavers.push(key, old, EvictionCause::Replaced);
            }
        }
        drop(shard);
        self.see_off(leavers);
        kept
    }

    /// The live entries, cloned shard by shard: a consistent view of each shard, not of the whole.
    pub fn iter(&self) -> impl Iterator<Item = (K, V)> + '_
    where
        K: Clone,
    {
        self.inner.parts.iter().flat_map(|part| {
            let rules = self.rules();
            let shard = part.shard.read();
            let live: Vec<_> = shard
                .live(&rules)
                .map(|node| (node.key.clone(), node.value.clone()))
                .collect();
            live
        })
    }

    /// Changes the capacity; when it shrinks, entries are evicted before this returns.
    pub fn resize(&self, capacity: u64) {
        let shards = self.inner.parts.len();
        for (index, part) in self.inner.parts.iter().enumerate() {
            let mut leavers = Leavers::new();
            part.shard.write().set_capacity(
                share(capacity, shards, index),
                &self.rules(),
                &mut leavers,
            );
            self.see_off(leavers);
        }
    }

    /// Removes everything. Loads under way will not publish what they find.
    pub fn clear(&self) {
        for part in &self.inner.parts {
            let mut leavers = Leavers::new();
            part.shard.write().clear(&mut leavers);
            self.see_off(leavers);
        }
    }

    /// Closes or opens the shards as the mode says. While they are closed nothing comes in; what is there goes.
    pub(crate) fn close_shards(&self) {
        for part in &self.inner.parts {
            let mut leavers = Leavers::new();
            let mut shard = part.shard.write();
            // Asked under the lock: of two changes at once the later one counts in every shard.
            let closed = self.inner.mode() == Mode::Off;
            shard.closed = closed;
            if closed {
                shard.clear(&mut leavers);
            }
            drop(shard);
            self.see_off(leavers);
        }
    }

    /// Drops every entry that is expired, idle or invalidated: O(entries). Never needed for correctness:
    /// dead entries are not served, and the inserts look for them, at one slot each.
    pub fn purge(&self) {
        for part in &self.inner.parts {
            let mut leavers = Leavers::new();
            part.shard.write().sweep_all(&self.rules(), &mut leavers);
            self.see_off(leavers);
        }
    }

    /// Entries resident now, dead ones that nobody met yet included. O(shards).
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner
            .parts
            .iter()
            .map(|part| part.shard.read().len())
            .sum()
    }

    /// True when nothing is resident.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The weight resident now.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.inner
            .parts
            .iter()
            .map(|part| part.shard.read().weight())
            .sum()
    }

    /// Why the key is or is not there, without counting as a lookup.
    pub fn explain<Q>(&self, key: &Q) -> Explain
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        self.part(hash).shard.read().explain(
            hash as u32,
            key,
            &self.rules(),
            self.inner.settings.usual_ttl(),
        )
    }

    /// The counters now. O(shards).
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        let (hits, misses) = self.inner.lanes.sums();
        let mut stats = CacheStats {
            hits,
            misses,
            loads: self.inner.loads.load(Ordering::Relaxed),
            load_failures: self.inner.load_failures.load(Ordering::Relaxed),
            load_time: Duration::from_nanos(self.inner.load_nanos.load(Ordering::Relaxed)),
            ..CacheStats::default()
        };
        for part in &self.inner.parts {
            let shard = part.shard.read();
            stats.entries += shard.len() as u64;
            stats.weight += shard.weight();
            stats.capacity += shard.capacity();
            stats.peak_weight += shard.peak();
            stats.inserts += shard.inserts;
            stats.evicted.add(&shard.left);
        }
        stats
    }
}
