use std::time::Duration;

use crate::error::Result;
use crate::snapshots::Snapshots;
use crate::upkeep::{RetainReport, Retention};

/// How often a runtime makes a version: after so many steps, bytes or seconds, whichever comes first.
///
/// ```
/// use mainspring_delta_snapshot::Cadence;
/// use std::time::Duration;
///
/// let mut cadence = Cadence::new().steps(10).bytes(64 << 10).every(Duration::from_secs(30));
/// assert!(!cadence.step(1_000, 0));
/// assert!(cadence.step(70_000, 10), "64 KiB have come together");
/// assert!(!cadence.step(1_000, 20));
/// assert!(cadence.step(1_000, 30_010), "30 seconds have passed");
/// ```
#[derive(Debug, Clone, Default)]
pub struct Cadence {
    max_steps: Option<u64>,
    max_bytes: Option<u64>,
    max_millis: Option<u64>,
    steps: u64,
    bytes: u64,
    since: Option<u64>,
}

impl Cadence {
    /// After every step, unless something else is said.
    pub fn new() -> Self {
        Self::default()
    }

    /// After `n` steps; default no bound.
    #[must_use]
    pub fn steps(mut self, n: u64) -> Self {
        self.max_steps = Some(n);
        self
    }

    /// After `n` bytes; default no bound.
    #[must_use]
    pub fn bytes(mut self, n: u64) -> Self {
        self.max_bytes = Some(n);
        self
    }

    /// With the first step this long after the last version; default no bound.
    #[must_use]
    pub fn every(mut self, time: Duration) -> Self {
        self.max_millis = Some(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Notes a step of `bytes` at `now` (milliseconds since the Unix epoch) and says whether to commit; if so, counting
    /// begins anew.
    pub fn step(&mut self, bytes: u64, now: u64) -> bool {
        self.steps = self.steps.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
        let since = *self.since.get_or_insert(now);
        let reached = |max: Option<u64>, value: u64| max.is_some_and(|max| value >= max);
        let unbounded =
            self.max_steps.is_none() && self.max_bytes.is_none() && self.max_millis.is_none();
        let due = unbounded
            || reached(self.max_steps, self.steps)
            || reached(self.max_bytes, self.bytes)
            || reached(self.max_millis, now.saturating_sub(since));
        if due {
            self.begin(now);
        }
        due
    }

    /// Begins counting anew: a version was made for another reason.
    pub fn begin(&mut self, now: u64) {
        (self.steps, self.bytes, self.since) = (0, 0, Some(now));
    }
}

/// Applies a [`Retention`] now and then; the time comes from [`Options::clock`](crate::Options::clock).
#[derive(Debug, Clone)]
pub struct Sweeper {
    retention: Retention,
    every: Duration,
    last: Option<u64>,
}

impl Sweeper {
    /// Every 30 minutes.
    pub fn new(retention: Retention) -> Self {
        Self {
            retention,
            every: Duration::from_secs(30 * 60),
            last: None,
        }
    }

    /// Another interval.
    #[must_use]
    pub fn every(mut self, time: Duration) -> Self {
        self.every = time;
        self
    }

    /// Sweeps when it is time, else does nothing; the first call sweeps. Call it as often as you like.
    ///
    /// # Errors
    /// As for [`Snapshots::retain`]; the next call tries again.
    pub fn sweep(&mut self, snapshots: &Snapshots) -> Result<Option<RetainReport>> {
        let now = (snapshots.store.options.clock)();
        let passed = self.last.map(|last| u128::from(now.saturating_sub(last)));
        if passed.is_some_and(|passed| passed < self.every.as_millis()) {
            return Ok(None);
        }
        let report = snapshots.retain(&self.retention, now)?;
        self.last = Some(now);
        Ok(Some(report))
    }
}
