//! Keeps callers from a server that does not answer.

use crate::clock::{Clock, saturating_millis};
use crate::sync::Mutex;
use std::time::Duration;

/// After so many failures in a row nobody is let through for a pause; then one is, and decides.
#[derive(Debug)]
pub(crate) struct Breaker {
    limit: u32,
    pause: u64,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    closed_until: u64,
}

impl Breaker {
    pub(crate) fn new(limit: u32, pause: Duration, clock: Clock) -> Self {
        Self {
            limit,
            pause: saturating_millis(pause),
            clock,
            state: Mutex::new(State::default()),
        }
    }

    pub(crate) fn admits(&self) -> bool {
        let mut state = self.state.lock();
        if state.failures < self.limit {
            return true;
        }
        let now = self.clock.millis();
        let admitted = now >= state.closed_until;
        if admitted {
            // The others wait for what this one finds, or for another pause.
            state.closed_until = now.saturating_add(self.pause);
        }
        admitted
    }

    pub(crate) fn record(&self, good: bool) {
        let mut state = self.state.lock();
        if good {
            state.failures = 0;
            return;
        }
        state.failures = state.failures.saturating_add(1);
        if state.failures >= self.limit {
            state.closed_until = self.clock.millis().saturating_add(self.pause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn opens_after_failures_in_a_row_and_lets_one_try_after_the_pause() {
        let millis = Arc::new(AtomicU64::new(1_000));
        let source = Arc::clone(&millis);
        let clock = Clock::new(move || Duration::from_millis(source.load(Ordering::Relaxed)));
        let breaker = Breaker::new(2, Duration::from_millis(10), clock);
        breaker.record(false);
        breaker.record(true);
        breaker.record(false);
        assert!(breaker.admits());
        breaker.record(false);
        assert!(!breaker.admits());
        millis.fetch_add(10, Ordering::Relaxed);
        assert!(breaker.admits());
        assert!(!breaker.admits(), "one at a time");
        breaker.record(true);
        assert!(breaker.admits());
    }
}
