//! Histograms.

use std::sync::Arc;

use crate::distribution::{self, HistogramSnapshot};
use crate::family::{Exemplar, Series, Store};
use crate::slab::{self, Slot};

/// A distribution of whole numbers: bytes, tokens, queue lengths. Cheap to clone; bound to one series.
///
/// Values fall into 496 log-linear buckets (eight per power of two), so a quantile is at most
/// 6.25 % off, whatever the range; count, sum, least and greatest are exact. Nothing is sampled and
/// nothing is kept: 4 KiB per thread that records, however many values.
#[derive(Debug, Clone)]
pub struct Histogram {
    page: u32,
    series: Arc<Series>,
}

impl Histogram {
    pub(crate) fn bind(series: Arc<Series>) -> Self {
        let Store::Histogram { slot, .. } = &series.store else {
            unreachable!("bound by kind")
        };
        Self {
            page: slot.page(),
            series,
        }
    }

    /// Records one value.
    #[inline]
    pub fn record(&self, value: u64) {
        let carried = slab::with_histogram(self.page, |cells| distribution::record(cells, value));
        if carried != Some(false) {
            self.record_rarely(value, carried.is_some());
        }
    }

    /// The first value of a thread, a sum that passes 2⁶⁴, and threads that share.
    #[cold]
    fn record_rarely(&self, value: u64, carry: bool) {
        let store = self.slot().store();
        if carry {
            slab::with_histogram(self.page, |cells| {
                store.exclusive(|| distribution::carry(cells, value));
            });
            return;
        }
        if slab::attach(store) {
            slab::with_histogram(self.page, |cells| distribution::record(cells, value));
        } else if distribution::record_shared(store.stripe(), value) {
            store.exclusive(|| distribution::carry_shared(store.stripe(), value));
        }
    }

    /// Records a value of the exported unit (seconds for a timer's histogram). Not-a-number is
    /// ignored; what is below zero counts as zero, what is too large as the largest.
    pub fn record_f64(&self, value: f64) {
        if !value.is_nan() {
            self.record((value / self.scale()).round() as u64);
        }
    }

    /// Records one value and keeps it as the series' exemplar: shown in OpenMetrics next to the
    /// bucket it fell into, to lead from a figure to one case (a trace id, say).
    ///
    /// Labels are cut to what OpenMetrics allows, 128 characters, names and values together, and
    /// quotes, backslashes, line breaks, braces and `#` in them become `_`.
    pub fn record_with_exemplar(&self, value: u64, labels: &[(&str, &str)]) {
        self.record(value);
        if let Store::Histogram { exemplar, .. } = &self.series.store {
            let new = Exemplar::new(value, labels);
            *exemplar
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(new);
        }
    }

    /// Everything recorded so far, over all threads.
    #[must_use]
    pub fn snapshot(&self) -> HistogramSnapshot {
        let mut cells = [0; slab::WIDTH];
        self.slot().store().read(&mut cells);
        HistogramSnapshot::from_cells(&cells, self.scale())
    }

    fn scale(&self) -> f64 {
        let Store::Histogram { scale, .. } = &self.series.store else {
            unreachable!("bound by kind")
        };
        *scale
    }

    fn slot(&self) -> &Slot {
        let Store::Histogram { slot, .. } = &self.series.store else {
            unreachable!("bound by kind")
        };
        slot
    }
}
