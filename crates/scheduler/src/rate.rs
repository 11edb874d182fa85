//! A rate limit in tokens (or requests, or bytes) per second, with reservations that can be given back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::{BuildError, Error};

#[derive(Debug)]
struct Bucket {
    capacity: f64,
    per_second: f64,
    longest_wait: Duration,
    /// Negative: promised to those who wait.
    level: f64,
    at: Duration,
}

impl Bucket {
    fn refill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        self.level = (self.level + passed.as_secs_f64() * self.per_second).min(self.capacity);
    }

    fn give_back(&mut self, units: f64) {
        self.level = (self.level + units).min(self.capacity);
    }
}

/// A token bucket that hands out places in order: who reserves is told when it may go, so that nobody polls,
/// nobody is overtaken by smaller requests, and no wake-up can be lost. Clones share the bucket.
///
/// ```
/// use mainspring_scheduler::RateLimiter;
/// use std::time::Duration;
/// let limiter = RateLimiter::new(1_000, 100.0)?;
/// let now = Duration::ZERO;
/// let first = limiter.reserve(1_000, now)?;
/// assert_eq!(first.ready_at(), now);
/// let second = limiter.reserve(50, now)?;
/// assert_eq!(second.ready_at(), Duration::from_millis(500));
/// first.settle(400); // 600 come back
/// drop(second); // and so do these 50
/// assert_eq!(limiter.available(now), 600);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct RateLimiter {
    bucket: Arc<Mutex<Bucket>>,
}

impl RateLimiter {
    /// A full bucket of `capacity` units that refills at `per_second`. Nobody is made to wait longer than 60 s.
    ///
    /// # Errors
    /// When the rate is not a positive finite number.
    pub fn new(capacity: u64, per_second: f64) -> Result<Self, BuildError> {
        if !(per_second.is_finite() && per_second > 0.0) {
            let what = format!("{per_second} is not a positive number of units per second");
            return Err(BuildError::Setting {
                name: "per_second",
                what,
            });
        }
        let capacity = capacity as f64;
        let bucket = Bucket {
            capacity,
            per_second,
            longest_wait: Duration::from_secs(60),
            level: capacity,
            at: Duration::ZERO,
        };
        Ok(Self {
            bucket: Arc::new(Mutex::new(bucket)),
        })
    }

    /// Sets how long a reservation may have to wait before it is refused instead.
    #[must_use]
    pub fn longest_wait(self, wait: Duration) -> Self {
        lock(&self.bucket).longest_wait = wait;
        self
    }

    /// Reserves `units` at once and says when they may be used. Requests above the capacity wait longer, too.
    ///
    /// # Errors
    /// [`Error::RateLimited`] when that would be later than the longest wait; nothing is reserved then.
    pub fn reserve(&self, units: u64, now: Duration) -> Result<RateReservation, Error> {
        let mut bucket = lock(&self.bucket);
        bucket.refill(now);
        let after = bucket.level - units as f64;
        let seconds = (-after / bucket.per_second).max(0.0);
        if seconds > bucket.longest_wait.as_secs_f64() {
            let retry_after = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
            return Err(Error::RateLimited { retry_after });
        }
        bucket.level = after;
        let wait = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        let ready_at = now.saturating_add(wait);
        Ok(RateReservation {
            bucket: self.bucket.clone(),
            units: units as f64,
            ready_at,
        })
    }

    /// Whole units that could be had without waiting.
    #[must_use]
    pub fn available(&self, now: Duration) -> u64 {
        let mut bucket = lock(&self.bucket);
        bucket.refill(now);
        bucket.level.max(0.0) as u64
    }
}

/// Units taken from a [`RateLimiter`]; dropping it unsettled gives all of them back.
#[derive(Debug)]
#[must_use = "dropping a reservation gives it back"]
pub struct RateReservation {
    bucket: Arc<Mutex<Bucket>>,
    units: f64,
    ready_at: Duration,
}

impl RateReservation {
    /// When the units may be used, on the clock that `reserve` was given.
    #[must_use]
    pub fn ready_at(&self) -> Duration {
        self.ready_at
    }

    /// What was really used: the difference is given back, or taken on top.
    pub fn settle(mut self, used: u64) {
        self.units -= used as f64;
    }
}

impl Drop for RateReservation {
    fn drop(&mut self) {
        lock(&self.bucket).give_back(self.units);
    }
}

fn lock(bucket: &Mutex<Bucket>) -> MutexGuard<'_, Bucket> {
    bucket.lock().unwrap_or_else(PoisonError::into_inner)
}
