//! Reports of pools of objects: each event as it happens.

use std::sync::Arc;

#[derive(Default)]
pub(crate) struct ObjectTelemetry {
    name: Option<Arc<str>>,
    #[cfg(feature = "metrics")]
    meters: Option<meters::Meters>,
}

impl ObjectTelemetry {
    pub(crate) fn new(name: Option<&str>) -> Self {
        Self {
            name: name.map(Arc::from),
            #[cfg(feature = "metrics")]
            meters: name.map(meters::Meters::register),
        }
    }

    /// Whether anybody is told anything.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        cfg!(any(feature = "metrics", feature = "tracing")) && self.name.is_some()
    }

    /// An object was made.
    pub(crate) fn made(&self) {
        #[cfg(feature = "metrics")]
        if let Some(meters) = &self.meters {
            meters.created.add(1);
        }
        #[cfg(feature = "tracing")]
        if let Some(pool) = self.name.as_deref() {
            super::quietly(|| tracing::trace!(pool, "object made"));
        }
    }

    /// An object went out on loan.
    pub(crate) fn lent(&self) {
        #[cfg(feature = "metrics")]
        if let Some(meters) = &self.meters {
            meters.acquired.add(1);
            meters.in_use.up();
        }
    }

    /// An object on loan came back, or its user took it for good.
    pub(crate) fn returned(&self) {
        #[cfg(feature = "metrics")]
        if let Some(meters) = &self.meters {
            meters.in_use.down(1);
        }
    }

    /// An object became idle.
    pub(crate) fn kept(&self) {
        #[cfg(feature = "metrics")]
        if let Some(meters) = &self.meters {
            meters.idle.up();
        }
    }

    /// Objects are no longer idle.
    pub(crate) fn unkept(&self, count: usize) {
        #[cfg(feature = "metrics")]
        if let Some(meters) = &self.meters {
            meters.idle.down(count);
        }
        let _ = count;
    }

    /// Objects were dropped instead of kept.
    pub(crate) fn discarded(&self, count: usize, why: &'static str) {
        #[cfg(feature = "metrics")]
        if let Some(meters) = &self.meters {
            meters.discarded(count, why);
        }
        #[cfg(feature = "tracing")]
        if let Some(pool) = self.name.as_deref() {
            super::quietly(|| tracing::debug!(pool, count, why, "objects discarded"));
        }
        let _ = (count, why);
    }
}

#[cfg(feature = "metrics")]
mod meters {
    use crate::telemetry::instruments::{Count, Labels, Level};

    pub(super) struct Meters {
        labels: Labels,
        pub(super) created: Count,
        pub(super) acquired: Count,
        pub(super) idle: Level,
        pub(super) in_use: Level,
    }

    impl Meters {
        pub(super) fn register(pool: &str) -> Self {
            let labels = Labels::of(pool);
            Self {
                created: Count::new("pool_objects_created_total", &labels),
                acquired: Count::new("pool_object_checkouts_total", &labels),
                idle: Level::new("pool_objects_idle", &labels),
                in_use: Level::new("pool_objects_in_use", &labels),
                labels,
            }
        }

        pub(super) fn discarded(&self, count: usize, why: &'static str) {
            let labels = self.labels.and("reason", why);
            Count::new("pool_objects_discarded_total", &labels).add(count as u64);
        }
    }
}
