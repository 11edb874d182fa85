//! Counters.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::family::Series;
use crate::slab::{self, Address, Slot};

/// A number that only grows. Cheap to clone; bound to one series.
///
/// [`Counter::add`] is a plain load and store in the calling thread's own cells, folded into the
/// total when somebody looks and when the thread ends. The total wraps at 2⁶⁴.
#[derive(Debug, Clone)]
pub struct Counter {
    at: Address,
    series: Arc<Series>,
}

impl Counter {
    pub(crate) fn bind(series: Arc<Series>) -> Self {
        let at = series.slot().address();
        Self { at, series }
    }

    /// Adds one.
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `n`.
    #[inline]
    pub fn add(&self, n: u64) {
        if !slab::add(self.at, n) {
            self.add_first(n);
        }
    }

    #[cold]
    fn add_first(&self, n: u64) {
        let slot = self.slot();
        if !slab::attach(slot.store()) || !slab::add(self.at, n) {
            slot.store()
                .stripe()
                .shared(slot.index())
                .fetch_add(n, Ordering::Relaxed);
        }
    }

    /// The total over all threads. Takes the page's lock and reads 4 KiB per thread: not for hot paths.
    #[must_use]
    pub fn value(&self) -> u64 {
        let mut cells = [0; slab::WIDTH];
        let slot = self.slot();
        slot.store().read(&mut cells);
        cells[slot.index()]
    }

    fn slot(&self) -> &Slot {
        self.series.slot()
    }
}

/// A counter that something else keeps, shown here: the kernel's CPU time, another crate's statistics.
#[derive(Debug, Clone)]
pub struct ObservedCounter {
    series: Arc<Series>,
}

impl ObservedCounter {
    pub(crate) fn bind(series: Arc<Series>) -> Self {
        Self { series }
    }

    /// Shows `total` from now on. Not-a-number and negative totals are ignored.
    pub fn set(&self, total: f64) {
        if total >= 0.0 {
            self.series
                .level()
                .store(total.to_bits(), Ordering::Relaxed);
        }
    }

    /// What was set last; zero before.
    #[must_use]
    pub fn value(&self) -> f64 {
        f64::from_bits(self.series.level().load(Ordering::Relaxed))
    }
}
