//! Gauges.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::family::Series;

/// A number that goes up and down. Cheap to clone; bound to one series.
///
/// A gauge is one shared atomic: [`Gauge::set`] is a plain store, [`Gauge::add`] a compare-and-swap.
#[derive(Debug, Clone)]
pub struct Gauge {
    series: Arc<Series>,
}

impl Gauge {
    pub(crate) fn bind(series: Arc<Series>) -> Self {
        Self { series }
    }

    /// Shows `value` from now on.
    #[inline]
    pub fn set(&self, value: f64) {
        self.series
            .level()
            .store(value.to_bits(), Ordering::Relaxed);
    }

    /// Adds `delta`, which may be negative.
    pub fn add(&self, delta: f64) {
        let level = self.series.level();
        let add = |bits| Some((f64::from_bits(bits) + delta).to_bits());
        let _always_ok = level.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Adds one until the guard is dropped: requests in flight.
    #[must_use = "the gauge goes down again when the guard is dropped"]
    pub fn enter(&self) -> InFlight {
        self.add(1.0);
        InFlight {
            gauge: self.clone(),
        }
    }

    /// The value now.
    #[must_use]
    pub fn value(&self) -> f64 {
        f64::from_bits(self.series.level().load(Ordering::Relaxed))
    }
}

/// Keeps a gauge one higher while it lives; see [`Gauge::enter`].
#[derive(Debug)]
pub struct InFlight {
    gauge: Gauge,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.gauge.add(-1.0);
    }
}
