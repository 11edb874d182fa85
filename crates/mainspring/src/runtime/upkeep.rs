//! What a runtime does now and then so that its folder stays small.

use std::{future::Future, sync::PoisonError};

use mainspring_delta_snapshot::RetainReport;
use mainspring_mmap_store::{CompactReport, Store};

use super::Runtime;
use crate::Error;

/// Less than this is not worth a compaction.
const LEAST_DEAD: u64 = 1 << 20;

/// What a [`Runtime::upkeep`] did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Upkeep {
    /// What retention did to the checkpoints; `None` when it was not time for it.
    pub swept: Option<RetainReport>,
    /// The stores that were compacted: `sessions`, `snapshots`, `cache store`.
    pub compacted: Vec<(&'static str, CompactReport)>,
    /// What failed, and why; the next call tries again.
    pub failures: Vec<(&'static str, Error)>,
}

impl Runtime {
    /// Does what is due: applies the retention of checkpoints
    /// ([`Config::sweep_every`](crate::Config::sweep_every)), and compacts the stores of which too much is dead
    /// ([`Config::compact_above`](crate::Config::compact_above)). Call it as often as you like: when nothing
    /// is due it costs a few counters. Checkpoints, restores and forks go on meanwhile, and wait at most for the one
    /// thread of versions that is being written anew or looked at first; it blocks its own thread.
    pub fn upkeep(&self) -> Upkeep {
        let mut report = Upkeep::default();
        if self.inner.config.read_only {
            return report;
        }
        match self.sweep() {
            Ok(swept) => report.swept = swept,
            Err(error) => report.failures.push(("checkpoints", error.into())),
        }
        for (part, store) in self.stores() {
            // Whoever waited goes first.
            std::thread::yield_now();
            if !is_due(store, self.inner.config.compact_above) {
                continue;
            }
            match store.compact() {
                Ok(compacted) => report.compacted.push((part, compacted)),
                Err(error) => report.failures.push((part, error.into())),
            }
        }
        report
    }

    fn sweep(&self) -> Result<Option<RetainReport>, mainspring_delta_snapshot::Error> {
        let sweeper = self.inner.sweeper.lock();
        let mut sweeper = sweeper.unwrap_or_else(PoisonError::into_inner);
        sweeper.sweep(&self.inner.snapshots)
    }

    /// Calls [`upkeep`](Self::upkeep) after each tick, on a thread where blocking is allowed, until it
    /// is dropped: spawn it. `tick` makes a timer, such as `|| tokio::time::sleep(a_minute)`; `tell` is
    /// given each report.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn keep_up<F: Future<Output = ()>>(
        &self,
        mut tick: impl FnMut() -> F,
        mut tell: impl FnMut(Upkeep),
    ) {
        loop {
            tick().await;
            let runtime = self.clone();
            if let Ok(report) = tokio::task::spawn_blocking(move || runtime.upkeep()).await {
                tell(report);
            }
        }
    }

    pub(super) fn stores(&self) -> [(&'static str, &Store); 3] {
        [
            ("sessions", self.session_store()),
            ("snapshots", self.snapshot_store()),
            ("cache store", self.cache_store()),
        ]
    }
}

fn is_due(store: &Store, percent: u8) -> bool {
    let stats = store.stats();
    let share = u128::from(stats.log_bytes) * u128::from(percent);
    percent < 100 && stats.dead_bytes >= LEAST_DEAD && u128::from(stats.dead_bytes) * 100 >= share
}
