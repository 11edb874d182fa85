//! Where the cache reads the time.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A source of time that never runs backwards: the time since the Unix epoch.
///
/// The default reads the wall clock once, when it is made, and a monotonic clock from then on, so that a
/// clock set back cannot bring expired entries back to life. Tests pass a closure.
/// Entries are timed in whole milliseconds.
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
    System { started: Instant, epoch: Duration },
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
        Self(Source::System {
            started: Instant::now(),
            epoch,
        })
    }

    /// Now, in milliseconds since the Unix epoch.
    pub(crate) fn millis(&self) -> u64 {
        let now = match &self.0 {
            Source::System { started, epoch } => *epoch + started.elapsed(),
            Source::Closure(now) => now(),
        };
        saturating_millis(now)
    }
}

/// A duration as whole milliseconds, as many as 48 bits hold (8,900 years).
pub(crate) fn saturating_millis(duration: Duration) -> u64 {
    const LONGEST: u64 = (1 << 48) - 2;
    let whole = duration.as_secs().saturating_mul(1_000);
    whole
        .saturating_add(u64::from(duration.subsec_millis()))
        .min(LONGEST)
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Source::System { .. } => "Clock::system",
            Source::Closure(_) => "Clock::new",
        })
    }
}
