//! What a pool with a name reports: metrics through the `metrics` facade, events through `tracing`.
//! Without these features, or without a name, nothing.

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
            events::emit(name, event);
        }
        let _ = event;
    }

    /// A caller joins the queue.
    pub(crate) fn queued(&self) {
        #[cfg(feature = "metrics")]
        if let Some(meters) = &self.meters {
            meters.waiting.increment(1.0);
        }
    }

    /// A caller leaves the queue; with how long it waited when it got something.
    pub(crate) fn left(&self, waited: Option<Duration>) {
        #[cfg(feature = "metrics")]
        if let Some(meters) = &self.meters {
            meters.waiting.decrement(1.0);
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
            meters.refused.increment(1);
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

    use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

    use crate::error::Stage;
    use crate::resource::{DiscardReason, Event};

    pub(super) struct Meters {
        name: Arc<str>,
        created: Counter,
        acquired: Counter,
        released: Counter,
        connect_failures: Counter,
        pub(super) refused: Counter,
        total: Gauge,
        in_use: Gauge,
        pub(super) waiting: Gauge,
        pub(super) wait: Histogram,
        connect: Histogram,
        pub(super) check: Histogram,
    }

    impl std::fmt::Debug for Meters {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_tuple("Meters").field(&self.name).finish()
        }
    }

    impl Meters {
        pub(super) fn register(name: &str) -> Arc<Self> {
            let pool = [("pool", name.to_owned())];
            Arc::new(Self {
                name: Arc::from(name),
                created: counter!("pool_resources_created_total", &pool),
                acquired: counter!("pool_checkouts_total", &pool),
                released: counter!("pool_returns_total", &pool),
                connect_failures: counter!("pool_connect_failures_total", &pool),
                refused: counter!("pool_refusals_total", &pool),
                total: gauge!("pool_resources", &pool),
                in_use: gauge!("pool_resources_in_use", &pool),
                waiting: gauge!("pool_callers_waiting", &pool),
                wait: histogram!("pool_wait_seconds", &pool),
                connect: histogram!("pool_connect_seconds", &pool),
                check: histogram!("pool_check_seconds", &pool),
            })
        }

        pub(super) fn event(&self, event: &Event) {
            match event {
                Event::Created { took, .. } => {
                    self.created.increment(1);
                    self.total.increment(1.0);
                    self.connect.record(*took);
                }
                Event::Acquired { .. } => {
                    self.acquired.increment(1);
                    self.in_use.increment(1.0);
                }
                Event::Released { .. } => {
                    self.released.increment(1);
                    self.in_use.decrement(1.0);
                }
                Event::Discarded { reason, .. } => {
                    self.total.decrement(1.0);
                    self.discarded(*reason);
                }
                Event::ConnectFailed { .. } => self.connect_failures.increment(1),
                Event::TimedOut { stage } => self.timed_out(*stage),
            }
        }

        fn discarded(&self, reason: DiscardReason) {
            let reason = format!("{reason:?}").to_lowercase();
            let labels = [("pool", self.name.to_string()), ("reason", reason)];
            counter!("pool_resources_discarded_total", &labels).increment(1);
        }

        fn timed_out(&self, stage: Stage) {
            let stage = format!("{stage:?}").to_lowercase();
            let labels = [("pool", self.name.to_string()), ("stage", stage)];
            counter!("pool_timeouts_total", &labels).increment(1);
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
