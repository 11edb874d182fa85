//! The limit that all keys share.
//!
//! Invariant: a pool that was refused a place is in the queue until a place becomes free for it, or
//! it withdraws. `release` serves the queue, oldest need first, so a refusal is never forgotten.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::resource::{Lane, Need, Quota};
use crate::sync::{Mutex, lock};

pub(crate) struct Total {
    max: usize,
    books: Mutex<Books>,
    /// Length of the queue, to be read without the lock.
    starved: AtomicUsize,
    lanes: Mutex<Vec<(u64, Weak<dyn Lane>)>>,
}

struct Books {
    used: usize,
    /// Pools that need places, the one whose caller waits for longest first.
    queue: VecDeque<Need>,
}

impl Total {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max,
            books: Mutex::new(Books {
                used: 0,
                queue: VecDeque::new(),
            }),
            starved: AtomicUsize::new(0),
            lanes: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn max(&self) -> usize {
        self.max
    }

    pub(crate) fn join(&self, lane: u64, pool: Weak<dyn Lane>) {
        let mut lanes = lock(&self.lanes);
        lanes.retain(|(_, pool)| pool.strong_count() > 0);
        lanes.push((lane, pool));
    }

    fn lane(&self, lane: u64) -> Option<Arc<dyn Lane>> {
        let lanes = lock(&self.lanes);
        let found = lanes.iter().find(|(id, _)| *id == lane);
        found.and_then(|(_, pool)| pool.upgrade())
    }

    fn others(&self, lane: u64) -> Vec<Arc<dyn Lane>> {
        let lanes = lock(&self.lanes);
        let others = lanes.iter().filter(|(id, _)| *id != lane);
        others.filter_map(|(_, pool)| pool.upgrade()).collect()
    }

    /// The pool with the oldest need, if there is a place for it.
    fn next_served(&self) -> Option<u64> {
        let mut books = lock(&self.books);
        if books.used >= self.max {
            return None;
        }
        let need = books.queue.pop_front()?;
        self.note_queue(&books);
        Some(need.lane)
    }

    fn note_queue(&self, books: &Books) {
        self.starved.store(books.queue.len(), Ordering::Release);
    }
}

impl Quota for Total {
    fn reserve(&self, need: Need) -> usize {
        let mut books = lock(&self.books);
        let granted = need.wanted.min(self.max.saturating_sub(books.used));
        books.used += granted;
        books.queue.retain(|other| other.lane != need.lane);
        if granted < need.wanted {
            let barren = need.barren && granted == 0;
            let at = books
                .queue
                .partition_point(|other| other.since <= need.since);
            books.queue.insert(at, Need { barren, ..need });
        }
        self.note_queue(&books);
        granted
    }

    fn release(&self, count: usize) {
        {
            let mut books = lock(&self.books);
            books.used = books.used.saturating_sub(count);
        }
        while let Some(lane) = self.next_served() {
            if let Some(pool) = self.lane(lane) {
                pool.poke();
            }
        }
    }

    fn withdraw(&self, lane: u64) {
        let mut books = lock(&self.books);
        books.queue.retain(|other| other.lane != lane);
        self.note_queue(&books);
    }

    fn make_room(&self, lane: u64) {
        let mut others = self.others(lane);
        while !others.is_empty() {
            let oldest = others
                .iter()
                .enumerate()
                .filter_map(|(at, pool)| Some((pool.oldest_idle()?, at)))
                .min();
            let Some((_, at)) = oldest else { return };
            if others[at].drop_oldest_idle() {
                return;
            }
            // Somebody took it in between.
            others.swap_remove(at);
        }
    }

    fn owed_elsewhere(&self, since: Option<Duration>, lane: u64) -> bool {
        if self.starved.load(Ordering::Acquire) == 0 {
            return false;
        }
        let books = lock(&self.books);
        // The pool's own entry may be stale, and in front: a return served its callers meanwhile.
        let mut others = books.queue.iter().filter(|other| other.lane != lane);
        match since {
            None => others.next().is_some(),
            Some(since) => others.any(|other| other.barren && other.since < since),
        }
    }
}
