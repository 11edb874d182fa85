//! One part of the cache behind one lock.

use crate::clock::Clock;
use crate::epochs::Epochs;
use crate::explain::{Explain, MissReason};
use crate::label::Label;
use crate::policy::Policy;
use crate::slab::{Node, Place, Slab};
use crate::stats::EvictionCause;
use crate::sync::{AtomicU64, Ordering};
use crate::turns::Turns;
use hashbrown::{Equivalent, HashTable};
use std::cell::Cell;
use std::time::Duration;

/// What a labelled entry carries beside its node.
#[derive(Debug)]
pub(crate) struct Tagged {
    /// The logical time at which the value's load began.
    pub(crate) birth: u64,
    /// The version of the epoch table at which the entry was last found valid.
    checked: AtomicU64,
    pub(crate) labels: Box<[Label]>,
}

impl Tagged {
    pub(crate) fn new(birth: u64, labels: &[Label]) -> Option<Box<Self>> {
        if labels.is_empty() {
            return None;
        }
        Some(Box::new(Self {
            birth,
            checked: AtomicU64::new(0),
            labels: labels.into(),
        }))
    }

    fn is_stale(&self, epochs: &Epochs) -> bool {
        let version = epochs.version();
        if self.checked.load(Ordering::Relaxed) == version {
            return false;
        }
        if epochs.is_stale(self.birth, &self.labels) {
            return true;
        }
        self.checked.store(version, Ordering::Relaxed);
        false
    }
}

/// An entry on its way in.
#[derive(Debug)]
pub(crate) struct Arrival<K, V> {
    pub(crate) key: K,
    pub(crate) value: V,
    pub(crate) weight: u32,
    /// Milliseconds; zero for never.
    pub(crate) deadline: u64,
    pub(crate) tagged: Option<Box<Tagged>>,
}

/// Entries that left under the lock and are dropped, and told to the listener, after it.
#[derive(Debug)]
pub(crate) struct Leavers<K, V> {
    first: Option<(K, V, EvictionCause)>,
    more: Vec<(K, V, EvictionCause)>,
}

impl<K, V> Leavers<K, V> {
    pub(crate) fn new() -> Self {
        Self {
            first: None,
            more: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, key: K, value: V, cause: EvictionCause) {
        if self.first.is_none() {
            self.first = Some((key, value, cause));
        } else {
            self.more.push((key, value, cause));
        }
    }

    pub(crate) fn drain(self) -> impl Iterator<Item = (K, V, EvictionCause)> {
        self.first.into_iter().chain(self.more)
    }
}

/// What all shards of a cache are told alike.
#[derive(Debug)]
pub(crate) struct Rules<'a> {
    pub(crate) epochs: &'a Epochs,
    /// Milliseconds; zero when entries do not idle out.
    pub(crate) idle: u64,
    clock: &'a Clock,
    /// The time, once it was read; zero before.
    now: Cell<u64>,
}

impl<'a> Rules<'a> {
    pub(crate) fn new(epochs: &'a Epochs, idle: u64, clock: &'a Clock) -> Self {
        Self {
            epochs,
            idle,
            clock,
            now: Cell::new(0),
        }
    }

    /// The time: read where an entry depends on it, and once for all that one operation decides, for it is
    /// what costs most in a hit.
    #[inline]
    fn millis(&self) -> u64 {
        if self.now.get() == 0 {
            self.now.set(self.clock.millis());
        }
        self.now.get()
    }
}

#[derive(Debug)]
pub(crate) struct Shard<K, V> {
    table: HashTable<u32>,
    slab: Slab<K, V>,
    policy: Policy,
    capacity: u64,
    peak: u64,
    /// Time of the last access per slot; empty unless entries idle out.
    accessed: Vec<AtomicU64>,
    /// Labels per slot; as long as the highest labelled slot.
    tagged: Vec<Option<Box<Tagged>>>,
    pub(crate) turns: Turns,
    pub(crate) left: [u64; EvictionCause::COUNT],
    pub(crate) inserts: u64,
    /// The slot that the sweep for expired entries looks at next.
    hand: u32,
    /// True once an entry came that can die before it is evicted.
    mortal: bool,
}

