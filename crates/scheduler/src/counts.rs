//! How many calls came to each phase.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Phase, PhaseStats};

/// Counts per phase.
#[derive(Debug, Default)]
pub(crate) struct PhaseCounts {
    entered: [AtomicU64; 6],
    failed: [AtomicU64; 6],
    retries: AtomicU64,
}

impl PhaseCounts {
    pub(crate) fn enter(&self, phase: Phase) {
        self.entered[phase as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn fail(&self, phase: Phase) {
        self.failed[phase as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> [PhaseStats; 6] {
        std::array::from_fn(|phase| PhaseStats {
            entered: self.entered[phase].load(Ordering::Relaxed),
            failed: self.failed[phase].load(Ordering::Relaxed),
        })
    }

    pub(crate) fn retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }
}
