//! Reports of pools of resources.

use std::sync::Arc;
use std::time::Duration;

use crate::resource::Event;

/// Cheap to clone; all pools of a `KeyedPool` share one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Telemetry {
    name: Option<Arc<str>>,
    #[cfg(feature = "metrics")]
    meters: Option<Arc<meters::Meters>>,
}

impl Telemetry {
    pub(crate) fn named(name: &str) -> Self {
        Self {
            name: Some(Arc::from(name)),
            #[cfg(feature = "metrics")]
            meters: None,
        }
    }

    /// Looks the recorder up, once per pool.
    pub(crate) fn connected(self) -> Self {
        Self {
            #[cfg(feature = "metrics")]
            meters: self.name.as_deref().map(meters::Meters::register),
            ..self
        }
    }

    /// Whether anybody is told anything.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        cfg!(any(feature = "metrics", feature = "tracing")) && self.name.is_some()
    }

    pub(crate) fn event(&self, event: &Event) {
        #[cfg(feature = "metrics")]
        if let Some(meters) = &self.meters {
            meters.event(event);
        }
        #[cfg(feature = "tracing")]
        if let Some(name) = &self.name {
            super::quietly(|| events::emit(name, event));
        }
        let _ = event;
    }

    /// A caller joins the queue.
    pub(crate) fn queued(&self) {
        #[cfg(feature = "metrics")]
        if let Some(meters) = &self.meters {
            meters.waiting.up();
        }
    }

    /// A caller leaves the queue; with how long it waited when it got something.
    pub(crate) fn left(&self, waited: Option<Duration>) {
        #[cfg(feature = "metrics")]
        if let Some(meters) = &self.meters {
            meters.waiting.down(1);
            if let Some(waited) = waited {
                meters.wait.record(waited);
            }
        }
        let _ = waited;
    }

    /// A caller was refused: too many wait.
    pub(crate) fn refused(&self) {
        #[cfg(feature = "metrics")]
        if let Some(meters) = &self.meters {
            meters.refused.add(1);
        }
    }

    /// A check passed.
    pub(crate) fn checked(&self, took: Duration) {
        #[cfg(feature = "metrics")]
        if let Some(meters) = &self.meters {
            meters.check.record(took);
        }
        let _ = took;
    }
}

#[cfg(feature = "metrics")]
mod meters {
    use std::sync::Arc;

    use crate::error::Stage;
    use crate::resource::{DiscardReason, Event};
    use crate::telemetry::instruments::{Count, Labels, Level, Spread};

    pub(super) struct Meters {
        labels: Labels,
        created: Count,
        acquired: Count,
        released: Count,
        connect_failures: Count,
        pub(super) refused: Count,
        total: Level,
        in_use: Level,
        pub(super) waiting: Level,
        pub(super) wait: Spread,
        connect: Spread,
        pub(super) check: Spread,
    }

    impl std::fmt::Debug for Meters {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_tuple("Meters").field(&self.labels).finish()
        }
    }

    impl Meters {
        pub(super) fn register(name: &str) -> Arc<Self> {
            let labels = Labels::of(name);
            Arc::new(Self {
                created: Count::new("pool_resources_created_total", &labels),
                acquired: Count::new("pool_checkouts_total", &labels),
                released: Count::new("pool_returns_total", &labels),
                connect_failures: Count::new("pool_connect_failures_total", &labels),
                refused: Count::new("pool_refusals_total", &labels),
                total: Level::new("pool_resources", &labels),
                in_use: Level::new("pool_resources_in_use", &labels),
                waiting: Level::new("pool_callers_waiting", &labels),
                wait: Spread::new("pool_wait_seconds", &labels),
                connect: Spread::new("pool_connect_seconds", &labels),
                check: Spread::new("pool_check_seconds", &labels),
                labels,
            })
        }

        pub(super) fn event(&self, event: &Event) {
            match event {
                Event::Created { took, .. } => {
                    self.created.add(1);
                    self.total.up();
                    self.connect.record(*took);
                }
                Event::Acquired { .. } => {
                    self.acquired.add(1);
                    self.in_use.up();
                }
                Event::Released { .. } => {
                    self.released.add(1);
                    self.in_use.down(1);
                }
                Event::Discarded { reason, .. } => {
                    self.total.down(1);
                    self.discarded(*reason);
                }
                Event::ConnectFailed { .. } => self.connect_failures.add(1),
                Event::TimedOut { stage } => self.timed_out(*stage),
            }
        }

        fn discarded(&self, reason: DiscardReason) {
            let reason = format!("{reason:?}").to_lowercase();
            let labels = self.labels.and("reason", reason);
            Count::new("pool_resources_discarded_total", &labels).add(1);
        }

        fn timed_out(&self, stage: Stage) {
            let stage = format!("{stage:?}").to_lowercase();
            let labels = self.labels.and("stage", stage);
            Count::new("pool_timeouts_total", &labels).add(1);
        }
    }
}

#[cfg(feature = "tracing")]
mod events {
    use tracing::{debug, trace, warn};

    use crate::resource::Event;

    pub(super) fn emit(pool: &str, event: &Event) {
        match event {
            Event::Created { id, took } => debug!(pool, id, ?took, "resource created"),
            Event::Acquired { id, reused: false } => trace!(pool, id, "resource acquired"),
            Event::Acquired { id, reused: true } => {
                trace!(pool, id, reused = true, "resource acquired");
            }
            Event::Released { id } => trace!(pool, id, "resource released"),
            Event::Discarded { id, reason } => debug!(pool, id, ?reason, "resource discarded"),
            Event::ConnectFailed { error: Some(error) } => {
                warn!(pool, %error, "connecting failed");
            }
            Event::ConnectFailed { error: None } => {
                warn!(pool, "connecting panicked or took too long");
            }
            Event::TimedOut { stage } => warn!(pool, ?stage, "a checkout timed out"),
        }
    }
}
