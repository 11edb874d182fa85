//! Which entries of private tiers another process may have overwritten.

use crate::sync::{AtomicU64, Mutex, Ordering};
use hashbrown::HashSet;

/// Keys remembered one by one; beyond, everything is in doubt.
const KEYS: usize = 4_096;

/// What a process was not told, or was told, of the writes of others to the tier that they share.
///
/// Private tiers hear nothing of those writes. What they have is beyond doubt when it was born since the process is being told
/// of every write and none was to its key; anything else is served only when the shared tier has no entry in its place.
#[derive(Debug)]
pub(crate) struct Doubt {
    /// The logical time since which every write is told.
    since: AtomicU64,
    /// Digests of keys that were overwritten since.
    keys: Mutex<HashSet<u128, foldhash::fast::RandomState>>,
}

impl Doubt {
    pub(crate) fn new() -> Self {
        Self {
            since: AtomicU64::new(u64::MAX),
            keys: Mutex::new(HashSet::default()),
        }
    }

    /// Every write is told from that time on.
    pub(crate) fn told_since(&self, now: u64) {
        let mut keys = self.keys.lock();
        // In this order: a key is forgotten when all that is older than now is in doubt.
        self.since.store(now, Ordering::Release);
        keys.clear();
    }

    /// Writes are not told any more.
    pub(crate) fn untold(&self) {
        self.told_since(u64::MAX);
    }

    /// Another process wrote the key. `now` begins a new time, should there be too many.
    pub(crate) fn wrote(&self, digest: u128, now: impl FnOnce() -> u64) {
        let mut keys = self.keys.lock();
        if keys.len() >= KEYS {
            self.since.fetch_max(now(), Ordering::AcqRel);
            keys.clear();
        }
        keys.insert(digest);
    }

    /// True when an entry under that key, born then, may have been overwritten.
    pub(crate) fn covers(&self, digest: u128, birth: u64) -> bool {
        // The keys first: what they were cleared of is older than what `since` says then.
        self.keys.lock().contains(&digest) || birth < self.since.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_being_told_or_was_overwritten_is_in_doubt() {
        let doubt = Doubt::new();
        assert!(doubt.covers(1, u64::MAX - 1), "nothing is told yet");
        doubt.told_since(10);
        assert!(doubt.covers(1, 9) && !doubt.covers(1, 10));
        doubt.wrote(1, || unreachable!());
        assert!(doubt.covers(1, 10) && !doubt.covers(2, 10));
        for digest in 2..=KEYS as u128 + 1 {
            doubt.wrote(digest, || 20);
        }
        assert!(doubt.covers(1, 19), "forgotten, and in doubt all the same");
        assert!(!doubt.covers(1, 20) && doubt.covers(KEYS as u128 + 1, 20));
        doubt.untold();
        assert!(doubt.covers(1, 1 << 60));
    }
}
