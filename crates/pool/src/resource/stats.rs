use std::time::Duration;

/// A snapshot of a [`ResourcePool`](crate::ResourcePool) or of all pools of a
/// [`KeyedPool`](crate::KeyedPool).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct ResourceStats {
    /// Resources connected.
    pub created: u64,
    /// Resources that left, for whatever reason.
    pub destroyed: u64,
    /// Successful checkouts.
    pub acquisitions: u64,
    /// Checkouts that ran out of time while waiting for a return.
    pub wait_timeouts: u64,
    /// Checkouts that ran out of time while waiting for a connect.
    pub connect_timeouts: u64,
    /// Checkouts that ran out of time while waiting for a check.
    pub check_timeouts: u64,
    /// Checkouts refused because too many callers waited.
    pub refused: u64,
    /// Connects that failed, timed out or panicked.
    pub connect_failures: u64,
    /// Checks that failed, timed out or panicked.
    pub check_failures: u64,
    /// Resources that exist, with those being connected or checked.
    pub total: usize,
    /// Resources on loan.
    pub in_use: usize,
    /// Resources ready for a caller.
    pub available: usize,
    /// Resources being connected.
    pub connecting: usize,
    /// Resources being checked.
    pub checking: usize,
    /// Callers waiting.
    pub waiting: usize,
    /// The most resources there may be.
    pub max: usize,
    /// The most that were on loan at once in the last few review periods.
    pub high_water: usize,
    /// Time that callers waited, of those who had to.
    pub wait: Times,
    /// Time that successful connects took.
    pub connect: Times,
    /// Time that successful checks took.
    pub check: Times,
}

impl ResourceStats {
    /// Resources not known to be bad: those on loan and those available.
    pub fn healthy(&self) -> usize {
        self.in_use + self.available
    }

    /// Checkouts that ran out of time, whatever they waited for.
    pub fn timeouts(&self) -> u64 {
        self.wait_timeouts + self.connect_timeouts + self.check_timeouts
    }

    /// Share of `max` that is on loan, in percent.
    pub fn utilisation(&self) -> f64 {
        if self.max == 0 {
            return 0.0;
        }
        self.in_use as f64 * 100.0 / self.max as f64
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.created += other.created;
        self.destroyed += other.destroyed;
        self.acquisitions += other.acquisitions;
        self.wait_timeouts += other.wait_timeouts;
        self.connect_timeouts += other.connect_timeouts;
        self.check_timeouts += other.check_timeouts;
        self.refused += other.refused;
        self.connect_failures += other.connect_failures;
        self.check_failures += other.check_failures;
        self.total += other.total;
        self.in_use += other.in_use;
        self.available += other.available;
        self.connecting += other.connecting;
        self.checking += other.checking;
        self.waiting += other.waiting;
        self.high_water += other.high_water;
        self.wait.add(&other.wait);
        self.connect.add(&other.connect);
        self.check.add(&other.check);
    }
}

/// A number of durations: how many, their sum and the largest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Times {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub total: Duration,
    /// The largest.
    pub max: Duration,
}

impl Times {
    /// The mean; zero when there were none.
    pub fn mean(&self) -> Duration {
        match self.count {
            0 => Duration::ZERO,
            count => Duration::from_nanos((self.total.as_nanos() / u128::from(count)) as u64),
        }
    }

    pub(crate) fn record(&mut self, took: Duration) {
        self.count += 1;
        self.total = self.total.saturating_add(took);
        self.max = self.max.max(took);
    }

    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.total = self.total.saturating_add(other.total);
        self.max = self.max.max(other.max);
    }
}
