//! The queue of waiting callers: first in, first out, answered in place.
//!
//! Invariant: a slot belongs to the caller that entered the queue from `push` until `take` or
//! `leave`; an answer stays in the slot until then. So an answer cannot get lost, and whoever leaves
//! early finds it and can pass it on.

use std::task::Waker;
use std::time::Duration;

const NONE: usize = usize::MAX;
/// Slots kept when the queue runs empty.
const KEEP: usize = 64;

/// A waiting caller.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) waker: Option<Waker>,
    pub(crate) since: Duration,
    /// When waiting for a return ends.
    pub(crate) wait_until: Duration,
    /// When waiting for anything ends.
    pub(crate) deadline: Duration,
}

#[derive(Debug)]
enum Body<V> {
    Free,
    Waiting(Waiter),
    Answered(V),
}

#[derive(Debug)]
struct Slot<V> {
    prev: usize,
    next: usize,
    body: Body<V>,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Queue<V> {
    slots: Vec<Slot<V>>,
    head: usize,
    tail: usize,
    free: usize,
    waiting: usize,
    used: usize,
}

impl<V> Queue<V> {
    pub(crate) fn new() -> Self {
        Self {
            slots: Vec::new(),
            head: NONE,
            tail: NONE,
            free: NONE,
            waiting: 0,
            used: 0,
        }
    }

    /// Callers that have no answer yet.
    pub(crate) fn len(&self) -> usize {
        self.waiting
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// The oldest waiting caller.
    pub(crate) fn front(&self) -> Option<&Waiter> {
        self.waiter(self.head)
    }

    /// Enters the queue at its end, or at its front. O(1).
    pub(crate) fn push(&mut self, waiter: Waiter, at_front: bool) -> usize {
        let at = self.slot(waiter);
        let (prev, next) = if at_front {
            (NONE, self.head)
        } else {
            (self.tail, NONE)
        };
        self.slots[at].prev = prev;
        self.slots[at].next = next;
        self.link(prev, next, at, at);
        self.waiting += 1;
        self.used += 1;
        at
    }

    /// Answers the oldest waiting caller.
    pub(crate) fn answer_front(&mut self, answer: V) -> Option<Waiter> {
        self.answer(self.head, answer)
    }

    /// Answers a waiting caller, which leaves the line but keeps its slot. O(1).
    pub(crate) fn answer(&mut self, at: usize, answer: V) -> Option<Waiter> {
        self.waiter(at)?;
        self.unlink(at);
        match std::mem::replace(&mut self.slots[at].body, Body::Answered(answer)) {
            Body::Waiting(waiter) => Some(waiter),
            _ => None,
        }
    }

    /// The answer, if it has come; the slot is free then. Otherwise the caller whose waker to set.
    pub(crate) fn take(&mut self, at: usize) -> Result<V, Option<&mut Waiter>> {
        if matches!(self.slots[at].body, Body::Answered(_))
            && let Body::Answered(answer) = self.release(at)
        {
            return Ok(answer);
        }
        match &mut self.slots[at].body {
            Body::Waiting(waiter) => Err(Some(waiter)),
            _ => Err(None),
        }
    }

    /// Leaves the queue; hands back an answer that had come already. O(1).
    pub(crate) fn leave(&mut self, at: usize) -> Option<V> {
        if matches!(self.slots[at].body, Body::Waiting(_)) {
            self.unlink(at);
        }
        match self.release(at) {
            Body::Answered(answer) => Some(answer),
            _ => None,
        }
    }

    /// The waiting callers with their slots, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &Waiter)> {
        let mut at = self.head;
        std::iter::from_fn(move || {
            let waiter = self.waiter(at)?;
            let here = at;
            at = self.slots[at].next;
            Some((here, waiter))
        })
    }

    fn waiter(&self, at: usize) -> Option<&Waiter> {
        match &self.slots.get(at)?.body {
            Body::Waiting(waiter) => Some(waiter),
            _ => None,
        }
    }

    fn slot(&mut self, waiter: Waiter) -> usize {
        let body = Body::Waiting(waiter);
        if self.free == NONE {
            self.slots.push(Slot {
                prev: NONE,
                next: NONE,
                body,
            });
            return self.slots.len() - 1;
        }
        let at = self.free;
        self.free = self.slots[at].next;
        self.slots[at].body = body;
        at
    }

    fn release(&mut self, at: usize) -> Body<V> {
        let body = std::mem::replace(&mut self.slots[at].body, Body::Free);
        if matches!(body, Body::Free) {
            return body;
        }
        self.slots[at].next = self.free;
        self.free = at;
        self.used -= 1;
        if self.used == 0 && self.slots.len() > KEEP {
            *self = Self::new();
        }
        body
    }

    fn unlink(&mut self, at: usize) {
        let (prev, next) = (self.slots[at].prev, self.slots[at].next);
        self.link(prev, next, next, prev);
        self.waiting -= 1;
    }

    /// Lets `prev` point forward to `forward`, and `next` back to `back`.
    fn link(&mut self, prev: usize, next: usize, forward: usize, back: usize) {
        match self.slots.get_mut(prev) {
            Some(slot) => slot.next = forward,
            None => self.head = forward,
        }
        match self.slots.get_mut(next) {
            Some(slot) => slot.prev = back,
            None => self.tail = back,
        }
    }
}
