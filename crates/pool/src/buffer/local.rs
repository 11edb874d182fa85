//! Each thread's own idle buffers: a stack per class, no lock and no atomic read-modify-write.

use std::cell::RefCell;

use super::class::{CLASSES, LOCAL, SIZES};
use super::pool::Inner;
use super::slab::Slab;
use crate::sync::{Arc, each_thread};

/// Pools for which one thread keeps buffers; with more, the others use their shared lists.
const MAX_POOLS: usize = 8;
/// Checkouts of one size after which a thread folds its counters into the pool.
const FLUSH_EVERY: u32 = 1024;

each_thread! {
    static CACHES: RefCell<Caches> = const { RefCell::new(Caches { pools: Vec::new(), closed: 0 }) };
}

/// How many pools were closed so far, for threads to see that they may keep something for one.
mod closed {
    use crate::sync::{AtomicUsize, Ordering};

    #[cfg(not(loom))]
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    #[cfg(loom)]
    loom::lazy_static! {
        static ref COUNT: AtomicUsize = AtomicUsize::new(0);
    }

    pub(super) fn add() {
        COUNT.fetch_add(1, Ordering::Release);
    }

    pub(super) fn count() -> usize {
        COUNT.load(Ordering::Acquire)
    }
}

struct Caches {
    /// The one used last is in front.
    pools: Vec<Local>,
    /// Pools that were closed when this thread last tidied up.
    closed: usize,
}

struct Local {
    home: Arc<Inner>,
    stacks: [Vec<Slab>; CLASSES],
    by_size: [u32; SIZES],
    epoch: usize,
}

impl Local {
    fn new(home: &Arc<Inner>) -> Self {
        Self {
            home: Arc::clone(home),
            stacks: std::array::from_fn(|class| Vec::with_capacity(LOCAL[class])),
            by_size: [0; SIZES],
            epoch: home.epoch(),
        }
    }

    /// The newest buffer, if that is all there is to do.
    #[inline]
    fn take(&mut self, bucket: usize, class: usize) -> Option<Slab> {
        if self.home.epoch() != self.epoch {
            return None;
        }
        let slab = self.stacks[class].pop()?;
        self.count(bucket);
        Some(slab)
    }

    #[inline]
    fn count(&mut self, bucket: usize) {
        self.by_size[bucket] += 1;
        if self.by_size[bucket] >= FLUSH_EVERY {
            self.flush_often();
        }
    }

    #[cold]
    fn flush_often(&mut self) {
        self.flush();
        self.home.report();
    }

    fn flush(&mut self) {
        self.home.absorb(&mut self.by_size);
    }

    #[cold]
    fn take_slowly(&mut self, bucket: usize, class: usize) -> Option<Slab> {
        self.count(bucket);
        self.obey_trim();
        let stack = &mut self.stacks[class];
        if stack.is_empty() {
            self.home.refill(class, LOCAL[class] / 2, stack);
        }
        stack.pop()
    }

    /// Keeps the buffer, if that is all there is to do.
    #[inline]
    fn put(&mut self, slab: Slab) -> Option<Slab> {
        let stack = &mut self.stacks[slab.class];
        if stack.len() == stack.capacity() || self.home.epoch() != self.epoch {
            return Some(slab);
        }
        stack.push(slab);
        None
    }

    #[cold]
    fn put_slowly(&mut self, slab: Slab) -> Option<Slab> {
        self.obey_trim();
        if self.home.is_closed() {
            return Some(slab);
        }
        let class = slab.class;
        let stack = &mut self.stacks[class];
        if stack.len() >= LOCAL[class] {
            // The older half goes: the newer one is warm in this core's cache.
            self.home.spill(class, stack.drain(..LOCAL[class] / 2));
        }
        stack.push(slab);
        None
    }

    /// Gives everything back when somebody trimmed or closed the pool since the last call.
    fn obey_trim(&mut self) {
        let epoch = self.home.epoch();
        if epoch != self.epoch {
            self.epoch = epoch;
            self.empty();
        }
    }

    fn empty(&mut self) {
        self.flush();
        for (class, stack) in self.stacks.iter_mut().enumerate() {
            if !stack.is_empty() {
                self.home.spill(class, stack.drain(..));
            }
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.empty();
    }
}

impl Caches {
    #[inline]
    fn take(&mut self, home: &Arc<Inner>, bucket: usize, class: usize) -> Option<Slab> {
        if let Some(local) = self.pools.first_mut()
            && Arc::ptr_eq(&local.home, home)
            && let Some(slab) = local.take(bucket, class)
        {
            return Some(slab);
        }
        self.take_slowly(home, bucket, class)
    }

