//! The handle of a resource pool.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::builder::ResourcePoolBuilder;
use super::entry::ResourceInfo;
use super::event::DiscardReason;
use super::get::Get;
use super::guard::{OwnedPooled, Pooled};
use super::manager::Manager;
use super::shared::Shared;
use super::stats::ResourceStats;
use crate::error::Error;
use crate::pressure::{Pressure, Reclaimed};
use crate::sync::lock;

/// A pool of resources that are opened asynchronously: connections, clients, handles. Clones share it;
/// when the last one drops, the pool is closed.
///
/// - Callers are served strictly in the order of their first poll; a newcomer never overtakes. Idle
///   resources are reused newest first, so that the surplus ages and can be closed.
/// - Connecting and checking happen in tasks of the pool. A caller takes whatever comes first, a return
///   or a connect; when it leaves, the connect goes on and serves the next caller or becomes idle.
/// - A caller waits up to the acquire timeout in all; the wait for a return, each connect and each
///   check have limits of their own.
/// - When connecting fails, one attempt at a time is made for everybody, with exponential back-off.
///   After the allowed attempts, with nothing left that could come home, all waiting callers get the error.
/// - Waiting callers are bounded; one too many is refused at once.
///
/// Dropping any future at any point leaks nothing.
pub struct ResourcePool<M: Manager> {
    shared: Arc<Shared<M>>,
}

impl<M: Manager> Clone for ResourcePool<M> {
    fn clone(&self) -> Self {
        self.shared.handles.fetch_add(1, Ordering::Relaxed);
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<M: Manager> Drop for ResourcePool<M> {
    fn drop(&mut self) {
        self.shared.drop_handle();
    }
}

impl<M: Manager> ResourcePool<M> {
    pub(crate) fn from_shared(shared: Arc<Shared<M>>) -> Self {
        shared.step(|_, _, _| ());
        Self { shared }
    }

    /// The number of the pool among those that share a limit.
    pub(crate) fn lane(&self) -> Option<u64> {
        self.shared.quota.as_ref().map(|(_, lane)| *lane)
    }

    /// When the pool was last used, if this is the only handle and nothing is on loan or under way.
    pub(crate) fn unused_since(&self) -> Option<Duration> {
        let core = lock(&self.shared.core);
        let unused = self.shared.handles.load(Ordering::Acquire) == 1
            && core.size() == core.idle.len()
            && core.waiters.is_empty();
        let newest = core.idle.back().map(|entry| entry.idle_since);
        unused.then(|| newest.unwrap_or_default())
    }

    /// Settings, starting from the defaults for any resource.
    pub fn builder(manager: M) -> ResourcePoolBuilder<M> {
        ResourcePoolBuilder::new(manager)
    }

    /// Checks a resource out. Without contention: one short lock, no allocation.
    ///
    /// # Errors
    /// See [`Error`]; which deadline applies, [`ResourcePoolBuilder::acquire_timeout`].
    pub fn get(&self) -> Get<'_, M> {
        Get::new(&self.shared)
    }

    /// As [`get`](Self::get), with a guard that does not borrow the pool.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn get_owned(&self) -> Result<OwnedPooled<M>, Error> {
        Ok(self.get().await?.into_owned())
    }

    /// An idle resource that needs no check, if there is one and nobody waits. Never waits itself.
    pub fn try_get(&self) -> Option<Pooled<'_, M>> {
        let entry = self
            .shared
            .step(|core, now, act| core.take_idle(now, None, act))?;
        self.get().vet(entry)
    }

    /// Closes idle resources that `keep` refuses. Each is taken out while `keep` looks at it, so it
    /// runs without a lock. Returns how many were closed. O(idle²) at worst.
    ///
    /// # Panics
    /// When `keep` does; the resource that it looked at is closed then.
    pub fn retain(&self, mut keep: impl FnMut(&mut M::Resource, ResourceInfo) -> bool) -> usize {
        let mut closed = 0;
        let idle: Vec<u64> = {
            let core = lock(&self.shared.core);
            core.idle.iter().map(|entry| entry.id).collect()
        };
        for id in idle {
            let taken = self.shared.step(|core, _, _| core.take_out(id));
            // Somebody else may have it by now.
            let Some(entry) = taken else { continue };
            let mut pooled = Pooled::new(entry, &self.shared);
            let info = pooled.info();
            match catch_unwind(AssertUnwindSafe(|| keep(&mut pooled, info))) {
                Ok(true) => pooled.restore(),
                Ok(false) => {
                    pooled.remove(DiscardReason::Trimmed);
                    closed += 1;
                }
                // It was never lent, so nobody is told of a return.
                Err(panic) => {
                    pooled.remove(DiscardReason::Panicked);
                    resume_unwind(panic);
                }
            }
        }
        closed
    }

    /// Changes the most resources there may be; not below `min`, nor 1. Surplus idle ones are closed
    /// at once, surplus ones on loan when they return. Returns the new limit.
    pub fn resize(&self, max: usize) -> usize {
        self.shared.step(|core, _, act| core.resize(max, act))
    }

    /// Closes idle resources, the oldest first: with `Low` those above the recent high-water mark,
    /// with `Moderate` all above `min`, with `Critical` all. What `min` and `min_idle` ask for is then
    /// opened anew.
    pub fn trim(&self, pressure: Pressure) -> Reclaimed {
        let items = self.shared.step(|core, _, act| {
            let keep = match pressure {
                Pressure::Low => core.policy.min.max(core.upkeep.high_water()),
                Pressure::Moderate => core.policy.min,
                Pressure::Critical => 0,
            };
            let mut closed = 0;
            while core.size() > keep && core.drop_oldest(DiscardReason::Trimmed, act) {
                closed += 1;
            }
            closed
        });
        Reclaimed { items, bytes: 0 }
    }

    /// Closes the pool: idle resources go now, those on loan when they return, and waiting as well as
    /// later callers get [`Error::Closed`].
    pub fn close(&self) {
        self.shared.close();
    }

    /// Whether [`close`](Self::close) was called.
    pub fn is_closed(&self) -> bool {
        lock(&self.shared.core).closed
    }

    /// A snapshot of the counters. One short lock.
    pub fn stats(&self) -> ResourceStats {
        let core = lock(&self.shared.core);
        ResourceStats {
            total: core.size(),
            in_use: core.leased,
            available: core.idle.len(),
            connecting: core.connecting,
            checking: core.checking,
            waiting: core.waiters.len(),
            max: core.policy.max,
            high_water: core.upkeep.high_water(),
            ..core.stats
        }
    }

    /// The manager that opens the resources.
    pub fn manager(&self) -> &M {
        &self.shared.manager
    }
}

impl<M: Manager> fmt::Debug for ResourcePool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ResourcePool").field(&self.stats()).finish()
    }
}
