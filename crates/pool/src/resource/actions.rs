//! What a step of the core asks its surroundings to do once the lock is released.

use std::task::Waker;

use super::entry::Held;
use super::event::{DiscardReason, Event};

/// Collected under the lock, carried out without it. The common case (wake one caller) allocates nothing.
#[derive(Debug)]
pub(crate) struct Actions<T> {
    first: Option<Waker>,
    more: Vec<Waker>,
    pub(crate) connects: usize,
    pub(crate) checks: Vec<Held<T>>,
    pub(crate) discards: Vec<(Held<T>, DiscardReason)>,
    /// Places that became free.
    pub(crate) freed: usize,
    pub(crate) start_driver: bool,
    pub(crate) events: Vec<Event>,
}

impl<T> Actions<T> {
    pub(crate) fn new() -> Self {
        Self {
            first: None,
            more: Vec::new(),
            connects: 0,
            checks: Vec::new(),
            discards: Vec::new(),
            freed: 0,
            start_driver: false,
            events: Vec::new(),
        }
    }

    /// Nothing is to be done: what most steps come to.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        let tasks = self.connects + self.checks.len() + usize::from(self.start_driver);
        let left = self.discards.len() + self.freed + self.events.len();
        tasks + left == 0 && self.first.is_none()
    }

    pub(crate) fn wake(&mut self, waker: Option<Waker>) {
        if self.first.is_none() {
            self.first = waker;
        } else {
            self.more.extend(waker);
        }
    }

    pub(crate) fn wakers(&mut self) -> impl Iterator<Item = Waker> + use<'_, T> {
        self.first.take().into_iter().chain(self.more.drain(..))
    }
}