/// Spreads the stored half of a hash over the 64 bits that the table wants.
#[inline]
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl<K, V> Shard<K, V> {
    pub(crate) fn new(capacity: u64) -> Self {
        Self {
            table: HashTable::new(),
            slab: Slab::new(),
            policy: Policy::new(capacity),
            capacity,
            peak: 0,
            accessed: Vec::new(),
            tagged: Vec::new(),
            turns: Turns::default(),
            left: [0; EvictionCause::COUNT],
            inserts: 0,
            hand: 0,
            mortal: false,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(crate) fn weight(&self) -> u64 {
        self.policy.weight()
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(crate) fn peak(&self) -> u64 {
        self.peak
    }

    #[inline]
    pub(crate) fn find<Q>(&self, hash: u32, key: &Q) -> Option<(u32, &Node<K, V>)>
    where
        Q: Equivalent<K> + ?Sized,
    {
        let same = |index: &u32| {
            self.slab
                .get(*index)
                .is_some_and(|node| node.hash == hash && key.equivalent(&node.key))
        };
        let index = *self.table.find(spread(hash), same)?;
        self.slab.get(index).map(|node| (index, node))
    }

    /// Why the entry may not be served, if it may not.
    #[inline]
    pub(crate) fn death(
        &self,
        index: u32,
        node: &Node<K, V>,
        rules: &Rules<'_>,
    ) -> Option<EvictionCause> {
        let deadline = node.deadline();
        if deadline != 0 || rules.idle != 0 {
            let now = rules.millis();
            if deadline != 0 && now >= deadline {
                return Some(EvictionCause::Expired);
            }
            if rules.idle != 0 && now >= self.accessed_at(index).saturating_add(rules.idle) {
                return Some(EvictionCause::Idle);
            }
        }
        let tagged = self.tagged.get(index as usize)?.as_deref()?;
        tagged
            .is_stale(rules.epochs)
            .then_some(EvictionCause::Invalidated)
    }

    fn accessed_at(&self, index: u32) -> u64 {
        self.accessed
            .get(index as usize)
            .map_or(0, |at| at.load(Ordering::Relaxed))
    }

    /// Counts a hit for the policy and, where entries idle out, notes the time.
    #[inline]
    pub(crate) fn touch(&self, index: u32, node: &Node<K, V>, rules: &Rules<'_>) {
        node.touch();
        if rules.idle != 0
            && let Some(at) = self.accessed.get(index as usize)
        {
            at.store(rules.millis(), Ordering::Relaxed);
        }
    }

    /// Puts an entry in, making room first, and gives back the value it replaced, with the key that came.
    pub(crate) fn insert(
        &mut self,
        hash: u32,
        arrival: Arrival<K, V>,
        rules: &Rules<'_>,
        leavers: &mut Leavers<K, V>,
    ) -> Option<(K, V)>
    where
        K: Equivalent<K>,
    {
        self.inserts += 1;
        self.mortal |= arrival.deadline != 0 || arrival.tagged.is_some() || rules.idle != 0;
        if self.mortal {
            self.sweep(rules, leavers);
        }
        self.reclaim(hash, &arrival.key, rules, leavers);
        let resident = self.find(hash, &arrival.key).map(|(index, _)| index);
        if u64::from(arrival.weight) > self.capacity {
            if let Some(index) = resident {
                self.take_out(index, EvictionCause::Replaced, leavers);
            }
            self.left[EvictionCause::TooLarge.index()] += 1;
            leavers.push(arrival.key, arrival.value, EvictionCause::TooLarge);
            return None;
        }
        match resident {
            Some(index) => self.replace(index, arrival, rules, leavers),
            None => {
                self.add(hash, arrival, rules, leavers);
                None
            }
        }
    }

    fn add(
        &mut self,
        hash: u32,
        arrival: Arrival<K, V>,
        rules: &Rules<'_>,
        leavers: &mut Leavers<K, V>,
    ) {
        let place = self.policy.admit(hash);
        self.make_room(arrival.weight, rules, leavers);
        let Arrival {
            key,
            value,
            weight,
            deadline,
            tagged,
        } = arrival;
        let index = self
            .slab
            .insert(Node::new(key, value, hash, weight, deadline));
        let slab = &self.slab;
        self.table.insert_unique(spread(hash), index, |other| {
            slab.get(*other).map_or(0, |node| spread(node.hash))
        });
        self.policy.link(&mut self.slab, index, place);
        self.settle(index, tagged, rules);
    }

    fn replace(
        &mut self,
        index: u32,
        arrival: Arrival<K, V>,
        rules: &Rules<'_>,
        leavers: &mut Leavers<K, V>,
    ) -> Option<(K, V)> {
        // Out of its queue the old entry is neither counted nor chosen while room is made.
        self.policy.unlink(&mut self.slab, index);
        self.make_room(arrival.weight, rules, leavers);
        let node = self.slab.get_mut(index)?;
        let old = std::mem::replace(&mut node.value, arrival.value);
        node.weight = arrival.weight;
        node.set_deadline(arrival.deadline);
        node.touch();
        let place = node.place;
        self.policy.link(&mut self.slab, index, place);
        self.settle(index, arrival.tagged, rules);
        self.left[EvictionCause::Replaced.index()] += 1;
        Some((arrival.key, old))
    }

    /// The bookkeeping beside the slab, once the entry is in.
    fn settle(&mut self, index: u32, tagged: Option<Box<Tagged>>, rules: &Rules<'_>) {
        self.peak = self.peak.max(self.policy.weight());
        let at = index as usize;
        if tagged.is_some() && self.tagged.len() <= at {
            self.tagged.resize_with(at + 1, || None);
        }
        if let Some(slot) = self.tagged.get_mut(at) {
            *slot = tagged;
        }
        if rules.idle != 0 {
            if self.accessed.len() <= at {
                self.accessed.resize_with(at + 1, || AtomicU64::new(0));
            }
            self.accessed[at].store(rules.millis(), Ordering::Relaxed);
        }
    }

    fn make_room(&mut self, weight: u32, rules: &Rules<'_>, leavers: &mut Leavers<K, V>) {
        while self.policy.weight() + u64::from(weight) > self.capacity || self.slab.is_full() {
            let Some(index) = self.policy.victim(&mut self.slab) else {
                return;
            };
            self.evict(index, rules, leavers);
        }
    }

    fn evict(&mut self, index: u32, rules: &Rules<'_>, leavers: &mut Leavers<K, V>) {
        let Some(node) = self.slab.get(index) else {
            return;
        };
        let cause = self
            .death(index, node, rules)
            .unwrap_or(EvictionCause::Capacity);
        if cause == EvictionCause::Capacity {
            let (hash, place, resident) = (node.hash, node.place, self.slab.len());
            self.policy.evicted(hash, place, resident);
        }
        self.take_out(index, cause, leavers);
    }

    /// Looks at two slots and drops those that are dead, so that what nobody asks for goes too.
    fn sweep(&mut self, rules: &Rules<'_>, leavers: &mut Leavers<K, V>) {
        for _ in 0..2 {
            if self.hand as usize >= self.slab.slots() {
                self.hand = 0;
            }
            let index = self.hand;
            self.hand += 1;
            let node = self.slab.get(index);
            let dead = node.and_then(|node| self.death(index, node, rules));
            if let Some(cause) = dead {
                self.take_out(index, cause, leavers);
            }
        }
    }

    /// Drops every dead entry.
    pub(crate) fn sweep_all(&mut self, rules: &Rules<'_>, leavers: &mut Leavers<K, V>) {
        let dead: Vec<_> = self
            .slab
            .iter()
            .filter_map(|(index, node)| Some((index, self.death(index, node, rules)?)))
            .collect();
        for (index, cause) in dead {
            self.take_out(index, cause, leavers);
        }
    }

    fn take_out(&mut self, index: u32, cause: EvictionCause, leavers: &mut Leavers<K, V>) {
        if let Some(node) = self.detach(index, cause) {
            leavers.push(node.key, node.value, cause);
        }
    }

    pub(crate) fn detach(&mut self, index: u32, cause: EvictionCause) -> Option<Node<K, V>> {
        let hash = self.slab.get(index)?.hash;
        if let Ok(found) = self.table.find_entry(spread(hash), |other| *other == index) {
            found.remove();
        }
        self.policy.unlink(&mut self.slab, index);
        if let Some(slot) = self.tagged.get_mut(index as usize) {
            *slot = None;
        }
        self.left[cause.index()] += 1;
        self.slab.remove(index)
    }

    /// Removes the entry when it is dead; tells whether it is alive.
    pub(crate) fn reclaim<Q>(
        &mut self,
        hash: u32,
        key: &Q,
        rules: &Rules<'_>,
        leavers: &mut Leavers<K, V>,
    ) -> bool
    where
        Q: Equivalent<K> + ?Sized,
    {
        let Some((index, node)) = self.find(hash, key) else {
            return false;
        };
        match self.death(index, node, rules) {
            None => true,
            Some(cause) => {
                self.take_out(index, cause, leavers);
                false
            }
        }
    }

    pub(crate) fn set_capacity(
        &mut self,
        capacity: u64,
        rules: &Rules<'_>,
        leavers: &mut Leavers<K, V>,
    ) {
        self.capacity = capacity;
        self.policy.set_capacity(capacity);
        self.make_room(0, rules, leavers);
    }

    pub(crate) fn clear(&mut self, leavers: &mut Leavers<K, V>) {
        let indices: Vec<u32> = self.slab.iter().map(|(index, _)| index).collect();
        for index in indices {
            self.take_out(index, EvictionCause::Removed, leavers);
        }
        self.policy.clear();
        self.turns.supersede_all();
    }

    pub(crate) fn live<'a>(&'a self, rules: &'a Rules<'a>) -> impl Iterator<Item = &'a Node<K, V>> {
        let alive =
            move |(index, node): &(u32, &Node<K, V>)| self.death(*index, node, rules).is_none();
        self.slab.iter().filter(alive).map(|(_, node)| node)
    }

    pub(crate) fn explain<Q>(&self, hash: u32, key: &Q, rules: &Rules<'_>) -> Explain
    where
        Q: Equivalent<K> + ?Sized,
    {
        let Some((index, node)) = self.find(hash, key) else {
            let lately = self.policy.remembers(hash);
            return Explain::absent(if lately {
                MissReason::EvictedLately
            } else {
                MissReason::Absent
            });
        };
        let miss = self.death(index, node, rules).map(|cause| match cause {
            EvictionCause::Expired => MissReason::Expired,
            EvictionCause::Idle => MissReason::Idle,
            _ => MissReason::Invalidated,
        });
        let tagged = self.tagged.get(index as usize).and_then(Option::as_deref);
        Explain {
            miss,
            weight: Some(node.weight),
            recent_hits: Some(node.hits()),
            proven: Some(node.place != Place::Recent),
            expires_in: self.expires_in(index, node, rules),
            birth: tagged.map(|tagged| tagged.birth),
            invalidated_at: tagged.map(|tagged| rules.epochs.newest(&tagged.labels)),
        }
    }

    fn expires_in(&self, index: u32, node: &Node<K, V>, rules: &Rules<'_>) -> Option<Duration> {
        let idle = (rules.idle != 0).then(|| self.accessed_at(index).saturating_add(rules.idle));
        let deadline = (node.deadline() != 0).then(|| node.deadline());
        let end = deadline.into_iter().chain(idle).min()?;
        Some(Duration::from_millis(end.saturating_sub(rules.millis())))
    }
}
