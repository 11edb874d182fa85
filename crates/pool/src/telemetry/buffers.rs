//! Reports of pools of buffers: figures from time to time, for a checkout is too short to report each.

use std::sync::Arc;

use crate::buffer::BufferStats;
use crate::pressure::Reclaimed;

#[derive(Default)]
pub(crate) struct BufferTelemetry {
    name: Option<Arc<str>>,
    #[cfg(feature = "metrics")]
    meters: Option<meters::Meters>,
}

impl BufferTelemetry {
    pub(crate) fn new(name: Option<&str>) -> Self {
        Self {
            name: name.map(Arc::from),
            #[cfg(feature = "metrics")]
            meters: name.map(meters::Meters::register),
        }
    }

    /// Whether anybody wants the figures.
    pub(crate) fn wants_figures(&self) -> bool {
        cfg!(feature = "metrics") && self.name.is_some()
    }

    pub(crate) fn figures(&self, stats: &BufferStats) {
        #[cfg(feature = "metrics")]
        if let Some(meters) = &self.meters {
            meters.publish(stats);
        }
        let _ = stats;
    }

    /// A buffer of `bytes` was allocated, which the pool keeps or not.
    pub(crate) fn allocated(&self, bytes: usize, kept: bool) {
        #[cfg(feature = "tracing")]
        if let Some(pool) = self.name.as_deref() {
            super::quietly(|| tracing::trace!(pool, bytes, kept, "buffer allocated"));
        }
        let _ = (bytes, kept);
    }

    /// A pass or a trim took idle buffers out.
    pub(crate) fn reclaimed(&self, by: &'static str, taken: Reclaimed) {
        #[cfg(feature = "tracing")]
        if let Some(pool) = self.name.as_deref() {
            let Reclaimed { items, bytes } = taken;
            super::quietly(|| tracing::debug!(pool, by, items, bytes, "idle buffers taken out"));
        }
        let _ = (by, taken);
    }
}

#[cfg(feature = "metrics")]
mod meters {
    use crate::buffer::{BufferStats, CLASS_BYTES, CLASSES, ClassStats, SIZES};
    use crate::telemetry::instruments::{Count, Labels, Level};

    pub(super) struct Meters {
        labels: Labels,
        classes: [Class; CLASSES],
        requests: [Count; SIZES],
        direct: Count,
        outgrown: Count,
        reclaimed: Count,
        young_passes: Count,
        full_passes: Count,
        bytes: Level,
        budget: Level,
    }

    struct Class {
        acquired: Count,
        allocated: Count,
        total: Level,
        idle: Level,
    }

    impl Class {
        fn register(pool: &Labels, bytes: usize) -> Self {
            let labels = pool.and("class", bytes.to_string());
            Self {
                acquired: Count::new("pool_buffer_checkouts_total", &labels),
                allocated: Count::new("pool_buffers_allocated_total", &labels),
                total: Level::new("pool_buffers", &labels),
                idle: Level::new("pool_buffers_idle", &labels),
            }
        }

        fn publish(&self, stats: &ClassStats) {
            self.acquired.reach(stats.acquired);
            self.allocated.reach(stats.allocated);
            self.total.set(stats.total);
            self.idle.set(stats.idle);
        }
    }

    impl Meters {
        pub(super) fn register(pool: &str) -> Self {
            let labels = Labels::of(pool);
            let passes = |generation| {
                let labels = labels.and("generation", generation);
                Count::new("pool_buffer_passes_total", &labels)
            };
            Self {
                classes: CLASS_BYTES.map(|bytes| Class::register(&labels, bytes)),
                requests: std::array::from_fn(|bucket| {
                    let labels = labels.and("size", size(bucket));
                    Count::new("pool_buffer_requests_total", &labels)
                }),
                direct: Count::new("pool_buffer_direct_allocations_total", &labels),
                outgrown: Count::new("pool_buffers_outgrown_total", &labels),
                reclaimed: Count::new("pool_buffers_reclaimed_total", &labels),
                young_passes: passes("young"),
                full_passes: passes("full"),
                bytes: Level::new("pool_buffer_bytes", &labels),
                budget: Level::new("pool_buffer_budget_bytes", &labels),
                labels,
            }
        }

        pub(super) fn publish(&self, stats: &BufferStats) {
            for (class, figures) in self.classes.iter().zip(&stats.classes) {
                class.publish(figures);
            }
            for (requests, count) in self.requests.iter().zip(stats.by_requested_size) {
                requests.reach(count);
            }
            for figures in &stats.tags {
                let labels = self.labels.and("tag", figures.tag);
                Count::new("pool_buffer_tagged_checkouts_total", &labels).reach(figures.acquired);
                Count::new("pool_buffer_tagged_bytes_total", &labels).reach(figures.bytes);
            }
            self.direct.reach(stats.direct_allocations);
            self.outgrown.reach(stats.outgrown);
            self.reclaimed.reach(stats.reclaimed);
            self.young_passes.reach(stats.young_passes);
            self.full_passes.reach(stats.full_passes);
            self.bytes.set(stats.bytes);
            self.budget.set(stats.budget);
        }
    }

    /// The largest request, in bytes, that a size bucket counts.
    fn size(bucket: usize) -> String {
        if bucket + 1 == SIZES {
            return "larger".to_owned();
        }
        (1_usize << bucket).to_string()
    }
}
