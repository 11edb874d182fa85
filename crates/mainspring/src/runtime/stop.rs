//! Closing a runtime, and what could not be finished.

use std::{
    future::{Future, poll_fn, ready},
    pin::pin,
    task::Poll,
};

use mainspring_mmap_store::Durability;

use super::Runtime;
use crate::Error;

/// What a [`Runtime::shutdown`] did not finish; nothing acknowledged is lost in any case.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Shutdown {
    /// Calls of tools, and other tasks of the scheduler, that were interrupted.
    pub interrupted_calls: usize,
    /// Sessions whose handles were still there; what is appended through one from then on is refused.
    pub open_sessions: Vec<String>,
    /// Parts that could not be flushed or closed, and why: `cache`, `checkpoints`, `sessions`,
    /// `snapshots`, `cache store`.
    pub failures: Vec<(&'static str, Error)>,
}

impl Shutdown {
    /// True when nothing was left over.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.interrupted_calls == 0 && self.open_sessions.is_empty() && self.failures.is_empty()
    }
}

impl Runtime {
    /// Waits for the calls of tools that run, until `grace` ends; then interrupts them, makes
    /// everything durable and lets go of the folder. Every part is closed, whatever fails before.
    ///
    /// `grace` is a timer of yours, such as `tokio::time::sleep(Duration::from_secs(10))`. Handles
    /// that are still around get errors from then on.
    pub async fn shutdown(self, grace: impl Future<Output = ()>) -> Shutdown {
        let mut report = Shutdown::default();
        self.drain(grace).await;
        // Tasks that were given to the scheduler itself are stopped too.
        let unfinished = self.inner.scheduler.stats().unfinished;
        report.interrupted_calls = unfinished.max(*self.inner.calls.borrow());
        self.inner.scheduler.close();
        report.open_sessions = self.open_sessions().iter().cloned().collect();
        let mut note = |part, done: Result<(), Error>| {
            report
                .failures
                .extend(done.err().map(|error| (part, error)));
        };
        if !self.inner.config.read_only {
            // The log before the checkpoints, which should not outlive their messages.
            let logged = self.inner.log.store().flush(Durability::Always);
            note("sessions", logged.map_err(Error::from));
            note(
                "checkpoints",
                self.inner.snapshots.sync().map_err(Error::from),
            );
            let cached = self.inner.cache.close().await;
            note("cache", cached.map_err(unflushed));
            let summarised = self.inner.backing.summarise();
            note("checkpoints", summarised.map_err(summary));
        }
        for (part, store) in self.stores() {
            note(part, store.clone().close().map_err(Error::from));
        }
        if let Some(tracking) = &self.inner.tracking {
            tracking.abort();
        }
        report
    }

    /// As [`shutdown`](Self::shutdown) without waiting for calls.
    ///
    /// # Errors
    /// The first failure; the other parts are closed all the same.
    pub async fn close(self) -> Result<(), Error> {
        let report = self.shutdown(ready(())).await;
        match report.failures.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }

    async fn drain(&self, grace: impl Future<Output = ()>) {
        let mut calls = self.inner.calls.subscribe();
        let mut idle = pin!(calls.wait_for(|running| *running == 0));
        let mut grace = pin!(grace);
        poll_fn(|context| {
            let done =
                idle.as_mut().poll(context).is_ready() || grace.as_mut().poll(context).is_ready();
            if done { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

fn unflushed(error: mainspring_cache_tier::Error) -> Error {
    Error::Part {
        part: "result cache",
        source: error.into(),
    }
}

fn summary(source: std::io::Error) -> Error {
    Error::Store(mainspring_mmap_store::Error::Io {
        action: "write",
        file: "table of the checkpoints".to_owned(),
        source: source.into(),
    })
}
