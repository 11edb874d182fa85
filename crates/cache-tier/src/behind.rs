//! Writes that wait for their turn.

use crate::entry::TierEntry;
use crate::key::Key;
use crate::sync::Mutex;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::task::Waker;
use std::time::Duration;

/// A write that waits. It stays in the queue, where lookups find it, until the tiers have it.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) entry: TierEntry,
    /// The entry's own time to live.
    pub(crate) ttl: Option<Duration>,
    /// Distinguishes it from a later write of the same key.
    pub(crate) ticket: u64,
}

/// Bounded, one entry per key: a later write takes the place of an earlier one.
#[derive(Debug)]
pub(crate) struct Behind {
    entries: usize,
    bytes: usize,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: HashMap<Key, Waiting, foldhash::fast::RandomState>,
    order: VecDeque<(u64, Key)>,
    bytes: usize,
    next: u64,
    closed: bool,
    drivers: Vec<Waker>,
}

impl Queue {
    fn take(&mut self, key: &Key) -> Option<Waiting> {
        let waiting = self.waiting.remove(key)?;
        self.bytes -= waiting.entry.size();
        Some(waiting)
    }

    /// Forgets the places of writes that are gone once they are more than those that wait.
    fn shorten(&mut self) {
        let Self { waiting, order, .. } = self;
        if order.len() > 2 * waiting.len() + 16 {
            order.retain(|(ticket, key)| {
                waiting
                    .get(key)
                    .is_some_and(|waiting| waiting.ticket == *ticket)
            });
        }
    }

    /// Drops the front of the order as long as it names writes that were replaced or done.
    fn trim(&mut self) {
        while let Some((ticket, key)) = self.order.front() {
            if self
                .waiting
                .get(key)
                .is_some_and(|waiting| waiting.ticket == *ticket)
            {
                return;
            }
            self.order.pop_front();
        }
    }
}

impl Behind {
    pub(crate) fn new(entries: usize, bytes: usize) -> Self {
        Self {
            entries,
            bytes,
            queue: Mutex::new(Queue::default()),
        }
    }

    /// Queues a write; false when it would pass a bound or the queue is closed, and the caller writes it at
    /// once. What waited under the key is gone in either case.
    pub(crate) fn push(&self, key: &Key, entry: TierEntry, ttl: Option<Duration>) -> bool {
        let drivers = {
            let mut queue = self.queue.lock();
            queue.take(key);
            let full =
                queue.waiting.len() >= self.entries || queue.bytes + entry.size() > self.bytes;
            if queue.closed || full {
                return false;
            }
            queue.next += 1;
            let ticket = queue.next;
            queue.bytes += entry.size();
            queue
                .waiting
                .insert(key.clone(), Waiting { entry, ttl, ticket });
            queue.order.push_back((ticket, key.clone()));
            queue.shorten();
            std::mem::take(&mut queue.drivers)
        };
        drivers.into_iter().for_each(Waker::wake);
        true
    }

    pub(crate) fn get(&self, key: &Key) -> Option<TierEntry> {
        self.queue
            .lock()
            .waiting
            .get(key)
            .map(|waiting| waiting.entry.clone())
    }

    /// The key that has waited longest.
    pub(crate) fn oldest(&self) -> Option<Key> {
        let mut queue = self.queue.lock();
        queue.trim();
        queue.order.front().map(|(_, key)| key.clone())
    }

    pub(crate) fn peek(&self, key: &Key) -> Option<Waiting> {
        self.queue.lock().waiting.get(key).cloned()
    }

    /// The write reached the tiers: it waits no longer, unless a later one took its place.
    pub(crate) fn done(&self, key: &Key, ticket: u64) {
        let mut queue = self.queue.lock();
        if queue
            .waiting
            .get(key)
            .is_some_and(|waiting| waiting.ticket == ticket)
        {
            queue.take(key);
        }
        queue.trim();
    }

    pub(crate) fn remove(&self, key: &Key) {
        let mut queue = self.queue.lock();
        queue.take(key);
        queue.trim();
    }

    pub(crate) fn clear(&self) {
        let mut queue = self.queue.lock();
        queue.waiting.clear();
        queue.order.clear();
        queue.bytes = 0;
    }

    /// No write waits from now on; the driver ends once the queue is empty.
    pub(crate) fn close(&self) {
        let drivers = {
            let mut queue = self.queue.lock();
            queue.closed = true;
            std::mem::take(&mut queue.drivers)
        };
        drivers.into_iter().for_each(Waker::wake);
    }

    /// Entries and bytes that wait.
    pub(crate) fn waiting(&self) -> (u64, u64) {
        let queue = self.queue.lock();
        (queue.waiting.len() as u64, queue.bytes as u64)
    }

    /// Registers who is woken by the next write. True when there is work or the end has come.
    pub(crate) fn watch(&self, waker: &Waker) -> bool {
        let mut queue = self.queue.lock();
        if queue.closed || !queue.waiting.is_empty() {
            return true;
        }
        if !queue.drivers.iter().any(|driver| driver.will_wake(waker)) {
            queue.drivers.push(waker.clone());
        }
        false
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.queue.lock().closed
    }
}
