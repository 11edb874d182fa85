//! One shard of the index: a table kept in the order of the hash, so that a miss stops early and the
//! table is written to disk and read back as a sorted run.

use crate::place::Place;

/// Slots behind the last home position, for entries that were pushed on by their neighbours.
const SPILL: usize = 32;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    pub(crate) hash: u32,
    pub(crate) place: Place,
}

/// What became of one key: the record known before, and the one that takes its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) hash: u32,
    pub(crate) old: Option<Place>,
    pub(crate) new: Option<Place>,
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

/// Linear probing with the entries in the order of their hashes (robin hood hashing whose home
/// position grows with the hash). Invariant: no empty slot lies between an entry and its home.
#[derive(Debug, Default)]
pub(crate) struct Table {
    slots: Vec<Slot>,
    /// Home positions; `slots` is longer by [`SPILL`].
    homes: usize,
    len: usize,
}

impl Table {
    /// From entries sorted by hash, about `count` of them.
    pub(crate) fn from_sorted(sorted: impl Iterator<Item = Slot>, count: usize) -> Self {
        let mut table = Self::default();
        if count > 0 {
            table.place_sorted(sorted, (count + count / 3).max(16));
        }
        table
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of memory held by its slots.
    pub(crate) fn resident(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
    }

    /// The entries, sorted by hash.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Slot> + '_ {
        let used = self.slots.iter().filter(|s| s.place != Place::EMPTY);
        used.copied()
    }

    /// Puts the new place where the old one was; either may be absent.
    pub(crate) fn apply(&mut self, change: Change) {
        match (change.old, change.new) {
            (Some(old), Some(new)) => self.replace(change.hash, old, new),
            (Some(old), None) => self.remove(change.hash, old),
            (None, Some(new)) => self.insert(change.hash, new),
            (None, None) => {}
        }
    }

    pub(crate) fn holds(&self, hash: u32, place: Place) -> bool {
        self.matching(hash).any(|(_, known)| known == place)
    }

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

    pub(crate) fn candidates(&self, hash: u32) -> Candidates {
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
