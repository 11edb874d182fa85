//! What tells most keys that are not there from those that may be, without a lock: a Bloom filter whose
//! keys have all their bits in one word ("blocked"; Putze, Sanders and Singler, 2007).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use crate::index::{SHARDS, shard_of};
use crate::table::Table;

/// Keys for each word of 64 bits; with [`BITS`] a full filter lets about one in thirty through.
const KEYS: usize = 8;
const BITS: u32 = 4;
/// Filters of doubling size. Beyond the last nothing is ruled out.
const SIZES: usize = 22;
/// Set in a shard's state while its filter can be asked.
const KNOWN: u64 = 1 << 8;
/// Added to a shard's state whenever its filter is made anew.
const VERSION: u64 = 1 << 9;

/// Rules hashes out that no entry of the index has.
///
/// Whoever changes a shard holds that shard's lock; readers need none. A filter is only added to,
/// so that an entry that is there is never ruled out; when it is full it is made anew from the table,
/// and the shard's state tells a reader that it looked meanwhile.
#[derive(Debug)]
pub(crate) struct Absence {
    /// Size in the lower 8 bits, [`KNOWN`], version above. Of each shard.
    states: Box<[AtomicU64]>,
    /// Keys added to the shard's filter since it was made.
    added: Box<[AtomicU32]>,
    /// Each has one part per shard, in the order of the hash, and lives as long as this does.
    words: [OnceLock<Box<[AtomicU64]>>; SIZES],
}

impl Absence {
    /// Knows nothing, so that it rules nothing out.
    pub(crate) fn new() -> Self {
        Self {
            states: (0..SHARDS).map(|_| AtomicU64::new(0)).collect(),
            added: (0..SHARDS).map(|_| AtomicU32::new(0)).collect(),
            words: [const { OnceLock::new() }; SIZES],
        }
    }

    /// True if no entry has this hash; false proves nothing.
    #[inline]
    pub(crate) fn rules_out(&self, hash: u32) -> bool {
        let state = &self.states[shard_of(hash)];
        let before = state.load(Ordering::Acquire);
        let Some(word) = self.word(before, hash) else {
            return false;
        };
        let found = word.load(Ordering::Relaxed);
        // What was read counts only if the filter was not made anew meanwhile.
        fence(Ordering::Acquire);
        let pattern = pattern(hash);
        found & pattern != pattern && state.load(Ordering::Relaxed) == before
    }

    /// Notes an entry that `table`, the shard's, holds already.
    pub(crate) fn add(&self, hash: u32, table: &Table) {
        let shard = shard_of(hash);
        let state = self.states[shard].load(Ordering::Relaxed);
        let Some(word) = self.word(state, hash) else {
            return self.fill(shard, table);
        };
        let (found, pattern) = (word.load(Ordering::Relaxed), pattern(hash));
        if found & pattern == pattern {
            return;
        }
        let added = self.added[shard].load(Ordering::Relaxed) as usize;
        if added >= KEYS << size_of_state(state) {
            return self.fill(shard, table);
        }
        word.store(found | pattern, Ordering::Relaxed);
        self.added[shard].store(added as u32 + 1, Ordering::Relaxed);
    }

    /// Makes the filter of a shard from its table.
    pub(crate) fn fill(&self, shard: usize, table: &Table) {
        let state = &self.states[shard];
        let before = state.load(Ordering::Relaxed);
        let version = (before & !(VERSION - 1)).wrapping_add(VERSION);
        state.store(version, Ordering::Relaxed);
        // Before the words change, readers can see that they will.
        fence(Ordering::Release);
        let Some((size, words)) = self.room(table.len() + table.len() / 4) else {
            return;
        };
        let part = words.len() / SHARDS;
        let own = &words[shard * part..(shard + 1) * part];
        own.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        for slot in table.iter() {
            let word = &words[place(slot.hash, words.len())];
            let bits = word.load(Ordering::Relaxed) | pattern(slot.hash);
            word.store(bits, Ordering::Relaxed);
        }
        self.added[shard].store(table.len() as u32, Ordering::Relaxed);
        state.store(version | KNOWN | size as u64, Ordering::Release);
    }

    /// Bytes of memory held.
    pub(crate) fn resident(&self) -> usize {
        let words = self.words.iter().filter_map(OnceLock::get);
        words.map(|words| size_of_val(&**words)).sum::<usize>() + SHARDS * 12
    }

