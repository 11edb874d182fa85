//! Which hash of epochs a shared store goes by, and since when.

use crate::sync::{AtomicU64, Mutex, Ordering};
use crate::tracking::LATEST;

/// How far above the latest time heard of a new hash's first is put, for what is being born meanwhile.
const AHEAD: u64 = 1_024;
/// A mark that is so far above the latest time heard of covers all that was born here before.
const COVERS: u64 = 16;

/// What this process knows of the hash of epochs.
///
/// The hash has an **origin**, which it keeps while it lives, and an **identity**, which changes whenever the store is
/// emptied and which every entry carries. A new origin means that the hash was lost: whoever made it anew may
/// know less of the time than this process does, so no mark in it can be compared to what was born here before. All of
/// that is stale then, and none of it is written any more.
#[derive(Debug, Default)]
pub(crate) struct Reign {
    state: Mutex<State>,
    /// The latest logical time heard of, here or from the store.
    latest: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    identity: u64,
    origin: Option<u64>,
    /// What was born before is older than the hash.
    since: u64,
    /// The store has not been told of `since` yet.
    due: bool,
}

/// What the store says of its hash.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) identity: u64,
    pub(crate) origin: u64,
    pub(crate) clock: u64,
    /// When everything was last invalidated.
    pub(crate) root: u64,
}

impl Reign {
    pub(crate) fn heard_of(&self, time: u64) {
        self.latest.fetch_max(time, Ordering::AcqRel);
    }

    pub(crate) fn latest(&self) -> u64 {
        self.latest.load(Ordering::Acquire)
    }

    /// Takes note of the hash that answered.
    pub(crate) fn saw(&self, seen: Seen) {
        let mut state = self.state.lock();
        let latest = self.latest();
        if state.origin.is_some_and(|origin| origin != seen.origin) {
            state.due = seen.root < latest.saturating_add(COVERS);
            state.since = match state.due {
                true => latest.max(seen.clock).saturating_add(AHEAD).min(LATEST),
                false => seen.root,
            };
        }
        state.origin = Some(seen.origin);
        state.identity = seen.identity;
        self.heard_of(seen.clock.max(state.since));
    }

    /// True for the origin of the hash that was seen last, and before any was.
    pub(crate) fn is_of(&self, origin: u64) -> bool {
        self.state.lock().origin.is_none_or(|known| known == origin)
    }

    pub(crate) fn since(&self) -> u64 {
        self.state.lock().since
    }

    /// The time at which the store is yet to be told that everything is stale.
    pub(crate) fn due(&self) -> Option<u64> {
        let state = self.state.lock();
        state.due.then_some(state.since)
    }

    /// The store was told of that time.
    pub(crate) fn told(&self, since: u64) {
        let mut state = self.state.lock();
        state.due &= state.since != since;
    }

    pub(crate) fn identity(&self) -> u64 {
        self.state.lock().identity
    }

    /// The identity to write an entry under that was born then; `None` when it is older than the hash.
    pub(crate) fn stamp(&self, birth: u64) -> Option<u64> {
        let state = self.state.lock();
        (birth >= state.since).then_some(state.identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(origin: u64, clock: u64, root: u64) -> Seen {
        Seen {
            identity: origin + 1,
            origin,
            clock,
            root,
        }
    }

    #[test]
    fn what_is_older_than_the_hash_is_not_written_and_the_store_is_told_once() {
        let reign = Reign::default();
        reign.saw(seen(10, 1_000, 0));
        assert_eq!((reign.stamp(3), reign.due()), (Some(11), None));
        // Made anew by somebody who lags behind.
        reign.saw(seen(20, 501, 0));
        let since = reign.due().unwrap();
        assert!(since > 1_000 && reign.is_of(20) && !reign.is_of(10));
        assert_eq!((reign.stamp(1_000), reign.stamp(since)), (None, Some(21)));
        reign.told(since);
        reign.saw(seen(20, since, since));
        assert_eq!((reign.due(), reign.since()), (None, since));
        // Somebody else has seen to it already.
        reign.saw(seen(30, since + 5_000, since + 4_000));
        assert_eq!((reign.due(), reign.since()), (None, since + 4_000));
        assert_eq!(reign.latest(), since + 5_000);
    }
}
