//! The idle objects of a pool, and its books.

use super::stats::ObjectStats;

/// Objects are boxed once, when they are made: a checkout then moves one word.
pub(crate) type Held<T> = Box<T>;

/// Taken-out objects freed per return, so that no single caller pays for a whole pass.
const FREE_PER_STEP: usize = 4;

/// Idle objects, newest last, and what happened so far.
pub(crate) struct Shelf<T> {
    pub(crate) idle: Vec<Held<T>>,
    /// Taken out by a pass and not dropped yet.
    deferred: Vec<Held<T>>,
    /// The fewest idle since the last pass: nobody needed these.
    low: usize,
    /// Returns until the next pass.
    countdown: u32,
    /// Objects that exist, wherever they are.
    live: usize,
    created: u64,
    acquired: u64,
    discarded: u64,
}

impl<T> Shelf<T> {
    pub(crate) fn new(countdown: u32) -> Self {
        Self {
            idle: Vec::new(),
            deferred: Vec::new(),
            low: 0,
            countdown,
            live: 0,
            created: 0,
            acquired: 0,
            discarded: 0,
        }
    }

    /// An object was made, and is on loan.
    pub(crate) fn made(&mut self) {
        self.live += 1;
        self.created += 1;
        self.acquired += 1;
    }

    /// An object was made, and is idle.
    pub(crate) fn stock(&mut self, held: Held<T>) {
        self.live += 1;
        self.created += 1;
        self.idle.push(held);
        self.low = self.idle.len();
    }

    /// The object returned last.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<Held<T>> {
        let held = match self.idle.pop() {
            Some(held) => held,
            None => self.deferred.pop()?,
        };
        self.low = self.low.min(self.idle.len());
        self.acquired += 1;
        Some(held)
    }

    /// Keeps the object, or hands it back when `max` are idle: it is to be dropped
    /// without the lock.
    #[inline]
    pub(crate) fn put(&mut self, held: Held<T>, max: usize) -> Option<Held<T>> {
        if self.idle.len() >= max {
            self.gone(1);
            return Some(held);
        }
        self.idle.push(held);
        None
    }

    /// What a return does on the side: hands out a few of the objects that a pass took out, to be
    /// dropped, and runs a pass when one is due.
    #[inline]
    pub(crate) fn step(&mut self, initial: usize, every: u32) -> Vec<Held<T>> {
        self.countdown -= 1;
        if self.countdown == 0 {
            self.countdown = every;
            self.pass(initial);
        }
        if self.deferred.is_empty() {
            return Vec::new();
        }
        self.take_deferred(FREE_PER_STEP)
    }

    #[cold]
    fn pass(&mut self, initial: usize) {
        let count = self.surplus(initial);
        self.deferred.extend(self.idle.drain(..count));
        self.low = self.idle.len();
    }

    /// Idle objects above `initial` that nobody needed since the last pass.
    fn surplus(&self, initial: usize) -> usize {
        self.low.min(self.idle.len().saturating_sub(initial))
    }

    #[cold]
    fn take_deferred(&mut self, count: usize) -> Vec<Held<T>> {
        let from = self.deferred.len().saturating_sub(count);
        let freed: Vec<Held<T>> = self.deferred.drain(from..).collect();
        self.gone(freed.len());
        freed
    }

    /// Hands out the surplus, to be dropped.
    pub(crate) fn reclaim(&mut self, initial: usize) -> Vec<Held<T>> {
        let keep = self.idle.len() - self.surplus(initial);
        self.cut_to(keep)
    }

    /// Hands out idle objects, the oldest first, until `keep` are left.
    pub(crate) fn cut_to(&mut self, keep: usize) -> Vec<Held<T>> {
        let mut freed = self.take_deferred(usize::MAX);
        let count = self.idle.len().saturating_sub(keep);
        freed.extend(self.idle.drain(..count));
        self.gone(count);
        self.low = self.idle.len();
        freed
    }

    /// Objects were dropped instead of kept.
    pub(crate) fn gone(&mut self, count: usize) {
        self.live = self.live.saturating_sub(count);
        self.discarded += count as u64;
    }

    /// The caller keeps an object for good.
    pub(crate) fn detached(&mut self) {
        self.live = self.live.saturating_sub(1);
    }

    pub(crate) fn stats(&self) -> ObjectStats {
        let idle = self.idle.len() + self.deferred.len();
        ObjectStats {
            created: self.created,
            acquired: self.acquired,
            discarded: self.discarded,
            idle,
            in_use: self.live.saturating_sub(idle),
        }
    }
}
