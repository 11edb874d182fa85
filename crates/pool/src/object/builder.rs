//! The settings of an object pool.

use std::fmt;

use super::pool::ObjectPool;

pub(crate) type Make<T> = Box<dyn Fn() -> T + Send + Sync>;
pub(crate) type Reset<T> = Box<dyn Fn(&mut T) + Send + Sync>;
pub(crate) type Weigh<T> = Box<dyn Fn(&T) -> usize + Send + Sync>;

/// Settings of an [`ObjectPool`].
#[must_use]
pub struct ObjectPoolBuilder<T> {
    pub(crate) make: Make<T>,
    pub(crate) reset: Option<Reset<T>>,
    pub(crate) weigh: Option<(usize, Weigh<T>)>,
    pub(crate) initial: usize,
    pub(crate) max: usize,
    pub(crate) young_after: u32,
    pub(crate) name: Option<String>,
}

impl<T> ObjectPoolBuilder<T> {
    /// What to do to an object on return, so that the next user finds it as new. Default: nothing.
    /// Runs without a lock; when it panics, the object is discarded and the panic goes no further.
    pub fn reset(mut self, reset: impl Fn(&mut T) + Send + Sync + 'static) -> Self {
        self.reset = Some(Box::new(reset));
        self
    }

    /// Discards a returned object (after its reset) that `weigh` finds heavier than `limit`.
    /// Default: no limit. The unit is the caller's, usually bytes.
    pub fn max_weight(
        mut self,
        limit: usize,
        weigh: impl Fn(&T) -> usize + Send + Sync + 'static,
    ) -> Self {
        self.weigh = Some((limit, Box::new(weigh)));
        self
    }

    /// Objects made at once and kept through quiet times. Default 10, at most `max`.
    pub fn initial(mut self, count: usize) -> Self {
        self.initial = count;
        self
    }

    /// Idle objects kept at most. Default 100.
    pub fn max(mut self, count: usize) -> Self {
        self.max = count;
        self
    }

    /// Returns between two passes that take out what is idle above `initial` and was not needed since
    /// the last pass. Default 700; at least 1.
    pub fn pass_after(mut self, returns: u32) -> Self {
        self.young_after = returns.max(1);
        self
    }

    /// The name under which the pool reports: with the feature `metrics`, the label `pool` of its
    /// counters (made, checkouts, discarded by reason) and gauges (idle, on loan), and with the
    /// feature `tracing`, the field `pool` of its events. Default: none, and nothing is reported.
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Builds the pool and makes the initial objects.
    ///
    /// # Panics
    /// When making one panics.
    pub fn build(self) -> ObjectPool<T> {
        ObjectPool::with(self)
    }
}

impl<T> fmt::Debug for ObjectPoolBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectPoolBuilder")
            .field("initial", &self.initial)
            .field("max", &self.max)
            .field("young_after", &self.young_after)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
