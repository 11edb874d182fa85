//! Who is reading, so that what a reader may still need is deleted only after it. Readers wait for nobody.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Calls that read segments and blocks, in the order in which they began.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    inner: Mutex<Inner>,
    one_left: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    active: Vec<u64>,
    waiting: usize,
    /// Readers before this one were waited for in vain: they are not waited for again.
    given_up: u64,
}

impl Inner {
    /// Whether one of those before that number is.
    fn is_reading(&self, before: u64) -> bool {
        self.active.iter().any(|number| *number < before)
    }
}

/// A call that reads. Whoever has one must wait for no lock that is held by a caller of [`Readers::outlast`], so the
/// lock of a thread's work is taken before it.
#[derive(Debug)]
pub(crate) struct Reading<'a> {
    readers: &'a Readers,
    number: u64,
}

impl Readers {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn enter(&self) -> Reading<'_> {
        let mut inner = self.inner();
        let number = inner.next;
        inner.next += 1;
        inner.active.push(number);
        Reading {
            readers: self,
            number,
        }
    }

    /// Waits until all have finished that are reading now, but not longer than `patience`; whether they have. Those
    /// that begin meanwhile are not waited for.
    pub(crate) fn outlast(&self, patience: Duration) -> bool {
        let mut inner = self.inner();
        let until = inner.next;
        if inner.is_reading(inner.given_up) {
            return false;
        }
        inner.waiting += 1;
        let woken = self
            .one_left
            .wait_timeout_while(inner, patience, |inner| inner.is_reading(until));
        let (mut inner, _) = woken.unwrap_or_else(PoisonError::into_inner);
        inner.waiting -= 1;
        let outlasted = !inner.is_reading(until);
        if !outlasted {
            inner.given_up = until;
        }
        outlasted
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let mut inner = self.readers.inner();
        inner.active.retain(|number| *number != self.number);
        if inner.waiting > 0 {
            self.readers.one_left.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn those_who_came_before_are_outlasted_and_those_behind_are_not_waited_for() {
        let readers = Readers::default();
        let (first, told) = (readers.enter(), mpsc::channel());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                told.0.send(readers.outlast(Duration::MAX)).expect("told");
            });
            while readers.inner().waiting == 0 {
                std::thread::yield_now();
            }
            let later = readers.enter();
            assert!(told.1.try_recv().is_err(), "the first one is still reading");
            drop(first);
            assert!(told.1.recv().expect("told"));
            drop(later);
        });
        assert!(readers.inner().active.is_empty());
    }

    #[test]
    fn who_was_waited_for_in_vain_is_not_waited_for_again() {
        let readers = Readers::default();
        let stuck = readers.enter();
        assert!(!readers.outlast(Duration::ZERO));
        // Would wait for ever.
        assert!(!readers.outlast(Duration::MAX));
        drop(stuck);
        assert!(readers.outlast(Duration::ZERO));
    }
}
