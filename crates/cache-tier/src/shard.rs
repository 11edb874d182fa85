//! One part of the cache behind one lock.

use crate::arrival::{Leavers, Rules, Terms};
use crate::epochs::Epochs;
use crate::explain::Departed;
use crate::label::{Label, Labels};
use crate::ledger::{Counted, Ledger, Mask};
use crate::policy::Policy;
use crate::slab::{HOTTEST, LABELLED, Node, OWN_TIME, Place, Slab, TIMED};
use crate::stats::EvictionCause;
use crate::sync::{Arc, AtomicU64, Ordering};
use crate::turns::Turns;
use hashbrown::{Equivalent, HashTable};

/// What a labelled entry carries beside its node and the version at which it was checked.
#[derive(Debug)]
struct Tag {
    /// The logical time at which the value's load began.
    birth: u64,
    labels: Option<Labels>,
}

impl Tag {
    fn empty() -> Self {
        Self {
            birth: 0,
            labels: None,
        }
    }

    fn labels(&self) -> &[Label] {
        self.labels.as_ref().map_or(&[], Labels::as_slice)
    }
}

/// What a hit reads comes first.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Shard<K, V> {
    table: HashTable<u32>,
    slab: Slab<K, V>,
    policy: Policy,
    capacity: u64,
    peak: u64,
    /// Time of the last access per slot; empty unless entries idle out.
    accessed: Vec<AtomicU64>,
    /// Per slot, the version of the epoch table at which the entry was last found valid: all that the hit of a
    /// labelled entry reads beside its node. As long as `tags`.
    checked: Vec<AtomicU64>,
    /// Labels per slot; as long as the highest labelled slot.
    tags: Vec<Tag>,
    pub(crate) turns: Turns,
    pub(crate) left: [u64; EvictionCause::COUNT],
    pub(crate) inserts: u64,
    departed: Departed,
    /// Where tags are counted.
    ledger: Option<Box<Ledger>>,
    /// The slot that the sweep for expired entries looks at next.
    hand: u32,
    /// True once an entry came that can die before it is evicted.
    mortal: bool,
    /// Nothing comes in.
    pub(crate) closed: bool,
}

/// Every so many inserts (a power of two) the sweep looks at so many slots.
const SWEEP_EVERY: u64 = 16;
const SWEPT: u32 = 16;

