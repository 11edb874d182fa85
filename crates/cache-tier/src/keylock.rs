//! One writer per key in the tiers, so that a removal never overtakes a write.

use crate::key::Key;
use crate::sync::Mutex;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Asynchronous locks by key. Only keys that are locked take room. First come, first served.
#[derive(Debug, Default)]
pub(crate) struct KeyLocks {
    queues: Mutex<HashMap<Key, Queue, foldhash::fast::RandomState>>,
}

/// The tickets of those who wait, the holder's first.
#[derive(Debug, Default)]
struct Queue {
    next: u64,
    tickets: VecDeque<(u64, Option<Waker>)>,
}

impl KeyLocks {
    pub(crate) fn acquire<'a>(&'a self, key: &'a Key) -> Acquire<'a> {
        Acquire {
            locks: self,
            key,
            ticket: None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.queues.lock().len()
    }

    fn leave(&self, key: &Key, ticket: u64) {
        let next = {
            let mut queues = self.queues.lock();
            let Some(queue) = queues.get_mut(key) else {
                return;
            };
            queue.tickets.retain(|(other, _)| *other != ticket);
            if queue.tickets.is_empty() {
                queues.remove(key);
                return;
            }
            queue
                .tickets
                .front_mut()
                .and_then(|(_, waker)| waker.take())
        };
        if let Some(waker) = next {
            waker.wake();
        }
    }
}

/// Waits for the lock; dropped, it gives up its place.
pub(crate) struct Acquire<'a> {
    locks: &'a KeyLocks,
    key: &'a Key,
    ticket: Option<u64>,
}

impl<'a> Future for Acquire<'a> {
    type Output = Held<'a>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Held<'a>> {
        let this = self.get_mut();
        let mut queues = this.locks.queues.lock();
        let queue = queues.entry(this.key.clone()).or_default();
        let ticket = match this.ticket {
            Some(ticket) => ticket,
            None => {
                let ticket = queue.next;
                queue.next += 1;
                queue.tickets.push_back((ticket, None));
                this.ticket = Some(ticket);
                ticket
            }
        };
        if queue
            .tickets
            .front()
            .is_some_and(|(first, _)| *first == ticket)
        {
            this.ticket = None;
            return Poll::Ready(Held {
                locks: this.locks,
                key: this.key,
                ticket,
            });
        }
        if let Some((_, waker)) = queue.tickets.iter_mut().find(|(other, _)| *other == ticket) {
            *waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Acquire<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.locks.leave(self.key, ticket);
        }
    }
}

/// The lock, held until dropped.
pub(crate) struct Held<'a> {
    locks: &'a KeyLocks,
    key: &'a Key,
    ticket: u64,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.locks.leave(self.key, self.ticket);
    }
}
