use std::time::Duration;

use crate::error::{Source, Stage};

/// Something that happened in a pool; see
/// [`ResourcePoolBuilder::on_event`](crate::ResourcePoolBuilder::on_event).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A resource was connected.
    Created {
        /// The resource's number.
        id: u64,
        /// How long connecting took.
        took: Duration,
    },
    /// A resource was handed to a caller.
    Acquired {
        /// The resource's number.
        id: u64,
        /// Whether somebody had used it before.
        reused: bool,
    },
    /// A caller gave a resource up: it came back, or was discarded or detached. There is one of these
    /// for each `Acquired`.
    Released {
        /// The resource's number.
        id: u64,
    },
    /// A resource left the pool.
    Discarded {
        /// The resource's number.
        id: u64,
        /// Why.
        reason: DiscardReason,
    },
    /// Connecting failed; `None` means that the manager panicked or the time was up.
    ConnectFailed {
        /// The manager's error.
        error: Option<Source>,
    },
    /// A caller went away empty-handed when its time was up.
    TimedOut {
        /// What it was waiting for.
        stage: Stage,
    },
}

/// Why a resource left its pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DiscardReason {
    /// [`Manager::is_broken`](crate::Manager::is_broken) or a hook said so, or the user did.
    Broken,
    /// Its check failed, timed out or panicked.
    CheckFailed,
    /// It had reached its lifetime.
    Lifetime,
    /// It was idle for too long.
    Idle,
    /// The pool became smaller.
    Shrunk,
    /// Memory was asked back, or `retain` did not keep it.
    Trimmed,
    /// Another key needed its place.
    Stolen,
    /// Its guard dropped while the thread panicked.
    Panicked,
    /// Its user took it out for good.
    Detached,
    /// The pool was closed.
    Closed,
}