/// Spreads the stored half of a hash over the 64 bits that the table wants.
#[inline]
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl<K, V> Shard<K, V> {
    pub(crate) fn new(capacity: u64, by_cost: bool) -> Self {
        Self {
            table: HashTable::new(),
            slab: Slab::new(capacity),
            policy: Policy::new(capacity, by_cost),
            capacity,
            peak: 0,
            accessed: Vec::new(),
            checked: Vec::new(),
            tags: Vec::new(),
            turns: Turns::default(),
            left: [0; EvictionCause::COUNT],
            inserts: 0,
            departed: Departed::default(),
            ledger: None,
            hand: 0,
            mortal: false,
            closed: false,
        }
    }

    /// Counts for these tags from now on.
    pub(crate) fn count(&mut self, tags: Arc<Counted>, timed: bool) {
        self.ledger = Some(Box::new(Ledger::new(tags, timed)));
    }

    pub(crate) fn ledger(&self) -> Option<&Ledger> {
        self.ledger.as_deref()
    }

    /// The counted tags of an entry, and the microseconds that it took to make.
    pub(crate) fn counted(&self, index: u32) -> (Mask, u64) {
        self.ledger().map_or((0, 0), |ledger| ledger.at(index))
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
        let mut found = None;
        let same = |index: &u32| match self.slab.get(*index) {
            Some(node) if key.equivalent(&node.key) => {
                found = Some(node);
                true
            }
            _ => false,
        };
        let index = *self.table.find(spread(hash), same)?;
        found.map(|node| (index, node))
    }

    /// Why the entry may not be served, if it may not.
    #[inline]
    pub(crate) fn death(
        &self,
        index: u32,
        node: &Node<K, V>,
        rules: &Rules<'_>,
    ) -> Option<EvictionCause> {
        match node.ends() {
            0 => None,
            ends => self.end(index, node, ends, rules),
        }
    }

    #[inline(never)]
    fn end(
        &self,
        index: u32,
        node: &Node<K, V>,
        ends: u8,
        rules: &Rules<'_>,
    ) -> Option<EvictionCause> {
        if ends & TIMED != 0 {
            let now = rules.millis();
            if now >= node.end() {
                return Some(EvictionCause::Expired);
            }
            if rules.idle != 0 && now >= self.accessed_at(index).saturating_add(rules.idle) {
                return Some(EvictionCause::Idle);
            }
        }
        if ends & LABELLED == 0 {
            return None;
        }
        self.is_invalidated(index, rules.epochs)
            .then_some(EvictionCause::Invalidated)
    }

    /// True when a label of a labelled entry was invalidated after its load began.
    #[inline]
    pub(crate) fn is_invalidated(&self, index: u32, epochs: &Epochs) -> bool {
        let version = epochs.version();
        let Some(checked) = self.checked.get(index as usize) else {
            return false;
        };
        checked.load(Ordering::Relaxed) != version
            && self.is_invalidated_at(version, index, checked, epochs)
    }

    #[cold]
    fn is_invalidated_at(
        &self,
        version: u64,
        index: u32,
        checked: &AtomicU64,
        epochs: &Epochs,
    ) -> bool {
        let tag = self.tags.get(index as usize);
        if tag.is_some_and(|tag| epochs.is_stale(tag.birth, tag.labels())) {
            return true;
        }
        checked.store(version, Ordering::Relaxed);
        false
    }

    fn accessed_at(&self, index: u32) -> u64 {
        self.accessed
            .get(index as usize)
            .map_or(0, |at| at.load(Ordering::Relaxed))
    }

    /// Where entries idle out, notes the time of a use; false when it comes too late.
    pub(crate) fn wakes(&self, index: u32, now: u64, idle: u64) -> bool {
        let awake = now < self.accessed_at(index).saturating_add(idle);
        if awake && let Some(at) = self.accessed.get(index as usize) {
            at.store(now, Ordering::Relaxed);
        }
        awake
    }

    /// Puts an entry in, making room first, and gives back the value it replaced, with the key that came.
    #[inline]
    pub(crate) fn insert(
        &mut self,
        hash: u32,
        key: K,
        value: V,
        terms: &mut Terms,
        rules: &Rules<'_>,
        leavers: &mut Leavers<K, V>,
    ) -> Option<(K, V)>
    where
        K: Equivalent<K>,
    {
        if self.closed {
            leavers.push(key, value, EvictionCause::Removed);
            return None;
        }
        self.inserts += 1;
        self.mortal |= terms.deadline != 0 || terms.labels.is_some() || rules.idle != 0;
        if self.mortal && self.inserts.is_multiple_of(SWEEP_EVERY) {
            self.sweep(rules, leavers);
        }
        let mut resident = None;
        if let Some((index, node)) = self.find(hash, &key) {
            match self.death(index, node, rules) {
                None => resident = Some(index),
                Some(cause) => self.take_out(index, cause, leavers),
            }
        }
        if u64::from(terms.weight) > self.capacity {
            if let Some(index) = resident {
                self.take_out(index, EvictionCause::Replaced, leavers);
            }
            self.refuse(key, value, terms, leavers);
            return None;
        }
        match resident {
            Some(index) => self.replace(index, (key, value), terms, rules, leavers),
            None => {
                let place = match terms.early {
                    true => Place::Recent,
                    false => self.policy.admit(hash),
                };
                self.make_room(terms.weight, rules, leavers);
                self.add(hash, place, (key, value), terms, rules);
                None
            }
        }
    }

    /// Apart, so that what comes need not be in memory for it.
    #[cold]
    #[inline(never)]
    fn refuse(&mut self, key: K, value: V, terms: &Terms, leavers: &mut Leavers<K, V>) {
        self.left[EvictionCause::TooLarge.index()] += 1;
        if let (Some(ledger), Some(labels)) = (&mut self.ledger, &terms.labels) {
            ledger.refused(labels.as_slice());
        }
        leavers.push(key, value, EvictionCause::TooLarge);
    }

    /// Puts in an entry for which there is room.
    #[inline(always)]
    fn add(
        &mut self,
        hash: u32,
        place: Place,
        (key, value): (K, V),
        terms: &mut Terms,
        rules: &Rules<'_>,
    ) -> u32 {
        let weight = terms.weight;
        let node = Node::new(key, value, hash, place);
        let index = self.slab.insert(node, weight);
        let slab = &self.slab;
        self.table.insert_unique(spread(hash), index, |other| {
            slab.get(*other).map_or(0, |node| spread(node.hash))
        });
        self.policy.link(&mut self.slab, index, place, weight);
        self.policy.appraise(index, terms.cost, weight);
        self.peak = self.peak.max(self.policy.weight());
        if terms.deadline != 0 || terms.labels.is_some() || rules.idle != 0 {
            self.settle(index, terms, rules);
        }
        index
    }

    #[inline(never)]
    fn replace(
        &mut self,
        index: u32,
        (key, value): (K, V),
        terms: &mut Terms,
        rules: &Rules<'_>,
        leavers: &mut Leavers<K, V>,
    ) -> Option<(K, V)> {
        let before = self.slab.weight(index);
        self.left[EvictionCause::Replaced.index()] += 1;
        if self.policy.weight() - u64::from(before) + u64::from(terms.weight) > self.capacity {
            return self.put_back(index, (key, value), terms, rules, leavers);
        }
        if let Some(ledger) = &mut self.ledger {
            ledger.left(index, before, EvictionCause::Replaced);
        }
        self.policy.reweigh(&mut self.slab, index, terms.weight);
        self.policy.appraise(index, terms.cost, terms.weight);
        self.peak = self.peak.max(self.policy.weight());
        let node = self.slab.get_mut(index)?;
        node.touch();
        let old = std::mem::replace(&mut node.value, value);
        self.settle(index, terms, rules);
        Some((key, old))
    }

    /// Replaces an entry for whose new value room must be made, which it must not itself be chosen for.
    fn put_back(
        &mut self,
        index: u32,
        (key, value): (K, V),
        terms: &mut Terms,
        rules: &Rules<'_>,
        leavers: &mut Leavers<K, V>,
    ) -> Option<(K, V)> {
        let node = self.unlink(index, EvictionCause::Replaced)?;
        self.make_room(terms.weight, rules, leavers);
        let hits = (node.hits() + 1).min(HOTTEST);
        let (hash, place) = (node.hash, node.place);
        let index = self.add(hash, place, (node.key, value), terms, rules);
        if let Some(node) = self.slab.get_mut(index) {
            node.set_hits(hits);
        }
        Some((key, node.value))
    }

    /// What can end the entry, beside the slab.
    #[inline(never)]
    fn settle(&mut self, index: u32, terms: &mut Terms, rules: &Rules<'_>) {
        let (deadline, own_time, birth) = (terms.deadline, terms.own_time, terms.birth);
        let labels = terms.labels.take();
        let at = index as usize;
        let mark = |when: bool, mark: u8| if when { mark } else { 0 };
        let marks = mark(deadline != 0 || rules.idle != 0, TIMED)
            | mark(deadline != 0 && own_time, OWN_TIME)
            | mark(labels.is_some(), LABELLED);
        if let Some(node) = self.slab.get_mut(index) {
            node.set_end(deadline, marks);
        }
        if labels.is_some() && self.tags.len() <= at {
            self.tags.resize_with(at + 1, Tag::empty);
            self.checked.resize_with(at + 1, || AtomicU64::new(0));
        }
        if let (Some(ledger), Some(labels)) = (&mut self.ledger, &labels) {
            ledger.came(
                index,
                labels.as_slice(),
                self.slab.weight(index),
                terms.cost,
            );
        }
        if let (Some(tag), Some(checked)) = (self.tags.get_mut(at), self.checked.get_mut(at)) {
            *checked.get_mut() = rules.epochs.version_of_birth(birth);
            *tag = Tag { birth, labels };
        }
        if rules.idle != 0 {
            if self.accessed.len() <= at {
                self.accessed.resize_with(at + 1, || AtomicU64::new(0));
            }
            self.accessed[at].store(rules.millis(), Ordering::Relaxed);
        }
    }

    #[inline(always)]
    fn make_room(&mut self, weight: u32, rules: &Rules<'_>, leavers: &mut Leavers<K, V>) {
        while self.policy.weight() + u64::from(weight) > self.capacity || self.slab.is_full() {
            let Some((index, hash, ends)) = self.policy.victim(&mut self.slab) else {
                return;
            };
            self.evict(index, hash, ends, rules, leavers);
        }
    }

    /// Evicts the oldest entry of its queue.
    #[inline(always)]
    fn evict(
        &mut self,
        index: u32,
        hash: u32,
        ends: u8,
        rules: &Rules<'_>,
        leavers: &mut Leavers<K, V>,
    ) {
        let mut cause = EvictionCause::Capacity;
        if ends != 0
            && let Some(node) = self.slab.get(index)
        {
            cause = self.end(index, node, ends, rules).unwrap_or(cause);
        }
        if let Ok(found) = self.table.find_entry(spread(hash), |other| *other == index) {
            found.remove();
        }
        let resident = self.slab.len();
        let Some(node) = self.policy.pop(&mut self.slab, index) else {
            return;
        };
        if cause == EvictionCause::Capacity {
            self.policy.evicted(hash, node.place, resident);
        }
        if ends & LABELLED != 0 {
            self.forget_labels(index, cause);
        }
        self.left[cause.index()] += 1;
        leavers.push(node.key, node.value, cause);
    }

    /// A labelled entry has left its slot, which still knows its weight.
    #[inline(never)]
    fn forget_labels(&mut self, index: u32, cause: EvictionCause) {
        if let Some(ledger) = &mut self.ledger {
            ledger.left(index, self.slab.weight(index), cause);
        }
        if let Some(tag) = self.tags.get_mut(index as usize) {
            tag.labels = None;
        }
    }

    /// Looks at some slots and drops those that are dead, so that what nobody asks for goes too.
    #[inline(never)]
    fn sweep(&mut self, rules: &Rules<'_>, leavers: &mut Leavers<K, V>) {
        for _ in 0..SWEPT {
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

    /// Drops the live entries that are not to be kept.
    pub(crate) fn retain(
        &mut self,
        keep: &mut impl FnMut(&K, &V) -> bool,
        rules: &Rules<'_>,
        leavers: &mut Leavers<K, V>,
    ) {
        let entries = self.slab.iter();
        let alive = entries.filter(|(index, node)| self.death(*index, node, rules).is_none());
        let gone: Vec<u32> = alive
            .filter(|(_, node)| !keep(&node.key, &node.value))
            .map(|(index, _)| index)
            .collect();
        for index in gone {
            self.take_out(index, EvictionCause::Removed, leavers);
        }
    }

    fn take_out(&mut self, index: u32, cause: EvictionCause, leavers: &mut Leavers<K, V>) {
        if let Some((key, value)) = self.detach(index, cause) {
            leavers.push(key, value, cause);
        }
    }

    pub(crate) fn detach(&mut self, index: u32, cause: EvictionCause) -> Option<(K, V)> {
        let out = self.unlink(index, cause)?;
        self.left[cause.index()] += 1;
        self.departed.note(out.hash, cause);
        Some((out.key, out.value))
    }

    fn unlink(&mut self, index: u32, cause: EvictionCause) -> Option<Node<K, V>> {
        let hash = self.slab.get(index)?.hash;
        if let Ok(found) = self.table.find_entry(spread(hash), |other| *other == index) {
            found.remove();
        }
        let node = self.policy.remove(&mut self.slab, index)?;
        if node.ends() & LABELLED != 0 {
            self.forget_labels(index, cause);
        }
        Some(node)
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
        self.slab.set_most(capacity);
        self.make_room(0, rules, leavers);
    }

    pub(crate) fn clear(&mut self, leavers: &mut Leavers<K, V>) {
        let indices: Vec<u32> = self.slab.iter().map(|(index, _)| index).collect();
        for index in indices {
            self.take_out(index, EvictionCause::Removed, leavers);
        }
        self.policy.clear(&mut self.slab);
        self.turns.supersede_all();
    }

    pub(crate) fn live<'a>(&'a self, rules: &'a Rules<'a>) -> impl Iterator<Item = &'a Node<K, V>> {
        let alive =
            move |(index, node): &(u32, &Node<K, V>)| self.death(*index, node, rules).is_none();
        self.slab.iter().filter(alive).map(|(_, node)| node)
    }
}

mod explain;
#[cfg(test)]
mod tests;
