//! What tells most keys that are not there from those that may be, without a lock: a Bloom filter whose
//! keys have all their bits in one word ("blocked"; Putze, Sanders and Singler, 2007).

use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Mutex, OnceLock};

use crate::index::{SHARDS, shard_of};
use crate::queue::lock;
use crate::table::Table;

/// Keys for each word of 64 bits; with [`BITS`] a full filter lets about one in thirty through.
const KEYS: usize = 8;
const BITS: u32 = 4;
/// Filters of doubling size. Beyond the last nothing is ruled out.
const SIZES: usize = 22;
/// A shard that holds so many times its share of all keys goes without a filter, since one of its size
/// is made for all shards; a few keys are no crowd.
const CROWD: u64 = 8;
const FEW: u64 = 64;
/// Set in a shard's state while its filter can be asked.
const KNOWN: u64 = 1 << 8;
/// Added to a shard's state whenever its filter is made anew.
const VERSION: u64 = 1 << 9;

/// Rules hashes out that no entry of an index has: of the one that [claimed](Self::claim) it last.
///
/// Readers need no lock. A filter is only added to, so that an entry that is there is never ruled
/// out; when it is full it is made anew from the table, and the shard's state tells a reader that it
/// looked meanwhile.
#[derive(Debug)]
pub(crate) struct Absence {
    /// Size in the lower 8 bits, [`KNOWN`], version above. Of each shard.
    states: Box<[AtomicU64]>,
    /// Held while a shard's filter is changed.
    parts: Box<[Mutex<Part>]>,
    /// Each has one part per shard, in the order of the hash, and lives as long as this does.
    words: [OnceLock<Box<[AtomicU64]>>; SIZES],
    claims: AtomicU64,
}

#[derive(Debug, Default)]
struct Part {
    /// The index whose entries the filter holds.
    owner: u64,
    /// Keys added to the filter since it was made.
    added: usize,
}

impl Default for Absence {
    /// Knows nothing, so that it rules nothing out.
    fn default() -> Self {
        Self {
            states: (0..SHARDS).map(|_| AtomicU64::new(0)).collect(),
            parts: (0..SHARDS).map(|_| Mutex::default()).collect(),
            words: [const { OnceLock::new() }; SIZES],
            claims: AtomicU64::new(0),
        }
    }
}

