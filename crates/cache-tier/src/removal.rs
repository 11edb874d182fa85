//! Removing entries by what they hold.

use crate::arrival::Leavers;
use crate::cache::Cache;
use crate::stats::EvictionCause;
use hashbrown::Equivalent;
use std::hash::{BuildHasher, Hash};

impl<K: Hash + Eq, V: Clone, S: BuildHasher> Cache<K, V, S> {
    /// Removes the live entries of which `keep` says false: O(entries). It runs under a shard's lock: it must be short
    /// and must not use this cache. Loads under way may publish what it was not shown.
    pub fn retain(&self, mut keep: impl FnMut(&K, &V) -> bool) {
        for part in self.parts() {
            let mut leavers = Leavers::new();
            let rules = self.rules();
            part.shard.write().retain(&mut keep, &rules, &mut leavers);
            self.see_off(leavers);
        }
    }

    /// True unless the builder declared that the process can do without the cache.
    #[must_use]
    pub fn is_essential(&self) -> bool {
        self.essential()
    }

    /// Removes the entry when it holds such a value.
    pub(crate) fn remove_if<Q>(&self, key: &Q, is_such: impl FnOnce(&V) -> bool)
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let mut leavers = Leavers::new();
        let mut shard = self.part(hash).shard.write();
        let found = shard.find(hash as u32, key);
        let such = found.filter(|(_, node)| is_such(&node.value));
        if let Some(index) = such.map(|(index, _)| index)
            && let Some((key, value)) = shard.detach(index, EvictionCause::Removed)
        {
            leavers.push(key, value, EvictionCause::Removed);
        }
        drop(shard);
        self.see_off(leavers);
    }
}
