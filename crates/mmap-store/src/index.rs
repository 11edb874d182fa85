//! The global index: 256 tables, each kept in the order of the hash, so that a miss stops early
//! and a table is written to disk and read back as a sorted run.

use std::sync::{PoisonError, RwLock};

use crate::record::ALIGN;

pub(crate) const SHARDS: usize = 256;
/// Slots behind the last home position, for entries that were pushed on by their neighbours.
const SPILL: usize = 32;

/// Where a record lies: its segment, its offset, and an upper bound of its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Segment number in the upper 24 bits, length class in the lower 8.
    segment_and_class: u32,
    offset: u32,
}

impl Place {
    const EMPTY: Place = Place {
        segment_and_class: 0,
        offset: 0,
    };
    pub(crate) const MAX_SEGMENT: u32 = (1 << 24) - 1;

    pub(crate) fn new(segment: u32, offset: u64, len: u64) -> Self {
        Self {
            segment_and_class: segment << 8 | u32::from(class_of(len)),
            offset: (offset / ALIGN) as u32,
        }
    }

    #[inline]
    pub(crate) fn from_words(segment_and_class: u32, offset: u32) -> Self {
        Self {
            segment_and_class,
            offset,
        }
    }

    pub(crate) fn words(self) -> (u32, u32) {
        (self.segment_and_class, self.offset)
    }

    #[inline]
    pub(crate) fn segment(self) -> u32 {
        self.segment_and_class >> 8
    }

    pub(crate) fn offset(self) -> u64 {
        u64::from(self.offset) * ALIGN
    }

    /// At least the length of the record, at most an eighth more (and at least 64 bytes).
    pub(crate) fn length_bound(self) -> u64 {
        let class = self.segment_and_class & 0xff;
        (u64::from(8 + (class & 7)) << (class >> 3)) * ALIGN
    }
}

/// A small float, 5 bits of exponent and 3 of mantissa, rounded up; in units of 8 bytes.
fn class_of(len: u64) -> u8 {
    let units = len.div_ceil(ALIGN).max(8);
    let exponent = 60 - units.leading_zeros();
    let mantissa = (units >> exponent) - 8;
    let rounded = u64::from((units & ((1 << exponent) - 1)) != 0);
    ((u64::from(exponent) << 3) + mantissa + rounded).min(255) as u8
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    pub(crate) hash: u32,
    pub(crate) place: Place,
}

/// The places that may hold a key: nearly always none or one.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    first: Option<Place>,
    rest: Vec<Place>,
}

impl Candidates {
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Place> + '_ {
        self.first.into_iter().chain(self.rest.iter().copied())
    }
}

#[derive(Debug)]
pub(crate) struct Index {
    shards: Box<[RwLock<Table>]>,
}

impl Index {
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
        }
    }

    pub(crate) fn candidates(&self, hash: u32) -> Candidates {
        self.read(shard_of(hash)).candidates(hash)
    }

    /// Puts `new` where `old` was; either may be absent.
    pub(crate) fn swap(&self, hash: u32, old: Option<Place>, new: Option<Place>) {
        let mut table = self.shards[shard_of(hash)]
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        match (old, new) {
            (Some(old), Some(new)) => table.replace(hash, old, new),
            (Some(old), None) => table.remove(hash, old),
            (None, Some(new)) => table.insert(hash, new),
            (None, None) => {}
        }
    }

    /// Moves an entry, unless it points elsewhere by now.
    pub(crate) fn move_entry(&self, hash: u32, old: Place, new: Place) -> bool {
        let mut table = self.shards[shard_of(hash)]
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let found = table.matching(hash).find(|(_, place)| *place == old);
        if let Some((at, _)) = found {
            table.slots[at].place = new;
            return true;
        }
        false
    }

    /// The entries that point into `segment`. O(entries): for what only damage asks.
    pub(crate) fn entries_of(&self, segment: u32) -> Vec<Slot> {
        let all = (0..SHARDS).flat_map(|shard| self.sorted(shard));
        all.filter(|slot| slot.place.segment() == segment).collect()
    }

    /// True if any entry points at `place`. O(entries): for telling why a read failed.
    pub(crate) fn holds(&self, place: Place) -> bool {
        (0..SHARDS).any(|i| self.read(i).slots.iter().any(|s| s.place == place))
    }

    pub(crate) fn len(&self) -> usize {
        (0..SHARDS).map(|i| self.read(i).len).sum()
    }

    /// Bytes of memory held.
    pub(crate) fn resident(&self) -> usize {
        let tables = (0..SHARDS).map(|i| self.read(i).slots.capacity() * size_of::<Slot>());
        tables.sum::<usize>() + SHARDS * size_of::<RwLock<Table>>()
    }

    /// The entries of one shard, sorted by hash.
    pub(crate) fn sorted(&self, shard: usize) -> Vec<Slot> {
        let table = self.read(shard);
        let used = table.slots.iter().filter(|s| s.place != Place::EMPTY);
        used.copied().collect()
    }

    /// Fills an empty shard from entries sorted by hash.
    pub(crate) fn fill(&self, shard: usize, sorted: impl Iterator<Item = Slot>, count: usize) {
        let mut table = self.shards[shard]
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        table.rebuild(sorted, count);
    }

    fn read(&self, shard: usize) -> std::sync::RwLockReadGuard<'_, Table> {
        self.shards[shard]
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn shard_of(hash: u32) -> usize {
    (hash >> 24) as usize
}

/// Linear probing with the entries in the order of their hashes (robin hood hashing whose home
/// position grows with the hash). Invariant: no empty slot lies between an entry and its home.
#[derive(Debug, Default)]
struct Table {
    slots: Vec<Slot>,
    /// Home positions; `slots` is longer by [`SPILL`].
    homes: usize,
    len: usize,
}