    #[cold]
    fn take_slowly(&mut self, home: &Arc<Inner>, bucket: usize, class: usize) -> Option<Slab> {
        match self.of(home) {
            Some(local) => local
                .take(bucket, class)
                .or_else(|| local.take_slowly(bucket, class)),
            None => take_shared(home, bucket, class),
        }
    }

    /// Keeps the buffer, or hands it back.
    #[inline]
    fn put(&mut self, slab: Slab) -> Option<Slab> {
        let home = slab.home.as_ref()?;
        match self.pools.first_mut() {
            Some(local) if Arc::ptr_eq(&local.home, home) => {
                let slab = local.put(slab)?;
                self.put_slowly(slab)
            }
            _ => self.put_slowly(slab),
        }
    }

    #[cold]
    fn put_slowly(&mut self, slab: Slab) -> Option<Slab> {
        let local = slab.home.as_ref().and_then(|home| self.of(home));
        match local {
            Some(local) => {
                let slab = local.put(slab)?;
                local.put_slowly(slab)
            }
            None => Some(slab),
        }
    }

    /// This thread's buffers of the pool, moved to the front. `None` when the pool is closed, or when
    /// the thread keeps some for as many pools as it may.
    fn of(&mut self, home: &Arc<Inner>) -> Option<&mut Local> {
        self.tidy();
        let known = self
            .pools
            .iter()
            .position(|local| Arc::ptr_eq(&local.home, home));
        let at = match known {
            Some(at) => at,
            None if self.pools.len() >= MAX_POOLS || home.is_closed() => return None,
            None => {
                self.pools.push(Local::new(home));
                self.pools.len() - 1
            }
        };
        self.pools.swap(0, at);
        self.pools.first_mut()
    }

    /// Lets go of what it keeps for pools that were closed in the meantime.
    fn tidy(&mut self) {
        let closed = closed::count();
        if self.closed != closed {
            self.closed = closed;
            self.pools.retain(|local| !local.home.is_closed());
        }
    }
}

/// Runs `with` on what this thread keeps. `None` while the thread is ending.
#[inline]
fn with_caches<R>(with: impl FnOnce(&mut Caches) -> R) -> Option<R> {
    CACHES
        .try_with(|caches| {
            caches
                .try_borrow_mut()
                .ok()
                .map(|mut caches| with(&mut caches))
        })
        .ok()
        .flatten()
}

/// An idle buffer of the class: this thread's newest, else one from the shared list.
#[inline]
pub(crate) fn take(home: &Arc<Inner>, bucket: usize, class: usize) -> Option<Slab> {
    with_caches(|caches| caches.take(home, bucket, class))
        .unwrap_or_else(|| take_shared(home, bucket, class))
}

#[cold]
fn take_shared(home: &Inner, bucket: usize, class: usize) -> Option<Slab> {
    let mut one = Vec::with_capacity(1);
    home.record(bucket);
    home.refill(class, 1, &mut one);
    one.pop()
}

/// Keeps a pooled buffer for this thread, spilling older ones to the shared list when there are too many.
#[inline]
pub(crate) fn put(slab: Slab) {
    let mut left = Some(slab);
    with_caches(|caches| left = left.take().and_then(|slab| caches.put(slab)));
    if let Some(slab) = left {
        put_shared(slab);
    }
}

#[cold]
fn put_shared(slab: Slab) {
    if let Some(home) = slab.home.clone() {
        home.spill(slab.class, std::iter::once(slab));
    }
}

/// Folds this thread's counters into the pool's and gives its idle buffers back when asked to.
pub(crate) fn sync(home: &Arc<Inner>) {
    with_caches(|caches| {
        if let Some(local) = caches.of(home) {
            local.obey_trim();
            local.flush();
        }
    });
}

/// Gives this thread's idle buffers of the pool back.
pub(crate) fn empty(home: &Arc<Inner>) {
    with_caches(|caches| caches.of(home).map(Local::empty));
}

/// The pool was closed: nobody keeps anything for it any more.
pub(crate) fn leave() {
    closed::add();
    with_caches(Caches::tidy);
}
