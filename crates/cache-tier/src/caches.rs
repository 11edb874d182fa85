//! The caches of a process, and which of them it can do without.

use crate::cache::Cache;
use crate::sync::{Arc, Mutex};
use crate::tiered::TieredCache;
use std::fmt;
use std::hash::{BuildHasher, Hash};

/// The caches of a process by name, for whoever watches its memory. Cheap to clone; keeps none of them alive.
///
/// A cache is essential unless its builder [declares](crate::CacheBuilder::non_essential) that it is not: those that
/// are not are emptied first.
///
/// ```
/// use mainspring_cache_tier::{Cache, Caches};
///
/// let files: Cache<String, String> = Cache::builder(1_000).non_essential().build()?;
/// let agents: Cache<u64, String> = Cache::new(100);
/// let caches = Caches::new();
/// caches.add("files", &files);
/// caches.add("agents", &agents);
/// files.insert("a.rs".into(), "fn main() {}".into());
/// agents.insert(1, "reviewer".into());
///
/// assert_eq!(caches.clear_non_essential()[0].name, "files");
/// assert_eq!((files.len(), agents.len()), (0, 1));
/// # Ok::<(), mainspring_cache_tier::BuildError>(())
/// ```
#[derive(Clone, Default)]
pub struct Caches {
    listed: Arc<Mutex<Vec<Listed>>>,
}

struct Listed {
    name: String,
    essential: bool,
    /// `None` once the cache is gone.
    clear: Clear,
    is_gone: Box<dyn Fn() -> bool + Send + Sync>,
}

/// Empties a cache, and says how many entries it had and what they weighed.
type Clear = Arc<dyn Fn() -> Option<(u64, u64)> + Send + Sync>;

fn empty<K: Hash + Eq, V: Clone, S: BuildHasher>(cache: &Cache<K, V, S>) -> (u64, u64) {
    let had = (cache.len() as u64, cache.weight());
    cache.clear();
    had
}

/// A cache that was emptied.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cleared {
    /// Under which it was added.
    pub name: String,
    /// Entries that memory had.
    pub entries: u64,
    /// What they weighed: bytes where the cache is weighed in bytes.
    pub weight: u64,
}

impl Caches {
    /// No caches yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a cache.
    pub fn add<K, V, S>(&self, name: impl Into<String>, cache: &Cache<K, V, S>)
    where
        K: Hash + Eq + Send + Sync + 'static,
        V: Clone + Send + Sync + 'static,
        S: BuildHasher + Send + Sync + 'static,
    {
        let weak = Arc::downgrade(&cache.inner);
        let there = weak.clone();
        self.list(Listed {
            name: name.into(),
            essential: cache.is_essential(),
            clear: Arc::new(move || weak.upgrade().map(|inner| empty(&Cache { inner }))),
            is_gone: Box::new(move || there.strong_count() == 0),
        });
    }

    /// Adds a cache over tiers, of which memory is emptied.
    pub fn add_tiered<V>(&self, name: impl Into<String>, cache: &TieredCache<V>)
    where
        V: Clone + Send + Sync + 'static,
    {
        let weak = Arc::downgrade(&cache.inner);
        let there = weak.clone();
        self.list(Listed {
            name: name.into(),
            essential: cache.inner.memory.is_essential(),
            clear: Arc::new(move || weak.upgrade().map(|inner| empty(&inner.memory))),
            is_gone: Box::new(move || there.strong_count() == 0),
        });
    }

    /// Those that are gone make room.
    fn list(&self, listed: Listed) {
        let mut all = self.listed.lock();
        all.retain(|one| !(one.is_gone)());
        all.push(listed);
    }

    /// Empties those that were declared non-essential, in the order in which they were added; says what each held.
    #[must_use = "says what was freed"]
    pub fn clear_non_essential(&self) -> Vec<Cleared> {
        self.clear(|listed| !listed.essential)
    }

    /// Empties all of them, those first that are not essential; says what each held.
    #[must_use = "says what was freed"]
    pub fn clear_all(&self) -> Vec<Cleared> {
        let mut cleared = self.clear_non_essential();
        cleared.extend(self.clear(|listed| listed.essential));
        cleared
    }

    /// The name of each cache, and whether it is essential.
    #[must_use]
    pub fn names(&self) -> Vec<(String, bool)> {
        let listed = self.listed.lock();
        let there = listed.iter().filter(|one| !(one.is_gone)());
        there.map(|one| (one.name.clone(), one.essential)).collect()
    }

    /// Destructors and listeners run without the lock.
    fn clear(&self, which: impl Fn(&Listed) -> bool) -> Vec<Cleared> {
        let chosen: Vec<(String, Clear)> = {
            let listed = self.listed.lock();
            let chosen = listed.iter().filter(|one| which(one));
            chosen
                .map(|one| (one.name.clone(), Arc::clone(&one.clear)))
                .collect()
        };
        let cleared = |(name, clear): (String, Clear)| {
            let (entries, weight) = clear()?;
            Some(Cleared {
                name,
                entries,
                weight,
            })
        };
        chosen.into_iter().filter_map(cleared).collect()
    }
}

impl fmt::Debug for Caches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Caches").field(&self.names()).finish()
    }
}