    /// The filter in which a shard has room for `keys`.
    fn room(&self, keys: usize) -> Option<(usize, &[AtomicU64])> {
        let size = keys.div_ceil(KEYS).next_power_of_two().trailing_zeros() as usize;
        let words = self.words.get(size)?;
        let zeros = || (0..SHARDS << size).map(|_| AtomicU64::new(0)).collect();
        Some((size, words.get_or_init(zeros)))
    }

    #[inline]
    fn word(&self, state: u64, hash: u32) -> Option<&AtomicU64> {
        if state & KNOWN == 0 {
            return None;
        }
        let words = self.words.get(size_of_state(state))?.get()?;
        words.get(place(hash, words.len()))
    }
}

fn size_of_state(state: u64) -> usize {
    (state & (KNOWN - 1)) as usize
}

/// The word of a hash; the upper 8 bits, which choose the shard, choose its part.
#[inline]
fn place(hash: u32, words: usize) -> usize {
    ((u64::from(hash) * words as u64) >> 32) as usize
}

#[inline]
fn pattern(hash: u32) -> u64 {
    let mut mixed = u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bits = 0;
    for _ in 0..BITS {
        bits |= 1 << (mixed >> 58);
        mixed <<= 6;
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Place;
    use crate::table::Change;
    use std::sync::atomic::AtomicBool;

    fn spread(i: u32) -> u32 {
        i.wrapping_mul(0x9e37_79b9) ^ 0x5bd1_e995
    }

    fn put(hash: u32) -> Change {
        Change {
            hash,
            old: None,
            new: Some(Place::new(1, u64::from(hash) * 8, 64)),
        }
    }

    #[test]
    fn nothing_that_is_there_is_ruled_out_and_most_else_is() {
        let absence = Absence::new();
        let mut tables: Vec<Table> = (0..SHARDS).map(|_| Table::default()).collect();
        assert!(!absence.rules_out(7), "it knows nothing yet");
        for i in 0..200_000 {
            let hash = spread(i);
            let table = &mut tables[shard_of(hash)];
            table.apply(put(hash));
            absence.add(hash, table);
            if i.is_power_of_two() || i % 50_000 == 0 {
                assert!((0..=i).all(|i| !absence.rules_out(spread(i))), "{i}");
            }
        }
        let absent = 200_000..400_000;
        let passed = absent.filter(|i| !absence.rules_out(spread(*i))).count();
        assert!(passed < 200_000 / 16, "{passed}");
    }

    /// Keys that come and go neither fill it for good nor make it grow.
    #[test]
    fn what_came_and_went_is_ruled_out_again() {
        let absence = Absence::new();
        let mut table = Table::default();
        for i in 0..100_000_u32 {
            let hash = |i: u32| spread(i) >> 8;
            let change = put(hash(i));
            table.apply(change);
            absence.add(change.hash, &table);
            if i >= 100 {
                let old = put(hash(i - 100));
                table.apply(Change {
                    old: old.new,
                    new: None,
                    ..old
                });
            }
        }
        assert!((99_900..100_000).all(|i| !absence.rules_out(spread(i) >> 8)));
        let passed = (0..90_000).filter(|i| !absence.rules_out(spread(*i) >> 8));
        let passed = passed.count();
        assert!(passed < 9_000, "{passed}");
        assert!(absence.resident() < 256 << 10, "{}", absence.resident());
    }

    /// A reader that looks while a filter is made anew rules nothing out that stays.
    #[test]
    fn readers_are_right_while_it_is_made_anew() {
        let absence = Absence::new();
        let mut table = Table::default();
        // Enough that making it takes a while.
        let stays: Vec<u32> = (0..2048).map(|i| spread(i) >> 8).collect();
        for hash in &stays {
            table.apply(put(*hash));
        }
        absence.fill(0, &table);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let readers = [(); 2].map(|()| {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        let lost = stays.iter().find(|h| absence.rules_out(**h));
                        assert_eq!(lost, None);
                    }
                })
            });
            (0..4_000).for_each(|_| absence.fill(0, &table));
            done.store(true, Ordering::Relaxed);
            assert!(readers.into_iter().all(|reader| reader.join().is_ok()));
        });
    }
}
