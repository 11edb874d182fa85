//! When to try again, and when to stop trying.

use std::time::{Duration, SystemTime};

/// No server is believed when it asks for more than this.
const LONGEST_AFTER: Duration = Duration::from_secs(24 * 3600);

/// The value of an HTTP `Retry-After` header (RFC 9110, 10.2.3), in either of its forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfter {
    /// After this long.
    Delay(Duration),
    /// Not before this time.
    At(SystemTime),
}

impl RetryAfter {
    /// Reads `120`, `1.5` or `Wed, 21 Oct 2026 07:28:00 GMT`; `None` for anything else.
    ///
    /// ```
    /// use mainspring_scheduler::RetryAfter;
    /// use std::time::{Duration, SystemTime};
    /// let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
    /// assert_eq!(RetryAfter::parse("2").unwrap().delay(now), Duration::from_secs(2));
    /// let date = RetryAfter::parse("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
    /// assert_eq!(date.delay(now), Duration::from_secs(7));
    /// assert_eq!(RetryAfter::parse("soon"), None);
    /// ```
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let header = header.trim();
        if header.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            let seconds: f64 = header.parse().ok()?;
            let capped = seconds.clamp(0.0, LONGEST_AFTER.as_secs_f64());
            return Some(Self::Delay(Duration::from_secs_f64(capped)));
        }
        httpdate::parse_http_date(header).ok().map(Self::At)
    }

    /// How long that is from `now`; zero for a date that has passed, at most a day.
    #[must_use]
    pub fn delay(self, now: SystemTime) -> Duration {
        let delay = match self {
            Self::Delay(delay) => delay,
            Self::At(time) => time.duration_since(now).unwrap_or(Duration::ZERO),
        };
        delay.min(LONGEST_AFTER)
    }
}

/// How often and how late a call is tried again. Only errors that the tool itself calls transient or rate
/// limited are retried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retry {
    /// Runs in all, the first included. Default 4: three retries.
    pub attempts: u32,
    /// Back-off before the first retry. Default 500 ms.
    pub base: Duration,
    /// Growth of the back-off per retry. Default 2.
    pub factor: f64,
    /// Longest back-off. Default 60 s.
    pub longest: Duration,
    /// Wall-clock time from the first start within which the last retry must begin. Default 5 min.
    pub within: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 4,
            base: Duration::from_millis(500),
            factor: 2.0,
            longest: Duration::from_secs(60),
            within: Duration::from_secs(300),
        }
    }
}

impl Retry {
    /// Never tries again.
    #[must_use]
    pub fn never() -> Self {
        Self {
            attempts: 1,
            ..Self::default()
        }
    }

    /// How long to wait after run number `attempt` (from 1) failed, `elapsed` after the first start; `None` when
    /// the attempts are used up or the wait would end outside the wall-clock budget.
    ///
    /// The back-off is drawn from its upper half by `random` in 0..1 ("equal jitter"); a server's own
    /// `after` is a floor, with up to a tenth and at most a second more, so that callers do not return as one.
    #[must_use]
    pub fn delay(
        &self,
        attempt: u32,
        elapsed: Duration,
        after: Option<Duration>,
        random: f64,
    ) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        let random = random.clamp(0.0, 1.0);
        let delay = match after {
            Some(after) => {
                after.saturating_add((after / 10).min(Duration::from_secs(1)).mul_f64(random))
            }
            None => {
                let half = self.backoff(attempt) / 2;
                half.saturating_add(half.mul_f64(random))
            }
        };
        (elapsed.saturating_add(delay) <= self.within).then_some(delay)
    }

    fn backoff(&self, attempt: u32) -> Duration {
        let power = self
            .factor
            .max(1.0)
            .powi(attempt.saturating_sub(1).min(64) as i32);
        Duration::try_from_secs_f64(self.base.as_secs_f64() * power)
            .map_or(self.longest, |backoff| backoff.min(self.longest))
    }
}
