//! The settings of a buffer pool.

use std::fmt;
use std::time::{Duration, Instant};

use super::pool::BufferPool;

pub(crate) type Clock = Box<dyn Fn() -> Duration + Send + Sync>;

/// Settings of a [`BufferPool`].
#[must_use]
pub struct BufferPoolBuilder {
    pub(crate) budget: usize,
    pub(crate) young_after: usize,
    pub(crate) full_after: u64,
    pub(crate) full_every: Duration,
    pub(crate) clock: Clock,
    pub(crate) name: Option<String>,
}

impl Default for BufferPoolBuilder {
    fn default() -> Self {
        let origin = Instant::now();
        Self {
            budget: 16 << 20,
            young_after: 700,
            full_after: 10,
            full_every: Duration::from_secs(60),
            clock: Box::new(move || origin.elapsed()),
            name: None,
        }
    }
}

impl BufferPoolBuilder {
    /// The most bytes that the pool may hold and lend out together. Default 16 MiB. Beyond it
    /// buffers are allocated directly and freed on return.
    pub fn budget(mut self, bytes: usize) -> Self {
        self.budget = bytes;
        self
    }

    /// Slow operations (an allocation, or a batch moved between a thread and the shared list) per
    /// young pass, and young passes per full pass. Default 700 and 10; at least 1 each.
    pub fn passes(mut self, young_after: usize, full_after: u64) -> Self {
        self.young_after = young_after.max(1);
        self.full_after = full_after.max(1);
        self
    }

    /// The longest time between two full passes of a pool in use. Default 60 s.
    pub fn full_pass_every(mut self, period: Duration) -> Self {
        self.full_every = period;
        self
    }

    /// A clock that tells the time since any fixed origin, for tests. Default: the system's
    /// monotonic clock, read once in 64 slow operations.
    pub fn clock(mut self, clock: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        self.clock = Box::new(clock);
        self
    }

    /// The name under which the pool reports, one of its own. Default: none, and nothing is reported.
    ///
    /// With the feature `metrics` it is the label `pool` of counters and gauges: checkouts and buffers
    /// by class, requests by size, checkouts by tag, direct allocations, passes, bytes. A checkout is
    /// too short to report each, so they follow when a thread has checked out 1,024 of a size, every 64
    /// slow operations, after each pass and trim, and when somebody asks for [`stats`](BufferPool::stats). With the feature `tracing` it is the
    /// field `pool` of events for allocations, passes and trims.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Builds the pool. Allocates no buffers yet.
    pub fn build(self) -> BufferPool {
        BufferPool::with(self)
    }
}

impl fmt::Debug for BufferPoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferPoolBuilder")
            .field("budget", &self.budget)
            .field("young_after", &self.young_after)
            .field("full_after", &self.full_after)
            .field("full_every", &self.full_every)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
