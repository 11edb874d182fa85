//! Where the cache reads the time.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A source of time that never runs backwards: the time since the Unix epoch.
///
/// The default reads the wall clock once, when it is made, and a monotonic clock from then on, so that a
/// clock set back cannot bring expired entries back to life. Tests pass a closure.
/// Entries are timed in whole milliseconds. On Linux the default reads the kernel's coarse clock, which costs a
/// fraction of an exact one and moves once a tick: a time to live may be a tick (1 to 10 ms, mostly 4) too
/// short or too long. Pass a closure where that matters.
///
/// ```
/// use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
/// use std::time::Duration;
/// use mainspring_cache_tier::{Cache, Clock};
///
/// let millis = Arc::new(AtomicU64::new(0));
/// let source = Arc::clone(&millis);
/// let cache: Cache<&str, u32> = Cache::builder(10)
///     .ttl(Duration::from_secs(5))
///     .clock(Clock::new(move || Duration::from_millis(source.load(Ordering::Relaxed))))
///     .build()?;
/// cache.insert("answer", 42);
/// millis.store(4_999, Ordering::Relaxed);
/// assert_eq!(cache.get("answer"), Some(42));
/// millis.store(5_000, Ordering::Relaxed);
/// assert_eq!(cache.get("answer"), None);
/// # Ok::<(), mainspring_cache_tier::BuildError>(())
/// ```
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    /// Milliseconds to add to the coarse monotonic clock.
    Coarse {
        ahead: u64,
    },
    Closure(Arc<dyn Fn() -> Duration + Send + Sync>),
}

impl Clock {
    /// A clock that asks `now` for the time since the Unix epoch, which must never decrease.
    pub fn new(now: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self(Source::Closure(Arc::new(now)))
    }

    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        let epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self(Source::Coarse {
            ahead: saturating_millis(epoch).saturating_sub(coarse()),
        })
    }

    /// Now, in milliseconds since the Unix epoch.
    #[inline]
    pub(crate) fn millis(&self) -> u64 {
        match &self.0 {
            Source::Coarse { ahead } => *ahead + coarse(),
            Source::Closure(now) => saturating_millis(now()),
        }
    }
}

/// Milliseconds of a monotonic clock that is cheap to read.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[inline]
fn coarse() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    (now.tv_sec as u64) * 1_000 + (now.tv_nsec as u64) / 1_000_000
}

/// Milliseconds of a monotonic clock.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn coarse() -> u64 {
    static STARTED: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    saturating_millis(STARTED.get_or_init(std::time::Instant::now).elapsed())
}

/// The latest time there is: as many milliseconds as 48 bits hold (8,900 years).
pub(crate) const LATEST: u64 = (1 << 48) - 2;

/// A duration as whole milliseconds.
#[inline]
pub(crate) fn saturating_millis(duration: Duration) -> u64 {
    let whole = duration.as_secs().saturating_mul(1_000);
    whole
        .saturating_add(u64::from(duration.subsec_millis()))
        .min(LATEST)
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Source::Coarse { .. } => "Clock::system",
            Source::Closure(_) => "Clock::new",
        })
    }
}
