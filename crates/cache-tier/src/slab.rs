//! Where a shard keeps its entries: slots that queues are threaded through.

use crate::sync::{AtomicU8, Ordering};

/// The end of a chain of slots.
pub(crate) const NONE: u32 = u32::MAX;

/// The most a slot's counter of hits counts to.
pub(crate) const HOTTEST: u8 = 3;

/// Which queue an entry waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Probation: entries seen once lately.
    Recent,
    /// Among the proven ones because it came back after it was evicted; no hit since.
    Returned,
    /// Proven: entries that were hit while they were resident.
    Frequent,
}

/// One entry with what the policy knows of it: 24 bytes beside the key and the value.
#[derive(Debug)]
pub(crate) struct Node<K, V> {
    pub(crate) key: K,
    pub(crate) value: V,
    /// The low half of the key's hash: places the slot in the table again without hashing the key.
    pub(crate) hash: u32,
    pub(crate) newer: u32,
    pub(crate) older: u32,
    pub(crate) weight: u32,
    deadline_low: u32,
    deadline_high: u16,
    /// Hits since the policy last looked, up to `HOTTEST`; set through a shared reference.
    hits: AtomicU8,
    pub(crate) place: Place,
}

impl<K, V> Node<K, V> {
    pub(crate) fn new(key: K, value: V, hash: u32, weight: u32, deadline: u64) -> Self {
        let mut node = Self {
            key,
            value,
            hash,
            newer: NONE,
            older: NONE,
            weight,
            deadline_low: 0,
            deadline_high: 0,
            hits: AtomicU8::new(0),
            place: Place::Recent,
        };
        node.set_deadline(deadline);
        node
    }

    /// When the entry expires, in milliseconds; zero for never.
    pub(crate) fn deadline(&self) -> u64 {
        u64::from(self.deadline_high) << 32 | u64::from(self.deadline_low)
    }

    pub(crate) fn set_deadline(&mut self, deadline: u64) {
        self.deadline_low = (deadline & 0xFFFF_FFFF) as u32;
        self.deadline_high = (deadline >> 32) as u16;
    }

    /// Counts a hit. Two at once may count as one: the policy needs no more.
    #[inline]
    pub(crate) fn touch(&self) {
        let hits = self.hits.load(Ordering::Relaxed);
        if hits < HOTTEST {
            self.hits.store(hits + 1, Ordering::Relaxed);
        }
    }

    pub(crate) fn hits(&self) -> u8 {
        self.hits.load(Ordering::Relaxed)
    }

    pub(crate) fn set_hits(&self, hits: u8) {
        self.hits.store(hits, Ordering::Relaxed);
    }
}

#[derive(Debug)]
enum Slot<K, V> {
    Free { next: u32 },
    Used(Node<K, V>),
}

/// Slots addressed by number; freed ones are used again first.
#[derive(Debug)]
pub(crate) struct Slab<K, V> {
    slots: Vec<Slot<K, V>>,
    free: u32,
    used: usize,
}

impl<K, V> Slab<K, V> {
    pub(crate) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: NONE,
            used: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// Slots there are, free ones included.
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.free == NONE && self.slots.len() >= NONE as usize
    }

    pub(crate) fn insert(&mut self, node: Node<K, V>) -> u32 {
        self.used += 1;
        let index = self.free;
        if index == NONE {
            self.slots.push(Slot::Used(node));
            return (self.slots.len() - 1) as u32;
        }
        let slot = std::mem::replace(&mut self.slots[index as usize], Slot::Used(node));
        if let Slot::Free { next } = slot {
            self.free = next;
        }
        index
    }

    /// Takes the entry out of its slot. Callers pass numbers of used slots only.
    pub(crate) fn remove(&mut self, index: u32) -> Option<Node<K, V>> {
        let slot = self.slots.get_mut(index as usize)?;
        match std::mem::replace(slot, Slot::Free { next: self.free }) {
            Slot::Used(node) => {
                self.free = index;
                self.used -= 1;
                Some(node)
            }
            free @ Slot::Free { .. } => {
                *slot = free;
                None
            }
        }
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&Node<K, V>> {
        match self.slots.get(index as usize) {
            Some(Slot::Used(node)) => Some(node),
            _ => None,
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut Node<K, V>> {
        match self.slots.get_mut(index as usize) {
            Some(Slot::Used(node)) => Some(node),
            _ => None,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Node<K, V>)> {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(index, slot)| match slot {
                Slot::Used(node) => Some((index as u32, node)),
                Slot::Free { .. } => None,
            })
    }
}

/// A chain of slots from newest to oldest, with its weight.
#[derive(Debug)]
pub(crate) struct Queue {
    newest: u32,
    oldest: u32,
    pub(crate) weight: u64,
    pub(crate) len: usize,
}

impl Queue {
    pub(crate) fn new() -> Self {
        Self {
            newest: NONE,
            oldest: NONE,
            weight: 0,
            len: 0,
        }
    }

    pub(crate) fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    pub(crate) fn push<K, V>(&mut self, slab: &mut Slab<K, V>, index: u32) {
        let newest = self.newest;
        let Some(node) = slab.get_mut(index) else {
            return;
        };
        node.older = newest;
        node.newer = NONE;
        self.weight += u64::from(node.weight);
        self.len += 1;
        match slab.get_mut(newest) {
            Some(second) => second.newer = index,
            None => self.oldest = index,
        }
        self.newest = index;
    }

    pub(crate) fn unlink<K, V>(&mut self, slab: &mut Slab<K, V>, index: u32) {
        let Some(node) = slab.get(index) else { return };
        let (newer, older, weight) = (node.newer, node.older, node.weight);
        match slab.get_mut(newer) {
            Some(node) => node.older = older,
            None => self.newest = older,
        }
        match slab.get_mut(older) {
            Some(node) => node.newer = newer,
            None => self.oldest = newer,
        }
        self.weight -= u64::from(weight);
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_costs_24_bytes_beside_key_and_value() {
        assert_eq!(size_of::<Slot<u64, u64>>(), 16 + 24);
        assert_eq!(size_of::<Slot<u64, std::sync::Arc<str>>>(), 24 + 24);
    }
}
