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

/// The bits of a node's marks that count hits.
const HEAT: u8 = 3;
/// The entry's deadline is not that of the cache's own time to live.
pub(crate) const OWN_TIME: u8 = 1 << 5;
/// The entry has labels, so it can be invalidated.
pub(crate) const LABELLED: u8 = 1 << 6;
/// The entry has a deadline, or entries idle out.
pub(crate) const TIMED: u8 = 1 << 7;

/// One entry with what the policy knows of it: 16 bytes beside the key and the value, so that a pair of
/// words with them fits half a cache line.
#[derive(Debug)]
pub(crate) struct Node<K, V> {
    pub(crate) key: K,
    pub(crate) value: V,
    /// The low half of the key's hash: places the slot in the table again without hashing the key.
    pub(crate) hash: u32,
    /// The slot that came into the queue after this one.
    next: u32,
    deadline_low: u32,
    deadline_high: u16,
    /// Hits since the policy last looked, up to `HOTTEST`, set through a shared reference; and what can
    /// end the entry beside its eviction.
    marks: AtomicU8,
    pub(crate) place: Place,
}

impl<K, V> Node<K, V> {
    pub(crate) fn new(key: K, value: V, hash: u32, place: Place) -> Self {
        Self {
            key,
            value,
            hash,
            next: NONE,
            deadline_low: 0,
            deadline_high: 0,
            marks: AtomicU8::new(0),
            place,
        }
    }

    /// When the entry expires, in milliseconds; zero for never.
    #[inline]
    pub(crate) fn deadline(&self) -> u64 {
        u64::from(self.deadline_high) << 32 | u64::from(self.deadline_low)
    }

    /// When the entry expires; the end of time for never.
    #[inline]
    pub(crate) fn end(&self) -> u64 {
        self.deadline().wrapping_sub(1).saturating_add(1)
    }

    /// Sets what can end the entry.
    #[inline]
    pub(crate) fn set_end(&mut self, deadline: u64, marks: u8) {
        self.deadline_low = (deadline & 0xFFFF_FFFF) as u32;
        self.deadline_high = (deadline >> 32) as u16;
        let heat = *self.marks.get_mut() & HEAT;
        *self.marks.get_mut() = heat | marks;
    }

