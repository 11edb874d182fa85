use std::time::Duration;

use crate::error::BuildError;

/// The settings of a pool, as numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    pub(crate) min: usize,
    pub(crate) min_idle: usize,
    pub(crate) max: usize,
    pub(crate) max_waiters: usize,
    pub(crate) acquire_timeout: Duration,
    pub(crate) wait_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) check_timeout: Duration,
    pub(crate) check_after: Duration,
    pub(crate) check_every: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_lifetime: Duration,
    pub(crate) review_every: Duration,
    pub(crate) growth: f64,
    pub(crate) shrink_below: f64,
    /// Share of the resources that one review lets go of.
    pub(crate) shrink_step: f64,
    pub(crate) retries: u32,
    pub(crate) backoff: Duration,
    pub(crate) max_backoff: Duration,
    pub(crate) seed: u64,
}

impl Policy {
    /// Any resource.
    pub(crate) fn generic() -> Self {
        Self {
            min: 1,
            min_idle: 0,
            max: 10,
            max_waiters: 1024,
            acquire_timeout: Duration::from_secs(30),
            wait_timeout: Duration::MAX,
            connect_timeout: Duration::from_secs(5),
            check_timeout: Duration::from_secs(1),
            check_after: Duration::from_secs(60),
            check_every: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(300),
            max_lifetime: Duration::from_secs(1800),
            review_every: Duration::from_secs(60),
            growth: 1.5,
            shrink_below: 0.3,
            shrink_step: 1.0 / 3.0,
            retries: 3,
            backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(10),
            seed: seed(),
        }
    }

    /// Network connections.
    pub(crate) fn connections() -> Self {
        Self {
            min: 2,
            max: 20,
            acquire_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            shrink_below: 0.5,
            shrink_step: 0.1,
            ..Self::generic()
        }
    }

    /// Database connections.
    pub(crate) fn databases() -> Self {
        Self {
            min: 5,
            max: 5,
            check_after: Duration::from_secs(30),
            check_every: Duration::from_secs(30),
            ..Self::connections()
        }
    }

    pub(crate) fn check(&self) -> Result<(), BuildError> {
        let min = self.min.max(self.min_idle);
        if self.max == 0 {
            return Err(BuildError::NoCapacity);
        }
        if min > self.max {
            return Err(BuildError::MinAboveMax { min, max: self.max });
        }
        let growth_ok = self.growth.is_finite() && self.growth > 1.0;
        if !growth_ok || !(0.0..=1.0).contains(&self.shrink_below) {
            return Err(BuildError::BadRatio);
        }
        Ok(())
    }

    /// Time between two sweeps of the idle resources.
    pub(crate) fn sweep_every(&self) -> Duration {
        let half = (self.idle_timeout / 2).min(self.check_every);
        half.max(Duration::from_millis(1))
    }
}

/// A seed that differs between processes and pools, for the jitter.
fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}
