//! Reuse of objects that are expensive to build.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::pressure::{Pressure, Reclaimed};
use crate::sync::{Mutex, lock};

type Make<T> = Box<dyn Fn() -> T + Send + Sync>;
type Reset<T> = Box<dyn Fn(&mut T) + Send + Sync>;
type Weigh<T> = Box<dyn Fn(&T) -> usize + Send + Sync>;

/// A pool of objects that are made by a closure and reset on return. Clones share it.
///
/// `get` never blocks: when no object is idle it makes one. At most `max` idle objects are kept, and
/// none heavier than the weight limit, so that one huge use does not pin its memory for ever. An
/// object whose guard drops while its thread panics is discarded, for it may be half changed.
///
/// ```
/// use mainspring_pool::ObjectPool;
///
/// let pool = ObjectPool::builder(Vec::<String>::new)
///     .reset(|list| list.clear())
///     .max_weight(1 << 20, |list| list.capacity() * 24)
///     .build();
/// let mut list = pool.get();
/// list.push("reused".to_owned());
/// drop(list);
/// assert!(pool.get().is_empty());
/// ```
pub struct ObjectPool<T> {
    inner: Arc<Inner<T>>,
}

impl<T> Clone for ObjectPool<T> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

struct Inner<T> {
    shelf: Mutex<Shelf<T>>,
    make: Make<T>,
    reset: Option<Reset<T>>,
    weigh: Option<(usize, Weigh<T>)>,
    initial: usize,
    max: usize,
    created: AtomicU64,
    acquired: AtomicU64,
    discarded: AtomicU64,
    in_use: AtomicUsize,
}

struct Shelf<T> {
    idle: Vec<T>,
    /// The fewest idle since the last pass.
    low: usize,
}

/// Settings of an [`ObjectPool`].
#[must_use]
pub struct ObjectPoolBuilder<T> {
    make: Make<T>,
    reset: Option<Reset<T>>,
    weigh: Option<(usize, Weigh<T>)>,
    initial: usize,
    max: usize,
}

impl<T> ObjectPoolBuilder<T> {
    /// What to do to an object on return, so that the next user finds it as new. Default: nothing.
    /// Runs without a lock; when it panics, the object is discarded.
    pub fn reset(mut self, reset: impl Fn(&mut T) + Send + Sync + 'static) -> Self {
        self.reset = Some(Box::new(reset));
        self
    }

    /// Discards a returned object (after its reset) that `weigh` finds heavier than `limit`.
    /// Default: no limit. The unit is the caller's, usually bytes.
    pub fn max_weight(
        mut self,
        limit: usize,
        weigh: impl Fn(&T) -> usize + Send + Sync + 'static,
    ) -> Self {
        self.weigh = Some((limit, Box::new(weigh)));
        self
    }

    /// Objects made at once and kept through quiet times. Default 10, at most `max`.
    pub fn initial(mut self, count: usize) -> Self {
        self.initial = count;
        self
    }

    /// Idle objects kept at most. Default 100.
    pub fn max(mut self, count: usize) -> Self {
        self.max = count;
        self
    }

    /// Builds the pool and makes the initial objects.
    pub fn build(self) -> ObjectPool<T> {
        let initial = self.initial.min(self.max);
        let idle: Vec<T> = (0..initial).map(|_| (self.make)()).collect();
        ObjectPool {
            inner: Arc::new(Inner {
                shelf: Mutex::new(Shelf { low: initial, idle }),
                make: self.make,
                reset: self.reset,
                weigh: self.weigh,
                initial,
                max: self.max,
                created: AtomicU64::new(initial as u64),
                acquired: AtomicU64::new(0),
                discarded: AtomicU64::new(0),
                in_use: AtomicUsize::new(0),
            }),
        }
    }
}

impl<T> ObjectPool<T> {
    /// A pool with the default sizes, no reset and no weight limit.
    pub fn new(make: impl Fn() -> T + Send + Sync + 'static) -> Self {
        Self::builder(make).build()
    }

    /// Settings, starting from the defaults.
    pub fn builder(make: impl Fn() -> T + Send + Sync + 'static) -> ObjectPoolBuilder<T> {
        ObjectPoolBuilder {
            make: Box::new(make),
            reset: None,
            weigh: None,
            initial: 10,
            max: 100,
        }
    }

