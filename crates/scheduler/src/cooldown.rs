//! One gate per endpoint: what one caller is told by a server, all callers know.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Endpoints remembered; beyond them, the one that opens first is forgotten.
const MAX_ENDPOINTS: usize = 1_024;
/// First pause for an endpoint that gives no time itself; doubles with every further refusal in a row.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, Default)]
struct Gate {
    opens: Duration,
    refusals: u32,
}

/// The cooldowns of all endpoints; times are on the owner's clock.
#[derive(Debug, Default)]
pub struct Cooldowns {
    gates: Mutex<HashMap<String, Gate>>,
}

impl Cooldowns {
    /// All endpoints open.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The endpoint refused: nobody goes there for `after`, or, where it did not say, for 1 s doubling with every
    /// refusal in a row up to 60 s. Requests that were under way when the gate closed are refused together with the
    /// first one and count once. Never shortens a pause. Returns when the gate opens.
    pub fn refused(&self, endpoint: &str, now: Duration, after: Option<Duration>) -> Duration {
        let mut gates = self.lock();
        if gates.len() >= MAX_ENDPOINTS && !gates.contains_key(endpoint) {
            forget_one(&mut gates);
        }
        let gate = gates.entry(endpoint.to_owned()).or_default();
        let closed = gate.opens > now;
        if closed && after.is_none() {
            return gate.opens;
        }
        let pause = after.unwrap_or_else(|| {
            FIRST_PAUSE
                .saturating_mul(1 << gate.refusals.min(6))
                .min(LONGEST_PAUSE)
        });
        gate.refusals = gate.refusals.saturating_add(u32::from(!closed));
        gate.opens = gate.opens.max(now.saturating_add(pause));
        gate.opens
    }

    /// The endpoint answered.
    pub fn answered(&self, endpoint: &str, now: Duration) {
        let mut gates = self.lock();
        if gates.get(endpoint).is_some_and(|gate| gate.opens <= now) {
            gates.remove(endpoint);
        }
    }

    /// When the endpoint may be called again, if that is not now.
    #[must_use]
    pub fn closed_until(&self, endpoint: &str, now: Duration) -> Option<Duration> {
        self.lock()
            .get(endpoint)
            .map(|gate| gate.opens)
            .filter(|&opens| opens > now)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Gate>> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget_one(gates: &mut HashMap<String, Gate>) {
    let first = gates
        .iter()
        .min_by_key(|(_, gate)| gate.opens)
        .map(|(name, _)| name.clone());
    if let Some(name) = first {
        gates.remove(&name);
    }
}