impl Absence {
    /// Forgets everything, and listens from now on to the index alone that shows this number.
    pub(crate) fn claim(&self) -> u64 {
        let owner = self.claims.fetch_add(1, Ordering::Relaxed) + 1;
        for (part, state) in self.parts.iter().zip(&self.states) {
            let mut part = lock(part);
            // A claim that came later stands.
            if part.owner < owner {
                part.owner = owner;
                next_version(state);
            }
        }
        owner
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

    /// Notes an entry that `table`, the shard's, holds already; one of `keys` in all shards.
    pub(crate) fn add(&self, owner: u64, hash: u32, table: &Table, keys: u64) {
        let shard = shard_of(hash);
        let mut part = lock(&self.parts[shard]);
        if part.owner != owner {
            return;
        }
        let state = self.states[shard].load(Ordering::Relaxed);
        let Some(word) = self.word(state, hash) else {
            return self.make(&mut part, shard, table, keys);
        };
        let (found, pattern) = (word.load(Ordering::Relaxed), pattern(hash));
        if found & pattern == pattern {
            return;
        }
        if part.added >= KEYS << size_of_state(state) {
            return self.make(&mut part, shard, table, keys);
        }
        word.store(found | pattern, Ordering::Relaxed);
        part.added += 1;
    }

    /// Makes the filter of a shard from its table.
    pub(crate) fn fill(&self, owner: u64, shard: usize, table: &Table, keys: u64) {
        let mut part = lock(&self.parts[shard]);
        if part.owner == owner {
            self.make(&mut part, shard, table, keys);
        }
    }

    fn make(&self, part: &mut Part, shard: usize, table: &Table, keys: u64) {
        let state = &self.states[shard];
        let version = next_version(state);
        // Before the words change, readers can see that they will.
        fence(Ordering::Release);
        let crowd = FEW.max(keys / SHARDS as u64 * CROWD);
        let room = self.room(table.len() + table.len() / 4, crowd);
        let Some((size, words)) = room else {
            return;
        };
        let len = words.len() / SHARDS;
        let own = &words[shard * len..(shard + 1) * len];
        own.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        for slot in table.iter() {
            let word = &words[place(slot.hash, words.len())];
            let bits = word.load(Ordering::Relaxed) | pattern(slot.hash);
            word.store(bits, Ordering::Relaxed);
        }
        part.added = table.len();
        state.store(version | KNOWN | size as u64, Ordering::Release);
    }

    /// Bytes of memory held.
    pub(crate) fn resident(&self) -> usize {
        let words = self.words.iter().filter_map(OnceLock::get);
        let own = SHARDS * (size_of::<AtomicU64>() + size_of::<Mutex<Part>>());
        words.map(|words| size_of_val(&**words)).sum::<usize>() + own
    }

    /// The filter in which a shard has room for `keys`, unless that are more than `crowd`.
    fn room(&self, keys: usize, crowd: u64) -> Option<(usize, &[AtomicU64])> {
        let size = keys.div_ceil(KEYS).next_power_of_two().trailing_zeros() as usize;
        let words = self.words.get(size)?;
        if keys as u64 > crowd {
            return None;
        }
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

/// Has readers of a shard's filter look elsewhere; the state without a filter.
fn next_version(state: &AtomicU64) -> u64 {
    let before = state.load(Ordering::Relaxed);
    let version = (before & !(VERSION - 1)).wrapping_add(VERSION);
    state.store(version, Ordering::Relaxed);
    version
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

    /// Keys in all shards, for those to whom it does not matter.
    const ALL: u64 = 1 << 30;

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
        let absence = Absence::default();
        let mut tables: Vec<Table> = (0..SHARDS).map(|_| Table::default()).collect();
        assert!(!absence.rules_out(7), "it knows nothing yet");
        for i in 0..200_000 {
            let hash = spread(i);
            let table = &mut tables[shard_of(hash)];
            table.apply(put(hash));
            absence.add(0, hash, table, u64::from(i) + 1);
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
        let absence = Absence::default();
        let mut table = Table::default();
        for i in 0..100_000_u32 {
            let hash = |i: u32| spread(i) >> 8;
            let change = put(hash(i));
            table.apply(change);
            absence.add(0, change.hash, &table, 256 * table.len() as u64);
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

    /// However many keys a file claims for one shard, the others' filters take no memory for it.
    #[test]
    fn one_crowded_shard_makes_no_room_for_all() {
        let absence = Absence::default();
        let mut table = Table::default();
        let hashes = 0..100_000_u32;
        hashes.for_each(|i| table.apply(put(spread(i) >> 8)));
        absence.fill(0, 0, &table, 100_000);
        assert!((0..100_000_u32).all(|i| !absence.rules_out(spread(i) >> 8)));
        assert!(absence.resident() < 8 * 100_000, "{}", absence.resident());
        // As one of 256 like it, it is no crowd.
        absence.fill(0, 0, &table, 25_600_000);
        let absent = (100_000..110_000_u32).filter(|i| absence.rules_out(spread(*i) >> 8));
        assert!(absent.count() > 9_000);
    }

    /// What the index before it has to say no longer counts.
    #[test]
    fn it_listens_to_the_last_claim_only() {
        let absence = Absence::default();
        let mut table = Table::default();
        table.apply(put(1));
        absence.fill(0, 0, &table, ALL);
        assert!(!absence.rules_out(1) && absence.rules_out(2));
        let own = absence.claim();
        assert!(!absence.rules_out(2), "nothing is known yet");
        absence.fill(0, 0, &table, ALL);
        absence.add(0, 1, &table, ALL);
        assert!(!absence.rules_out(2), "somebody else's");
        table.apply(put(2));
        absence.fill(own, 0, &table, ALL);
        assert!(!absence.rules_out(1) && !absence.rules_out(2) && absence.rules_out(3));
    }

    /// A reader that looks while a filter is made anew rules nothing out that stays.
    #[test]
    fn readers_are_right_while_it_is_made_anew() {
        let absence = Absence::default();
        let mut table = Table::default();
        // Enough that making it takes a while.
        let stays: Vec<u32> = (0..2048).map(|i| spread(i) >> 8).collect();
        for hash in &stays {
            table.apply(put(*hash));
        }
        absence.fill(0, 0, &table, ALL);
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
            (0..4_000).for_each(|_| absence.fill(0, 0, &table, ALL));
            done.store(true, Ordering::Relaxed);
            assert!(readers.into_iter().all(|reader| reader.join().is_ok()));
        });
    }
}
