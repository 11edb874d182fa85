//! The shared idle list of one size class.

use std::sync::Arc;

use super::class::CLASS_BYTES;
use super::pool::Inner;

/// An idle buffer together with its way home. The reference to the pool travels with the buffer, so
/// that a checkout touches no reference count.
#[derive(Debug)]
pub(crate) struct Slab {
    pub(crate) bytes: Vec<u8>,
    pub(crate) home: Arc<Inner>,
}

/// Idle buffers of one class, newest last, and how many of the class exist at all.
#[derive(Debug)]
pub(crate) struct Shelf {
    idle: Vec<Slab>,
    /// Buffers of this class that the pool has allocated and not freed: idle, cached or in use.
    tracked: usize,
    /// How many may exist; grows by half when it is reached and decays to `base`.
    limit: usize,
    base: usize,
    /// The fewest that were idle since the last pass: nobody needed these.
    low: usize,
    closed: bool,
}

impl Shelf {
    pub(crate) fn new(base: usize) -> Self {
        Self {
            idle: Vec::new(),
            tracked: 0,
            limit: base,
            base,
            low: 0,
            closed: false,
        }
    }

    /// Moves up to `count` idle buffers into `into`.
    pub(crate) fn take(&mut self, count: usize, into: &mut Vec<Slab>) {
        let from = self.idle.len().saturating_sub(count);
        into.extend(self.idle.drain(from..));
        self.low = self.low.min(self.idle.len());
    }

    /// Puts idle buffers back; hands them back when the pool is closed, to be dropped unlocked.
    pub(crate) fn put(&mut self, slabs: impl Iterator<Item = Slab>) -> Vec<Slab> {
        if self.closed {
            let refused: Vec<Slab> = slabs.collect();
            self.tracked = self.tracked.saturating_sub(refused.len());
            return refused;
        }
        self.idle.extend(slabs);
        Vec::new()
    }

    /// Reserves the right to allocate one more buffer of this class.
    pub(crate) fn reserve(&mut self) -> bool {
        let allowed = self.tracked < self.limit && !self.closed;
        self.tracked += usize::from(allowed);
        allowed
    }

    /// Raises the limit by half.
    pub(crate) fn grow(&mut self) {
        self.limit += (self.limit / 2).max(1);
    }

    /// A tracked buffer is gone.
    pub(crate) fn forget(&mut self) {
        self.tracked = self.tracked.saturating_sub(1);
    }

    /// Takes out what was not needed since the last pass: only what was allocated above the base
    /// (`young`), or all of it.
    pub(crate) fn surplus(&mut self, young: bool) -> Vec<Slab> {
        let above_base = self.tracked.saturating_sub(self.base);
        let count = if young {
            self.low.min(above_base)
        } else {
            self.low
        };
        let freed = self.cut(count);
        self.low = self.idle.len();
        freed
    }

    /// Takes out idle buffers, the oldest first, until `keep` of the class are left or none is idle.
    pub(crate) fn cut_to(&mut self, keep: usize) -> Vec<Slab> {
        let freed = self.cut(self.tracked.saturating_sub(keep));
        self.low = self.idle.len();
        freed
    }

    /// Refuses everything from now on and hands out what is idle.
    pub(crate) fn close(&mut self) -> Vec<Slab> {
        self.closed = true;
        self.cut(usize::MAX)
    }

    fn cut(&mut self, count: usize) -> Vec<Slab> {
        let count = count.min(self.idle.len());
        let freed: Vec<Slab> = self.idle.drain(..count).collect();
        self.tracked = self.tracked.saturating_sub(freed.len());
        self.limit = self.tracked.max(self.base);
        freed
    }

    pub(crate) fn idle(&self) -> usize {
        self.idle.len()
    }

    pub(crate) fn tracked(&self) -> usize {
        self.tracked
    }
}

/// Bytes that `count` buffers of a class hold.
pub(crate) fn bytes_of(class: usize, count: usize) -> usize {
    CLASS_BYTES[class] * count
}
