//! Values that the cache does not keep alive.

use crate::cache::Cache;
use crate::stats::CacheStats;
use crate::sync::{AtomicU64, Ordering};
use hashbrown::Equivalent;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Weak};

/// A cache that finds a value for as long as somebody else holds it, and keeps none alive itself: one copy of each
/// value for all who use it at the same time.
///
/// Bounded in entries like [`Cache`], by the same policy; an entry that is evicted is only not found any more. A value
/// that nobody holds is a miss, and its entry goes when it is met, or when half as many came as there are.
/// An entry takes what it takes in a [`Cache`]; the allocation of a value is given back once its entry is gone, too.
///
/// ```
/// use mainspring_cache_tier::WeakCache;
/// use std::sync::Arc;
///
/// let cache: WeakCache<String, [u8]> = WeakCache::new(1_000);
/// let held = cache.get_or_insert_with("prompt".to_owned(), || Arc::from(*b"You are"));
/// assert!(Arc::ptr_eq(&held, &cache.get("prompt").unwrap()));
/// drop(held);
/// assert_eq!(cache.get("prompt"), None);
/// ```
pub struct WeakCache<K, T: ?Sized> {
    cache: Cache<K, Weak<T>>,
    /// Entries that came since the dead ones were last looked for.
    came: Arc<AtomicU64>,
}

/// The dead are looked for when so many entries came at least.
const FEWEST: u64 = 64;

impl<K, T: ?Sized> Clone for WeakCache<K, T> {
    fn clone(&self) -> Self {
        Self {
            cache: self.cache.clone(),
            came: Arc::clone(&self.came),
        }
    }
}

impl<K, T: ?Sized> fmt::Debug for WeakCache<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WeakCache").field(&self.cache).finish()
    }
}

impl<K: Hash + Eq, T: ?Sized> WeakCache<K, T> {
    /// A cache of at most `capacity` entries, whose values anybody may drop.
    #[must_use]
    pub fn new(capacity: u64) -> Self {
        Self {
            cache: Cache::new(capacity),
            came: Arc::new(AtomicU64::new(0)),
        }
    }

    /// The value, when it is there and somebody holds it. One read lock, and the count of its holders.
    pub fn get<Q>(&self, key: &Q) -> Option<Arc<T>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let held = self.cache.get_with(key, Weak::upgrade)?;
        if held.is_none() {
            self.cache.remove_if(key, is_dead);
        }
        held
    }

    /// Puts a value, in place of the one that was there. The caller keeps it alive.
    pub fn insert(&self, key: K, value: &Arc<T>) {
        drop(self.cache.insert(key, Arc::downgrade(value)));
        self.tidy();
    }

    /// The value that somebody holds, else the one that `init` makes, once however many threads ask: the others wait,
    /// and try theirs when the first was dropped before they saw it. A value that was removed or overwritten while `init`
    /// ran is returned but not found by others.
    pub fn get_or_insert_with(&self, key: K, init: impl FnOnce() -> Arc<T>) -> Arc<T>
    where
        K: Clone,
    {
        let mut init = Some(init);
        loop {
            if let Some(held) = self.get(&key) {
                return held;
            }
            let mut made = None;
            let found = self.cache.get_or_try_insert_with(key.clone(), || {
                made = init.take().map(|init| init());
                made.as_ref().map(Arc::downgrade).ok_or(())
            });
            if let Some(made) = made {
                self.tidy();
                return made;
            }
            if let Some(held) = found.ok().and_then(|weak| weak.upgrade()) {
                return held;
            }
        }
    }

    /// Forgets the value; true when somebody held it.
    pub fn remove<Q>(&self, key: &Q) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let removed = self.cache.remove(key);
        removed.is_some_and(|weak| weak.strong_count() > 0)
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.cache.clear();
    }

    /// Entries resident now, those whose values are gone and that nobody met yet included. O(shards).
    #[must_use]
    pub fn len(&self) -> usize {
        self.cache.len()
    }

    /// True when nothing is resident.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cache.is_empty()
    }

    /// The counters now, where a lookup of an entry whose value is gone counts as a hit of the entry. O(shards).
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        self.cache.stats()
    }

    /// Drops the entries whose values are gone, once half as many entries came as there are.
    fn tidy(&self) {
        let came = self.came.fetch_add(1, Ordering::Relaxed) + 1;
        if came.is_multiple_of(FEWEST) && came * 2 >= self.cache.len() as u64 {
            self.came.store(0, Ordering::Relaxed);
            self.cache.retain(|_, weak| weak.strong_count() > 0);
        }
    }
}

fn is_dead<T: ?Sized>(weak: &Weak<T>) -> bool {
    weak.strong_count() == 0
}