    /// Counts a hit. Two at once may count as one: the policy needs no more.
    #[inline]
    pub(crate) fn touch(&self) {
        let marks = self.marks.load(Ordering::Relaxed);
        if marks & HEAT < HOTTEST {
            self.marks.store(marks + 1, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn hits(&self) -> u8 {
        self.marks.load(Ordering::Relaxed) & HEAT
    }

    #[inline]
    pub(crate) fn set_hits(&mut self, hits: u8) {
        let marks = self.marks.get_mut();
        *marks = *marks & !HEAT | hits;
    }

    /// `LABELLED`, `TIMED`, both or neither, and with `TIMED` perhaps `OWN_TIME`.
    #[inline]
    pub(crate) fn ends(&self) -> u8 {
        self.marks.load(Ordering::Relaxed) & !HEAT
    }
}

#[derive(Debug)]
enum Slot<K, V> {
    Free {
        next: u32,
    },
    /// Taken out of the middle of its queue, which still runs through it.
    Gone {
        next: u32,
    },
    Used(Node<K, V>),
}

impl<K, V> Slot<K, V> {
    #[inline]
    fn next(&self) -> u32 {
        match self {
            Self::Free { next } | Self::Gone { next } => *next,
            Self::Used(node) => node.next,
        }
    }

    #[inline]
    fn set_next(&mut self, to: u32) {
        match self {
            Self::Free { next } | Self::Gone { next } => *next = to,
            Self::Used(node) => node.next = to,
        }
    }
}

/// Slots addressed by number; freed ones are used again first.
#[derive(Debug)]
pub(crate) struct Slab<K, V> {
    slots: Vec<Slot<K, V>>,
    /// Weights by slot; empty while every entry weighs one.
    weights: Vec<u32>,
    free: u32,
    used: usize,
    /// The most entries there can be while each weighs one.
    most: usize,
}

impl<K, V> Slab<K, V> {
    pub(crate) fn new(most: u64) -> Self {
        Self {
            most: usize::try_from(most).unwrap_or(usize::MAX),
            slots: Vec::new(),
            weights: Vec::new(),
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

    #[inline(always)]
    pub(crate) fn insert(&mut self, node: Node<K, V>, weight: u32) -> u32 {
        self.used += 1;
        let mut index = self.free;
        match self.slots.get_mut(index as usize) {
            Some(slot) => {
                self.free = slot.next();
                *slot = Slot::Used(node);
            }
            None => {
                index = self.slots.len() as u32;
                if self.slots.len() == self.slots.capacity() {
                    self.grow();
                }
                self.slots.push(Slot::Used(node));
            }
        }
        if weight != 1 || !self.weights.is_empty() {
            self.set_weight(index, weight);
        }
        index
    }

    pub(crate) fn set_most(&mut self, most: u64) {
        self.most = usize::try_from(most).unwrap_or(usize::MAX);
    }

    /// Doubles, but never past the most that can be in use.
    #[cold]
    fn grow(&mut self) {
        let length = self.slots.len();
        let more = if !self.weights.is_empty() {
            length / 2
        } else if length < self.most {
            length.max(4).min(self.most - length)
        } else {
            length / 8
        };
        self.slots.reserve_exact(more.max(1));
    }

    #[inline]
    pub(crate) fn weight(&self, index: u32) -> u32 {
        if self.weights.is_empty() {
            return 1;
        }
        self.weights.get(index as usize).copied().unwrap_or(1)
    }

    pub(crate) fn set_weight(&mut self, index: u32, weight: u32) {
        if self.weights.is_empty() && weight == 1 {
            return;
        }
        if self.weights.len() <= index as usize {
            self.weights.resize(self.slots.len(), 1);
        }
        self.weights[index as usize] = weight;
    }

    /// Takes the entry out of its slot, which is free then, or stays as a link of its queue.
    #[inline]
    pub(crate) fn take(&mut self, index: u32, linked: bool) -> Option<Node<K, V>> {
        let slot = self.slots.get_mut(index as usize)?;
        let Slot::Used(node) = slot else { return None };
        let left = if linked {
            Slot::Gone { next: node.next }
        } else {
            let next = std::mem::replace(&mut self.free, index);
            Slot::Free { next }
        };
        self.used -= 1;
        match std::mem::replace(slot, left) {
            Slot::Used(node) => Some(node),
            _ => None,
        }
    }

    fn is_gone(&self, index: u32) -> bool {
        matches!(self.slots.get(index as usize), Some(Slot::Gone { .. }))
    }

    fn release(&mut self, index: u32) {
        if let Some(slot) = self.slots.get_mut(index as usize) {
            *slot = Slot::Free { next: self.free };
            self.free = index;
        }
    }

    #[inline]
    fn next(&self, index: u32) -> u32 {
        self.slots.get(index as usize).map_or(NONE, Slot::next)
    }

    /// Bytes allocated.
    #[cfg(test)]
    pub(crate) fn allocated(&self) -> usize {
        self.slots.capacity() * size_of::<Slot<K, V>>() + self.weights.capacity() * 4
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
                _ => None,
            })
    }
}

/// A chain of slots from oldest to newest, with the weight of the entries in it.
///
/// One link a slot: entries come at one end and leave at the other. One that is taken out of the middle leaves
/// its slot behind as a link, which `Slab` gets back when it comes to the end, or by `tighten`.
#[derive(Debug)]
pub(crate) struct Queue {
    newest: u32,
    oldest: u32,
    pub(crate) weight: u64,
    pub(crate) len: usize,
    /// Links without an entry.
    pub(crate) gone: usize,
}

impl Queue {
    pub(crate) fn new() -> Self {
        Self {
            newest: NONE,
            oldest: NONE,
            weight: 0,
            len: 0,
            gone: 0,
        }
    }

    /// The entry that came first.
    #[inline]
    pub(crate) fn oldest<K, V>(&mut self, slab: &mut Slab<K, V>) -> Option<u32> {
        if self.gone > 0 {
            self.skip(slab);
        }
        (self.oldest != NONE).then_some(self.oldest)
    }

    #[inline(never)]
    fn skip<K, V>(&mut self, slab: &mut Slab<K, V>) {
        while self.gone > 0 && slab.is_gone(self.oldest) {
            let link = self.oldest;
            self.behead(slab.next(link));
            slab.release(link);
            self.gone -= 1;
        }
    }

    #[inline]
    fn behead(&mut self, next: u32) {
        self.oldest = next;
        if next == NONE {
            self.newest = NONE;
        }
    }

    #[inline]
    pub(crate) fn push<K, V>(&mut self, slab: &mut Slab<K, V>, index: u32, weight: u32) {
        match slab.slots.get_mut(self.newest as usize) {
            Some(slot) => slot.set_next(index),
            None => self.oldest = index,
        }
        self.newest = index;
        self.weight += u64::from(weight);
        self.len += 1;
    }

    /// Takes the oldest out, to go into another queue, or to the end of this one.
    pub(crate) fn shift<K, V>(&mut self, slab: &mut Slab<K, V>, index: u32, weight: u32) {
        if let Some(node) = slab.get_mut(index) {
            self.leave(node, weight);
            node.next = NONE;
        }
    }

    /// The oldest is gone, or going.
    #[inline]
    pub(crate) fn leave<K, V>(&mut self, node: &Node<K, V>, weight: u32) {
        self.behead(node.next);
        self.weight -= u64::from(weight);
        self.len -= 1;
    }

    /// Takes an entry out of the queue and of the slab.
    pub(crate) fn remove<K, V>(&mut self, slab: &mut Slab<K, V>, index: u32) -> Option<Node<K, V>> {
        let weight = u64::from(slab.weight(index));
        let first = self.oldest == index;
        let next = slab.next(index);
        let node = slab.take(index, !first)?;
        if first {
            self.behead(next);
        } else {
            self.gone += 1;
        }
        self.weight -= weight;
        self.len -= 1;
        Some(node)
    }

    /// Gives the links without an entry back to the slab: O(queue).
    pub(crate) fn tighten<K, V>(&mut self, slab: &mut Slab<K, V>) {
        let (mut at, mut last) = (self.oldest, NONE);
        self.oldest = NONE;
        while at != NONE {
            let next = slab.next(at);
            if slab.is_gone(at) {
                slab.release(at);
            } else {
                match slab.slots.get_mut(last as usize) {
                    Some(slot) => slot.set_next(at),
                    None => self.oldest = at,
                }
                last = at;
            }
            at = next;
        }
        if let Some(slot) = slab.slots.get_mut(last as usize) {
            slot.set_next(NONE);
        }
        self.newest = last;
        self.gone = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_costs_16_bytes_beside_key_and_value() {
        assert_eq!(size_of::<Slot<u64, u64>>(), 16 + 16);
        assert_eq!(size_of::<Slot<u64, std::sync::Arc<str>>>(), 24 + 16);
    }
}
