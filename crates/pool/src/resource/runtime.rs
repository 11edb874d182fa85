//! What a pool needs from an async runtime.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// A future that a [`Runtime`] drives.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Time and tasks. Implement it to use the pools on another runtime, or to simulate one.
///
/// A pool spawns one task for its timers, and one for each connect and check. A runtime that stops
/// may drop them; the pool then starts new ones at the next call. A runtime that is kept but no longer
/// driven (a single-threaded one between two `block_on`s) stops the pool's time: deadlines of callers
/// elsewhere then pass unnoticed.
pub trait Runtime: Send + Sync + 'static {
    /// The time since any fixed origin. Never goes back.
    fn now(&self) -> Duration;
    /// Ready once [`now`](Self::now) has reached `at`.
    fn sleep_until(&self, at: Duration) -> Task;
    /// Runs the task in the background.
    fn spawn(&self, task: Task);
}

/// The [`Runtime`] of tokio.
///
/// Tasks are spawned on the runtime of the caller, else on the one where this was created, so a pool
/// outlives the runtime that built it.
#[cfg(feature = "tokio")]
#[derive(Debug, Clone)]
pub struct TokioRuntime {
    origin: tokio::time::Instant,
    handle: tokio::runtime::Handle,
}

#[cfg(feature = "tokio")]
impl TokioRuntime {
    /// The runtime that this is called in, if any.
    pub fn current() -> Option<Self> {
        Some(Self {
            handle: tokio::runtime::Handle::try_current().ok()?,
            origin: tokio::time::Instant::now(),
        })
    }
}

#[cfg(feature = "tokio")]
impl Runtime for TokioRuntime {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn sleep_until(&self, at: Duration) -> Task {
        match self.origin.checked_add(at) {
            Some(at) => Box::pin(tokio::time::sleep_until(at)),
            None => Box::pin(std::future::pending()),
        }
    }

    fn spawn(&self, task: Task) {
        match tokio::runtime::Handle::try_current() {
            Ok(handle) => drop(handle.spawn(task)),
            Err(_) => drop(self.handle.spawn(task)),
        }
    }
}
