//! A waker left behind by the one who waits, taken by the one who wakes.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

/// Wakes whoever registered last, once.
#[derive(Debug, Default)]
pub(crate) struct WakeOnce(Mutex<Option<Waker>>);

impl WakeOnce {
    fn lock(&self) -> MutexGuard<'_, Option<Waker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on `cx` is woken. What is waited for must be asked about again afterwards, or a
    /// change in between is missed.
    pub(crate) fn register(&self, cx: &Context<'_>) {
        *self.lock() = Some(cx.waker().clone());
    }

    /// Wakes outside the lock: a waker is somebody else's code.
    pub(crate) fn wake(&self) {
        let waker = self.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