impl Table {
    #[inline]
    fn home(&self, hash: u32) -> usize {
        // The upper 8 bits chose the shard.
        ((u64::from(hash << 8) * self.homes as u64) >> 32) as usize
    }

    /// The first slot at or behind the home of `hash` that is empty or holds a hash not below it.
    fn seek(&self, hash: u32) -> usize {
        let mut at = self.home(hash);
        while let Some(slot) = self.slots.get(at) {
            if slot.place == Place::EMPTY || slot.hash >= hash {
                break;
            }
            at += 1;
        }
        at
    }

    fn matching(&self, hash: u32) -> impl Iterator<Item = (usize, Place)> + '_ {
        let start = self.seek(hash);
        let slots = self.slots.get(start..).unwrap_or_default();
        slots
            .iter()
            .take_while(move |s| s.place != Place::EMPTY && s.hash == hash)
            .enumerate()
            .map(move |(i, s)| (start + i, s.place))
    }

    fn candidates(&self, hash: u32) -> Candidates {
        let mut found = Candidates::default();
        for (_, place) in self.matching(hash) {
            match found.first {
                None => found.first = Some(place),
                Some(_) => found.rest.push(place),
            }
        }
        found
    }

    fn insert(&mut self, hash: u32, place: Place) {
        if self.len * 5 >= self.homes * 4 {
            self.grow();
        }
        loop {
            let at = self.seek(hash);
            let tail = self.slots.get(at..).unwrap_or_default();
            if let Some(gap) = tail.iter().position(|s| s.place == Place::EMPTY) {
                self.slots.copy_within(at..at + gap, at + 1);
                self.slots[at] = Slot { hash, place };
                self.len += 1;
                return;
            }
            self.grow();
        }
    }

    fn replace(&mut self, hash: u32, old: Place, new: Place) {
        let at = self
            .matching(hash)
            .find_map(|(at, place)| (place == old).then_some(at));
        match at {
            Some(at) => self.slots[at].place = new,
            None => self.insert(hash, new),
        }
    }

    fn remove(&mut self, hash: u32, old: Place) {
        let found = self
            .matching(hash)
            .find_map(|(at, place)| (place == old).then_some(at));
        let Some(mut at) = found else { return };
        while let Some(next) = self.slots.get(at + 1) {
            if next.place == Place::EMPTY || self.home(next.hash) > at {
                break;
            }
            self.slots[at] = *next;
            at += 1;
        }
        self.slots[at].place = Place::EMPTY;
        self.len -= 1;
    }

    fn grow(&mut self) {
        let old = std::mem::take(&mut self.slots);
        let used = old.into_iter().filter(|s| s.place != Place::EMPTY);
        // A quarter more homes each time: memory per key stays within 15 to 19 bytes.
        let homes = (self.homes + self.homes / 4).max(16);
        self.place_sorted(used, homes);
    }

    fn rebuild(&mut self, sorted: impl Iterator<Item = Slot>, count: usize) {
        self.place_sorted(sorted, (count + count / 3).max(16));
    }

    fn place_sorted(&mut self, sorted: impl Iterator<Item = Slot>, homes: usize) {
        let empty = Slot {
            hash: 0,
            place: Place::EMPTY,
        };
        self.homes = homes;
        self.len = 0;
        self.slots = Vec::new();
        self.slots.reserve_exact(homes + SPILL);
        self.slots.resize(homes + SPILL, empty);
        let mut next = 0;
        for slot in sorted {
            next = self.home(slot.hash).max(next);
            if next >= self.slots.len() {
                self.slots.resize(next + SPILL, empty);
            }
            self.slots[next] = slot;
            self.len += 1;
            next += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_length_bound_is_never_below_the_length_and_close_to_it() {
        for len in (32..200_000_u64)
            .step_by(8)
            .chain([1 << 32, (1 << 32) + 65_600])
        {
            let bound = Place::new(1, 64, len).length_bound();
            assert!(
                bound >= len && bound <= (len + len / 7).max(64),
                "{len} {bound}"
            );
        }
    }

    #[test]
    fn the_table_agrees_with_a_map_under_heavy_collisions() {
        let index = Index::new();
        let mut model: BTreeMap<u32, Vec<Place>> = BTreeMap::new();
        let mut state = 1_u64;
        for step in 0..40_000_u32 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let hash = ((state >> 33) as u32 & 0x3ff) << 20 | (state >> 60) as u32;
            let places = model.entry(hash).or_default();
            if state & 0x100 == 0 && !places.is_empty() {
                let place = places.remove(0);
                index.swap(hash, Some(place), None);
            } else {
                let place = Place::new(1 + step % 100, u64::from(step) * 8, 64);
                places.push(place);
                index.swap(hash, None, Some(place));
            }
        }
        for (hash, places) in &model {
            let found: Vec<_> = index.candidates(*hash).iter().collect();
            assert_eq!(found.len(), places.len());
            assert!(places.iter().all(|p| found.contains(p)));
        }
        let total: usize = model.values().map(Vec::len).sum();
        assert_eq!(index.len(), total);
    }

    #[test]
    fn memory_stays_below_24_bytes_a_key() {
        let index = Index::new();
        for i in 0..300_000_u32 {
            let hash = i.wrapping_mul(0x9e37_79b9);
            index.swap(hash, None, Some(Place::new(1, u64::from(i) * 8, 64)));
            if i > 200_000 && i % 1000 == 0 {
                assert!(index.resident() <= 24 * i as usize, "{i}");
            }
        }
    }
}