    /// The object returned last, else a new one. One short lock.
    pub fn get(&self) -> PooledObject<T> {
        let inner = &self.inner;
        let idle = {
            let mut shelf = lock(&inner.shelf);
            let idle = shelf.idle.pop();
            shelf.low = shelf.low.min(shelf.idle.len());
            idle
        };
        let value = idle.unwrap_or_else(|| {
            inner.created.fetch_add(1, Ordering::Relaxed);
            (inner.make)()
        });
        inner.acquired.fetch_add(1, Ordering::Relaxed);
        inner.in_use.fetch_add(1, Ordering::Relaxed);
        PooledObject {
            value: Some(value),
            home: Arc::clone(inner),
        }
    }

    /// Drops the objects above the initial count that nobody needed since the last pass.
    pub fn reclaim(&self) -> Reclaimed {
        let initial = self.inner.initial;
        self.inner
            .cut(|shelf| shelf.low.min(shelf.idle.len().saturating_sub(initial)))
    }

    /// Drops idle objects: `Low` as [`reclaim`](Self::reclaim), `Moderate` down to the initial
    /// count, `Critical` all of them.
    pub fn trim(&self, pressure: Pressure) -> Reclaimed {
        let keep = match pressure {
            Pressure::Low => return self.reclaim(),
            Pressure::Moderate => self.inner.initial,
            Pressure::Critical => 0,
        };
        self.inner
            .cut(|shelf| shelf.idle.len().saturating_sub(keep))
    }

    /// A snapshot of the counters.
    pub fn stats(&self) -> ObjectStats {
        let inner = &self.inner;
        ObjectStats {
            created: inner.created.load(Ordering::Relaxed),
            acquired: inner.acquired.load(Ordering::Relaxed),
            discarded: inner.discarded.load(Ordering::Relaxed),
            idle: lock(&inner.shelf).idle.len(),
            in_use: inner.in_use.load(Ordering::Relaxed),
        }
    }
}

impl<T> Inner<T> {
    /// Drops the objects that were returned first, as many as `count` says, without the lock.
    fn cut(&self, count: impl FnOnce(&Shelf<T>) -> usize) -> Reclaimed {
        let mut shelf = lock(&self.shelf);
        let count = count(&shelf);
        let freed: Vec<T> = shelf.idle.drain(..count).collect();
        shelf.low = shelf.idle.len();
        drop(shelf);
        self.discarded.fetch_add(count as u64, Ordering::Relaxed);
        drop(freed);
        Reclaimed {
            items: count,
            bytes: 0,
        }
    }

    fn put(&self, mut value: T) {
        if std::thread::panicking() {
            self.discarded.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if let Some(reset) = &self.reset {
            reset(&mut value);
        }
        let heavy = self
            .weigh
            .as_ref()
            .is_some_and(|(limit, weigh)| weigh(&value) > *limit);
        let refused = if heavy { Some(value) } else { self.keep(value) };
        if refused.is_some() {
            self.discarded.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Keeps the object, or hands it back when enough are idle, to be dropped without the lock.
    fn keep(&self, value: T) -> Option<T> {
        let mut shelf = lock(&self.shelf);
        if shelf.idle.len() >= self.max {
            return Some(value);
        }
        shelf.idle.push(value);
        None
    }
}

/// An object on loan; it goes home when this drops.
pub struct PooledObject<T> {
    value: Option<T>,
    home: Arc<Inner<T>>,
}

impl<T> PooledObject<T> {
    /// Takes the object out of the pool for good.
    ///
    /// # Panics
    /// Never: the object is there until this call or the drop.
    pub fn detach(mut self) -> T {
        self.value.take().expect("present until drop")
    }
}

impl<T> Deref for PooledObject<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("present until drop")
    }
}

impl<T> DerefMut for PooledObject<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("present until drop")
    }
}

impl<T> Drop for PooledObject<T> {
    fn drop(&mut self) {
        self.home.in_use.fetch_sub(1, Ordering::Relaxed);
        if let Some(value) = self.value.take() {
            self.home.put(value);
        }
    }
}

/// A snapshot of an [`ObjectPool`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ObjectStats {
    /// Objects made.
    pub created: u64,
    /// Checkouts.
    pub acquired: u64,
    /// Objects dropped instead of kept: too many, too heavy, trimmed, or returned in a panic.
    pub discarded: u64,
    /// Objects waiting for a user.
    pub idle: usize,
    /// Objects on loan.
    pub in_use: usize,
}

impl<T> fmt::Debug for ObjectPool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ObjectPool").field(&self.stats()).finish()
    }
}

impl<T> fmt::Debug for ObjectPoolBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectPoolBuilder")
            .field("initial", &self.initial)
            .field("max", &self.max)
            .finish_non_exhaustive()
    }
}

impl<T: fmt::Debug> fmt::Debug for PooledObject<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PooledObject").field(&self.value).finish()
    }
}
