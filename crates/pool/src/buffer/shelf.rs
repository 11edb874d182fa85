//! The shared idle list of one size class.

use super::slab::Slab;

/// Idle buffers of one class, newest last, and how many of the class exist at all.
#[derive(Debug)]
pub(crate) struct Shelf {
    idle: Vec<Slab>,
    /// Taken out by a pass and not freed yet.
    deferred: Vec<Slab>,
    /// Buffers of this class that the pool has allocated and not freed, wherever they are.
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
            deferred: Vec::new(),
            tracked: 0,
            limit: base,
            base,
            low: 0,
            closed: false,
        }
    }

    /// Moves up to `count` idle buffers into `into`, the newest ones; else what a pass has taken out.
    pub(crate) fn take(&mut self, count: usize, into: &mut Vec<Slab>) {
        let source = if self.idle.is_empty() {
            &mut self.deferred
        } else {
            &mut self.idle
        };
        let from = source.len().saturating_sub(count);
        into.extend(source.drain(from..));
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

    /// Reserves the right to allocate one more buffer of this class, raising the limit by half when
    /// it is reached.
    pub(crate) fn reserve(&mut self) -> bool {
        if self.closed {
            return false;
        }
        if self.tracked >= self.limit {
            self.limit += (self.limit / 2).max(1);
        }
        self.tracked += 1;
        true
    }

    /// A tracked buffer is gone.
    pub(crate) fn forget(&mut self) {
        self.tracked = self.tracked.saturating_sub(1);
    }

    /// Takes out what was not needed since the last pass, to be freed later: only what was allocated
    /// above the base (`young`), or all of it. Returns how many.
    pub(crate) fn surplus(&mut self, young: bool) -> usize {
        let kept = self.tracked - self.deferred.len();
        let above_base = kept.saturating_sub(self.base);
        let count = if young {
            self.low.min(above_base)
        } else {
            self.low
        };
        let count = count.min(self.idle.len());
        self.deferred.extend(self.idle.drain(..count));
        self.low = self.idle.len();
        count
    }

    /// Hands out up to `count` of the buffers that passes took out, to be freed.
    pub(crate) fn take_deferred(&mut self, count: usize) -> Vec<Slab> {
        let from = self.deferred.len().saturating_sub(count);
        let freed = self.deferred.drain(from..).collect();
        self.gone(freed)
    }

    /// Hands out up to `count` idle buffers, the oldest first, to be freed.
    pub(crate) fn take_oldest(&mut self, count: usize) -> Vec<Slab> {
        let count = count.min(self.idle.len());
        let freed = self.idle.drain(..count).collect();
        self.low = self.idle.len();
        self.gone(freed)
    }

    /// As [`take_oldest`](Self::take_oldest), until `keep` of the class are left or none is idle.
    pub(crate) fn cut_to(&mut self, keep: usize) -> Vec<Slab> {
        self.take_oldest(self.tracked.saturating_sub(keep))
    }

    /// Refuses everything from now on and hands out what is idle.
    pub(crate) fn close(&mut self) -> Vec<Slab> {
        self.closed = true;
        let idle = std::mem::take(&mut self.idle);
        let mut freed = std::mem::take(&mut self.deferred);
        freed.extend(idle);
        self.gone(freed)
    }

    fn gone(&mut self, freed: Vec<Slab>) -> Vec<Slab> {
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
