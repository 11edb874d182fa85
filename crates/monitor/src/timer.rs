//! Timers: histograms of durations.

use std::time::Duration;

use crate::clock::{Clock, Stamp};
use crate::distribution::HistogramSnapshot;
use crate::histogram::Histogram;

/// A histogram of durations, kept in nanoseconds and exported in seconds. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Timer {
    histogram: Histogram,
    clock: Clock,
}

impl Timer {
    pub(crate) fn new(histogram: Histogram, clock: Clock) -> Self {
        Self { histogram, clock }
    }

    /// Starts timing; the returned guard records when it is dropped.
    #[inline]
    #[must_use = "the duration ends where the guard is dropped"]
    pub fn start(&self) -> Timing<'_> {
        Timing {
            timer: self,
            start: self.clock.stamp(),
        }
    }

    /// Times one call.
    #[inline]
    pub fn time<R>(&self, call: impl FnOnce() -> R) -> R {
        let _timing = self.start();
        call()
    }

    /// Records a duration measured elsewhere; above 584 years it counts as that.
    #[inline]
    pub fn record(&self, duration: Duration) {
        self.histogram
            .record(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Records a duration and keeps it as the series' exemplar, as
    /// [`Histogram::record_with_exemplar`] does.
    pub fn record_with_exemplar(&self, duration: Duration, labels: &[(&str, &str)]) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.histogram.record_with_exemplar(nanos, labels);
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The histogram behind, which takes nanoseconds.
    #[must_use]
    pub fn histogram(&self) -> &Histogram {
        &self.histogram
    }

    /// Everything recorded so far, in seconds.
    #[must_use]
    pub fn snapshot(&self) -> HistogramSnapshot {
        self.histogram.snapshot()
    }
}

/// A duration being measured; see [`Timer::start`].
#[derive(Debug)]
pub struct Timing<'a> {
    timer: &'a Timer,
    start: Stamp,
}

impl Timing<'_> {
    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.nanos())
    }

    #[inline]
    fn nanos(&self) -> u64 {
        self.timer.clock.nanos_since(self.start)
    }

    /// Records now and returns the duration.
    pub fn stop(self) -> Duration {
        let elapsed = self.elapsed();
        self.timer.record(elapsed);
        std::mem::forget(self);
        elapsed
    }

    /// Records now, keeps the duration as the series' exemplar, and returns it.
    pub fn stop_with_exemplar(self, labels: &[(&str, &str)]) -> Duration {
        let elapsed = self.elapsed();
        self.timer.record_with_exemplar(elapsed, labels);
        std::mem::forget(self);
        elapsed
    }

    /// Records nothing.
    pub fn discard(self) {
        // Nothing of it is owned: what is forgotten is the record alone.
        std::mem::forget(self);
    }
}

impl Drop for Timing<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.timer.histogram.record(self.nanos());
    }
}
