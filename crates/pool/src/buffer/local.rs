//! Each thread's own idle buffers: a stack per class, no lock and no atomic read-modify-write.

use std::cell::RefCell;
use std::sync::Arc;

use super::class::{CLASSES, LOCAL};
use super::pool::Inner;
use super::shelf::Slab;
use super::stats::Counters;

/// Pools for which one thread keeps buffers; with more, the others use their shared lists.
const MAX_POOLS: usize = 8;
/// Counted operations after which a thread folds its counters into the pool.
const FLUSH_EVERY: u32 = 1024;

thread_local! {
    static CACHES: RefCell<Caches> = const { RefCell::new(Caches { pools: Vec::new() }) };
}

struct Caches {
    pools: Vec<Local>,
}

struct Local {
    home: Arc<Inner>,
    stacks: [Vec<Slab>; CLASSES],
    counters: Counters,
    epoch: usize,
}

impl Local {
    fn new(home: &Arc<Inner>) -> Self {
        Self {
            home: Arc::clone(home),
            stacks: std::array::from_fn(|class| Vec::with_capacity(LOCAL[class])),
            counters: Counters::default(),
            epoch: home.epoch(),
        }
    }

    #[inline]
    fn take(&mut self, class: usize, len: usize) -> Option<Slab> {
        self.counters.record(class, len);
        if self.counters.pending < FLUSH_EVERY
            && self.home.epoch() == self.epoch
            && let Some(slab) = self.stacks[class].pop()
        {
            return Some(slab);
        }
        self.take_slowly(class)
    }

    #[cold]
    fn take_slowly(&mut self, class: usize) -> Option<Slab> {
        self.obey_trim();
        self.home.absorb(&mut self.counters);
        if let Some(slab) = self.stacks[class].pop() {
            return Some(slab);
        }
        self.home
            .refill(class, LOCAL[class] / 2, &mut self.stacks[class]);
        self.stacks[class].pop()
    }

    #[inline]
    fn put(&mut self, class: usize, slab: Slab) {
        if self.stacks[class].len() >= LOCAL[class] || self.home.epoch() != self.epoch {
            self.make_room(class);
        }
        self.stacks[class].push(slab);
    }

    #[cold]
    fn make_room(&mut self, class: usize) {
        self.obey_trim();
        let stack = &mut self.stacks[class];
        if stack.len() >= LOCAL[class] {
            // The older half goes: the newer one is warm in this core's cache.
            self.home.spill(class, stack.drain(..LOCAL[class] / 2));
        }
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
        self.home.absorb(&mut self.counters);
        for (class, stack) in self.stacks.iter_mut().enumerate() {
            self.home.spill(class, stack.drain(..));
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
    fn of(&mut self, home: &Arc<Inner>) -> Option<&mut Local> {
        match self.pools.iter().position(|l| Arc::ptr_eq(&l.home, home)) {
            Some(at) => self.pools.get_mut(at),
            None => self.join(home),
        }
    }

    #[cold]
    fn join(&mut self, home: &Arc<Inner>) -> Option<&mut Local> {
        self.pools.retain(|local| !local.home.is_closed());
        if self.pools.len() >= MAX_POOLS || home.is_closed() {
            return None;
        }
        self.pools.push(Local::new(home));
        self.pools.last_mut()
    }
}

/// Runs `with` on this thread's buffers of the pool. `None` while the thread is ending, or when it
/// uses too many pools at once.
#[inline]
fn with_local<R>(home: &Arc<Inner>, with: impl FnOnce(&mut Local) -> R) -> Option<R> {
    CACHES
        .try_with(|caches| {
            let mut caches = caches.try_borrow_mut().ok()?;
            caches.of(home).map(with)
        })
        .ok()
        .flatten()
}

/// An idle buffer of the class: this thread's newest, else one from the shared list.
#[inline]
pub(crate) fn take(home: &Arc<Inner>, class: usize, len: usize) -> Option<Slab> {
    with_local(home, |local| local.take(class, len))
        .unwrap_or_else(|| take_shared(home, class, len))
}

#[cold]
fn take_shared(home: &Inner, class: usize, len: usize) -> Option<Slab> {
    let mut one = Vec::with_capacity(1);
    home.record(class, len);
    home.refill(class, 1, &mut one);
    one.pop()
}

/// Keeps a buffer for this thread, spilling older ones to the shared list when there are too many.
#[inline]
pub(crate) fn put(class: usize, slab: Slab) {
    let mut left = Some(slab);
    let _ = CACHES.try_with(|caches| {
        let Ok(mut caches) = caches.try_borrow_mut() else {
            return;
        };
        left = left.take().and_then(|slab| match caches.of(&slab.home) {
            Some(local) => {
                local.put(class, slab);
                None
            }
            None => Some(slab),
        });
    });
    if let Some(slab) = left {
        put_shared(class, slab);
    }
}

#[cold]
fn put_shared(class: usize, slab: Slab) {
    let home = Arc::clone(&slab.home);
    home.spill(class, std::iter::once(slab));
}

/// Folds this thread's counters into the pool's and gives its idle buffers back when asked to.
pub(crate) fn sync(home: &Arc<Inner>) {
    with_local(home, |local| {
        local.obey_trim();
        local.home.absorb(&mut local.counters);
    });
}
