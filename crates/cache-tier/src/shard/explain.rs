//! Why a shard has an entry, or has not.

use super::Shard;
use crate::arrival::Rules;
use crate::explain::{Explain, MissReason};
use crate::slab::{LABELLED, Node, OWN_TIME, Place};
use hashbrown::Equivalent;
use std::time::Duration;

impl<K, V> Shard<K, V> {
    pub(crate) fn explain<Q>(
        &self,
        hash: u32,
        key: &Q,
        rules: &Rules<'_>,
        usual_ttl: Option<u64>,
    ) -> Explain
    where
        Q: Equivalent<K> + ?Sized,
    {
        let Some((index, node)) = self.find(hash, key) else {
            // One that came back since is not remembered any more.
            return Explain::absent(match self.policy.remembers(hash) {
                true => MissReason::EvictedLately,
                false => self.departed.reason(hash).unwrap_or(MissReason::Absent),
            });
        };
        let miss = self.death(index, node, rules).and_then(MissReason::of);
        let usual = usual_ttl.filter(|_| node.deadline() != 0 && node.ends() & OWN_TIME == 0);
        let left = node.deadline().saturating_sub(rules.millis());
        let tag = self.tags.get(index as usize);
        let tag = tag.filter(|_| node.ends() & LABELLED != 0);
        Explain {
            miss,
            age: usual.map(|ttl| Duration::from_millis(ttl.saturating_sub(left))),
            prefetched: false,
            weight: Some(self.slab.weight(index)),
            recent_hits: Some(node.hits()),
            proven: Some(node.place != Place::Recent),
            expires_in: self.expires_in(index, node, rules),
            birth: tag.map(|tag| tag.birth),
            invalidated_at: tag.map(|tag| rules.epochs.newest(tag.labels())),
        }
    }

    fn expires_in(&self, index: u32, node: &Node<K, V>, rules: &Rules<'_>) -> Option<Duration> {
        let idle = (rules.idle != 0).then(|| self.accessed_at(index).saturating_add(rules.idle));
        let deadline = (node.deadline() != 0).then(|| node.deadline());
        let end = deadline.into_iter().chain(idle).min()?;
        Some(Duration::from_millis(end.saturating_sub(rules.millis())))
    }
}
