//! Counting what many threads do without their getting in each other's way.

use crate::sync::{AtomicU64, Ordering};
use std::cell::Cell;
use std::sync::atomic::AtomicU32;

/// Threads that count for themselves; the others count together.
const LANES: usize = 16;
/// The number of a thread that has not asked for one.
const UNKNOWN: usize = usize::MAX;
/// The number of a thread for which there was no lane.
const SHARED: usize = usize::MAX - 1;

/// The lanes that threads hold, one bit each.
static HELD: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static LANE: Cell<usize> = const { Cell::new(UNKNOWN) };
    static HOLD: Hold = Hold::take();
}

/// A thread's lane in every cache, given back when the thread ends.
struct Hold(usize);

impl Hold {
    fn take() -> Self {
        let mut held = HELD.load(Ordering::Relaxed);
        loop {
            let free = (!held).trailing_zeros() as usize;
            // Under a model checker threads share their thread's memory.
            if free >= LANES || cfg!(shuttle) {
                return Self(SHARED);
            }
            // What the lane's last thread counted is seen by the next.
            match HELD.compare_exchange(held, held | 1 << free, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return Self(free),
                Err(now) => held = now,
            }
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let _ = LANE.try_with(|lane| lane.set(SHARED));
        if self.0 < LANES {
            HELD.fetch_and(!(1 << self.0), Ordering::Release);
        }
    }
}

/// One thread's counters, on a cache line of their own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Lane {
    hits: AtomicU64,
    misses: AtomicU64,
}

/// Hits and misses of a cache, exact: a thread that has a lane adds to it without a locked instruction.
#[derive(Debug)]
pub(crate) struct Lanes {
    lanes: Box<[Lane; LANES]>,
    shared: Lane,
}

impl Lanes {
    pub(crate) fn new() -> Self {
        Self {
            lanes: Box::default(),
            shared: Lane::default(),
        }
    }

    #[inline]
    pub(crate) fn hit(&self) {
        self.add(|lane| &lane.hits);
    }

    #[inline]
    pub(crate) fn miss(&self) {
        self.add(|lane| &lane.misses);
    }

    #[inline]
    fn add(&self, which: impl Fn(&Lane) -> &AtomicU64) {
        match self.lanes.get(LANE.get()) {
            Some(lane) => bump(which(lane)),
            None => self.add_slowly(which),
        }
    }

    #[cold]
    fn add_slowly(&self, which: impl Fn(&Lane) -> &AtomicU64) {
        if LANE.get() == UNKNOWN {
            // While the thread ends there is no holding a lane any more.
            LANE.set(HOLD.try_with(|hold| hold.0).unwrap_or(SHARED));
        }
        match self.lanes.get(LANE.get()) {
            Some(lane) => bump(which(lane)),
            None => {
                which(&self.shared).fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Hits and misses so far.
    pub(crate) fn sums(&self) -> (u64, u64) {
        let mut sums = (0, 0);
        for lane in self.lanes.iter().chain([&self.shared]) {
            sums.0 += lane.hits.load(Ordering::Relaxed);
            sums.1 += lane.misses.load(Ordering::Relaxed);
        }
        sums
    }
}

/// Adds one to a counter that no other thread writes.
#[inline]
fn bump(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn more_threads_than_lanes_one_after_another_and_at_once_lose_no_count() {
        const ROUNDS: u64 = 20_000;
        let lanes = Lanes::new();
        for _ in 0..3 {
            let together = std::sync::Barrier::new(2 * LANES);
            std::thread::scope(|scope| {
                for _ in 0..2 * LANES {
                    scope.spawn(|| {
                        // All ask for a lane before any of them ends.
                        lanes.hit();
                        together.wait();
                        for _ in 1..ROUNDS {
                            lanes.hit();
                            lanes.miss();
                        }
                    });
                }
            });
        }
        let threads = 3 * 2 * LANES as u64;
        let together = lanes.shared.hits.load(Ordering::Relaxed);
        assert!(together > 0, "some had to share");
        assert_eq!(lanes.sums(), (threads * ROUNDS, threads * (ROUNDS - 1)));
    }
}
