//! The pool of objects.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::builder::{Make, ObjectPoolBuilder, Reset, Weigh};
use super::guard::{OwnedObject, PooledObject};
use super::shelf::{Held, Shelf};
use super::stats::ObjectStats;
use crate::pressure::{Pressure, Reclaimed};
use crate::sync::{Arc, Mutex, lock};
use crate::telemetry::ObjectTelemetry;

/// A pool of objects that are made by a closure and reset on return. Clones share it.
///
/// `get` never blocks: when no object is idle it makes one. At most `max` idle objects are kept, and
/// none heavier than the weight limit, so that one huge use does not pin its memory for ever. An
/// object whose guard drops while its thread panics is discarded, for it may be half changed.
///
/// Idle objects above the initial count that nobody needed for 700 returns are dropped, a few per
/// return.
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

pub(crate) struct Inner<T> {
    shelf: Mutex<Shelf<T>>,
    make: Make<T>,
    reset: Option<Reset<T>>,
    weigh: Option<(usize, Weigh<T>)>,
    initial: usize,
    max: usize,
    young_after: u32,
    telemetry: ObjectTelemetry,
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
            young_after: 700,
            name: None,
        }
    }

    pub(crate) fn with(settings: ObjectPoolBuilder<T>) -> Self {
        let inner = Inner {
            shelf: Mutex::new(Shelf::new(settings.young_after)),
            initial: settings.initial.min(settings.max),
            max: settings.max,
            young_after: settings.young_after,
            telemetry: ObjectTelemetry::new(settings.name.as_deref()),
            make: settings.make,
            reset: settings.reset,
            weigh: settings.weigh,
        };
        for _ in 0..inner.initial {
            let made = Box::new((inner.make)());
            lock(&inner.shelf).stock(made);
            inner.telemetry.made();
            inner.telemetry.kept();
        }
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The object returned last, else a new one. One short lock.
    ///
    /// # Panics
    /// When making one panics; nothing is counted then.
    #[inline]
    pub fn get(&self) -> PooledObject<'_, T> {
        PooledObject::new(self.inner.take(), &self.inner)
    }

    /// As [`get`](Self::get), with a guard that does not borrow the pool.
    ///
    /// # Panics
    /// As [`get`](Self::get).
    pub fn get_owned(&self) -> OwnedObject<T> {
        OwnedObject::new(self.inner.take(), Arc::clone(&self.inner))
    }

    /// Drops the objects above the initial count that nobody needed since the last pass.
    pub fn reclaim(&self) -> Reclaimed {
        let inner = &self.inner;
        let freed = lock(&inner.shelf).reclaim(inner.initial);
        inner.trimmed(freed)
    }

    /// Drops idle objects: `Low` as [`reclaim`](Self::reclaim), `Moderate` down to the initial
    /// count, `Critical` all of them.
    pub fn trim(&self, pressure: Pressure) -> Reclaimed {
        let inner = &self.inner;
        let keep = match pressure {
            Pressure::Low => return self.reclaim(),
            Pressure::Moderate => inner.initial,
            Pressure::Critical => 0,
        };
        let freed = lock(&inner.shelf).cut_to(keep);
        inner.trimmed(freed)
    }

    /// A snapshot of the counters. One short lock.
    pub fn stats(&self) -> ObjectStats {
        lock(&self.inner.shelf).stats()
    }
}

impl<T> Inner<T> {
    #[inline]
    fn take(&self) -> Held<T> {
        let idle = lock(&self.shelf).take();
        let Some(held) = idle else {
            return self.make_one();
        };
        if self.telemetry.is_on() {
            self.telemetry.unkept(1);
            self.telemetry.lent();
        }
        held
    }

    #[cold]
    fn make_one(&self) -> Held<T> {
        let made = Box::new((self.make)());
        lock(&self.shelf).made();
        self.telemetry.made();
        self.telemetry.lent();
        made
    }

    /// A guard dropped.
    #[inline]
    pub(crate) fn give_back(&self, mut held: Held<T>) {
        if std::thread::panicking() || !self.is_fit_again(&mut held) {
            return self.refuse(held);
        }
        let mut shelf = lock(&self.shelf);
        let refused = shelf.put(held, self.max);
        let freed = shelf.step(self.initial, self.young_after);
        drop(shelf);
        if self.telemetry.is_on() {
            self.report_return(refused.is_some(), freed.len());
        }
        drop((refused, freed));
    }

    /// What came back is not kept.
    #[cold]
    fn refuse(&self, held: Held<T>) {
        lock(&self.shelf).gone(1);
        let panicking = std::thread::panicking();
        let why = if panicking { "panicked" } else { "unfit" };
        self.telemetry.returned();
        self.telemetry.discarded(1, why);
        drop(held);
    }

    #[cold]
    fn report_return(&self, refused: bool, freed: usize) {
        self.telemetry.returned();
        if refused {
            self.telemetry.discarded(1, "surplus");
        } else {
            self.telemetry.kept();
        }
        self.report_freed(freed, "surplus");
    }

    fn report_freed(&self, count: usize, why: &'static str) {
        if count > 0 {
            self.telemetry.unkept(count);
            self.telemetry.discarded(count, why);
        }
    }

    /// Drops what a trim took out, and says how much it was.
    fn trimmed(&self, freed: Vec<Held<T>>) -> Reclaimed {
        self.report_freed(freed.len(), "trimmed");
        Reclaimed {
            items: freed.len(),
            bytes: 0,
        }
    }

    /// Resets the object; whether that went well, and it is not too heavy to be kept.
    #[inline]
    fn is_fit_again(&self, value: &mut T) -> bool {
        if self.reset.is_none() && self.weigh.is_none() {
            return true;
        }
        let fit_again = || {
            if let Some(reset) = &self.reset {
                reset(value);
            }
            let heavy = |(limit, weigh): &(usize, Weigh<T>)| weigh(value) > *limit;
            !self.weigh.as_ref().is_some_and(heavy)
        };
        catch_unwind(AssertUnwindSafe(fit_again)).unwrap_or(false)
    }

    pub(crate) fn detached(&self) {
        lock(&self.shelf).detached();
        self.telemetry.returned();
    }
}

impl<T> Drop for Inner<T> {
    fn drop(&mut self) {
        if self.telemetry.is_on() {
            self.telemetry.unkept(lock(&self.shelf).stats().idle);
        }
    }
}

impl<T> fmt::Debug for ObjectPool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ObjectPool").field(&self.stats()).finish()
    }
}
