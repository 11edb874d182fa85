//! Time as a closure, so that tests never sleep.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ticker::Ticker;

/// A monotonic clock: the system's, or any closure. Cheap to clone.
///
/// Timers measure by the processor's tick counter instead of the system's clock where the feature
/// `tsc` is on and the kernel keeps its own time by that counter (x86-64 Linux); it costs less than
/// half. What such a timer measures is within a thousandth of the system's time.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System(Instant, Option<&'static Ticker>),
    Closure(Arc<dyn Fn() -> Duration + Send + Sync>),
}

impl Clock {
    /// The system's monotonic clock, counted from now.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System(Instant::now(), Ticker::get()))
    }

    /// A clock that asks `now`, the time since an origin of its own; it must not go back.
    #[must_use]
    pub fn from_fn(now: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self(Source::Closure(Arc::new(now)))
    }

    /// Time since this clock's origin.
    #[inline]
    #[must_use]
    pub fn now(&self) -> Duration {
        match &self.0 {
            Source::System(origin, _) => origin.elapsed(),
            Source::Closure(now) => now(),
        }
    }

    /// A moment, for [`Clock::nanos_since`] of this clock only.
    #[inline]
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp(match &self.0 {
            Source::System(_, Some(ticker)) => ticker.now(),
            _ => self.nanos(),
        })
    }

    /// Nanoseconds since a moment; it ends at 584 years.
    #[inline]
    pub(crate) fn nanos_since(&self, start: Stamp) -> u64 {
        match &self.0 {
            Source::System(_, Some(ticker)) => ticker.nanos_since(start.0),
            _ => self.nanos().saturating_sub(start.0),
        }
    }

    fn nanos(&self) -> u64 {
        u64::try_from(self.now().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A moment by one clock: ticks or nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp(u64);

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match self.0 {
            Source::System(..) => "system",
            Source::Closure(_) => "closure",
        };
        f.debug_tuple("Clock").field(&source).finish()
    }
}
