//! What all calls of a scheduler share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::approval::Authorise;
use crate::counts::PhaseCounts;
use crate::{Budget, Cooldowns, RateLimiter, Retry};

pub(crate) struct Services {
    pub(crate) retry: Retry,
    pub(crate) cooldowns: Arc<Cooldowns>,
    pub(crate) rates: HashMap<String, RateLimiter>,
    pub(crate) budget: Option<Budget>,
    pub(crate) timeout: Duration,
    pub(crate) max_output: usize,
    pub(crate) authorise: Option<Authorise>,
    pub(crate) wall_clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    pub(crate) random: Mutex<fastrand::Rng>,
    pub(crate) counts: PhaseCounts,
}

impl Services {
    /// From 0 to 1.
    pub(crate) fn random(&self) -> f64 {
        self.random
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .f64()
    }

    /// A little more than `pause`, different for each caller, so that a gate is not rushed when it opens.
    pub(crate) fn spread(&self, pause: Duration) -> Duration {
        (pause / 10)
            .min(Duration::from_secs(1))
            .mul_f64(self.random())
    }
}
