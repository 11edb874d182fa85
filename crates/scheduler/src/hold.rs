//! What keeps a call from being over although its future is: work elsewhere that cannot be dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use crate::{tool::ContextInner, wake_once::WakeOnce};

/// Counts the holds of one call.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    count: AtomicUsize,
    waiting: WakeOnce,
}

impl Holds {
    /// Ready when there are none; else wakes `cx` when the last one goes.
    pub(crate) fn poll_none(&self, cx: &Context<'_>) -> Poll<()> {
        if self.count.load(Ordering::Acquire) == 0 {
            return Poll::Ready(());
        }
        self.waiting.register(cx);
        match self.count.load(Ordering::Acquire) {
            0 => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }
}

/// Keeps a call's slot and keys until it is dropped, even when the call is stopped: made by
/// [`ToolContext::hold`](crate::ToolContext::hold) for work that goes on where dropping a future does not stop it.
#[must_use = "dropping the hold releases the call"]
#[derive(Debug)]
pub struct Hold {
    call: Arc<ContextInner>,
}

impl Hold {
    pub(crate) fn new(call: &Arc<ContextInner>) -> Self {
        call.holds.count.fetch_add(1, Ordering::Relaxed);
        Self { call: call.clone() }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let holds = &self.call.holds;
        if holds.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            holds.waiting.wake();
        }
    }
}
