//! The global index: 256 tables. Opening reads none of them: each is read from the checkpoints when
//! a key of it is first asked for.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::absence::Absence;
use crate::chain::Chain;
use crate::error::Result;
use crate::place::Place;
use crate::queue::lock;
use crate::stats::{add, subtract};
use crate::table::{Candidates, Change, Slot, Table};
use crate::verify::Damage;

pub(crate) const SHARDS: usize = 256;

pub(crate) fn shard_of(hash: u32) -> usize {
    (hash >> 24) as usize
}

/// What happened to a shard that is not loaded yet.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Waiting {
    /// A record behind the checkpoints: what it changes is found out later.
    Record {
        hash: u32,
        place: Place,
        deletes: bool,
    },
    /// What somebody knew already.
    Change(Change),
}

impl Waiting {
    fn hash(&self) -> u32 {
        match self {
            Self::Record { hash, .. } => *hash,
            Self::Change(change) => change.hash,
        }
    }
}

#[derive(Debug, Default)]
struct Shard {
    table: Table,
    /// `Some` until the table is loaded: what comes on top of it, oldest first.
    waiting: Option<Vec<Waiting>>,
}

#[derive(Debug)]
pub(crate) struct Index {
    shards: Box<[RwLock<Shard>]>,
    /// Of the shards that are loaded. Changed under their locks.
    pub(crate) absence: Arc<Absence>,
    /// By what it knows this index.
    claim: AtomicU64,
    /// Entries, those of the shards that are not loaded included.
    keys: AtomicU64,
    chain: Mutex<Option<Arc<Chain>>>,
    unloaded: AtomicUsize,
    /// What the waiting records changed, for the writer's next checkpoint.
    resolved: Mutex<Vec<Change>>,
    /// Some part of the checkpoints was damaged: they must be written anew as a whole.
    broken: AtomicBool,
    /// Damage known of the files behind it.
    pub(crate) damage: Arc<Mutex<Vec<Damage>>>,
}

impl Index {
    /// An empty one. `absence` does not listen to it before it is [claimed](Self::claim_absence).
    pub(crate) fn new(damage: Vec<Damage>, absence: Arc<Absence>) -> Self {
        Self {
            damage: Arc::new(Mutex::new(damage)),
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            absence,
            claim: AtomicU64::new(u64::MAX),
            keys: AtomicU64::new(0),
            chain: Mutex::new(None),
            unloaded: AtomicUsize::new(0),
            resolved: Mutex::new(Vec::new()),
            broken: AtomicBool::new(false),
        }
    }

    /// One whose tables are read from `chain` when they are needed.
    pub(crate) fn of_chain(chain: Chain, absence: Arc<Absence>) -> Self {
        let unread = || Shard {
            table: Table::default(),
            waiting: Some(Vec::new()),
        };
        Self {
            shards: (0..SHARDS).map(|_| RwLock::new(unread())).collect(),
            keys: AtomicU64::new(chain.keys()),
            damage: Arc::clone(&chain.damage),
            chain: Mutex::new(Some(Arc::new(chain))),
            unloaded: AtomicUsize::new(SHARDS),
            ..Self::new(Vec::new(), absence)
        }
    }

    /// Has what tells absent keys forget every other index. From then on nobody may look there on
    /// behalf of another.
    pub(crate) fn claim_absence(&self) {
        self.claim.store(self.absence.claim(), Ordering::Release);
    }

    /// Tells it of the shards that are loaded already.
    pub(crate) fn fill_absence(&self) {
        for shard in 0..SHARDS {
            let known = self.read(shard);
            if known.waiting.is_none() {
                self.absence
                    .fill(self.claim(), shard, &known.table, self.len());
            }
        }
    }

    fn claim(&self) -> u64 {
        self.claim.load(Ordering::Acquire)
    }

    /// The places that may hold a key of this hash.
    ///
    /// # Errors
    /// What the system says when the shard had to be read.
    pub(crate) fn candidates(&self, hash: u32) -> Result<Candidates> {
        let shard = shard_of(hash);
        loop {
            let known = self.read(shard);
            if known.waiting.is_none() {
                return Ok(known.table.candidates(hash));
            }
            drop(known);
            self.load(shard)?;
        }
    }

    /// Loads the shard of `hash`.
    pub(crate) fn ensure(&self, hash: u32) -> Result<()> {
        let shard = shard_of(hash);
        let is_loaded = self.read(shard).waiting.is_none();
        match is_loaded {
            true => Ok(()),
            false => self.load(shard),
        }
    }

    /// Applies a change, at once or when the shard is loaded.
    pub(crate) fn change(&self, change: Change) {
        let mut shard = self.write(shard_of(change.hash));
        if let Some(waiting) = &mut shard.waiting {
            return waiting.push(Waiting::Change(change));
        }
        let before = shard.table.len();
        shard.table.apply(change);
        if change.new.is_some() {
            self.absence
                .add(self.claim(), change.hash, &shard.table, self.len());
        }
        self.count(before, shard.table.len());
    }

    /// Leaves a record to the loading of its shard; false if that is done already.
    pub(crate) fn defer(&self, record: Waiting) -> bool {
        let mut shard = self.write(shard_of(record.hash()));
        match &mut shard.waiting {
            Some(waiting) => waiting.push(record),
            None => return false,
        }
        true
    }

    /// True if the entry of `hash` still is `place`.
    pub(crate) fn points_at(&self, hash: u32, place: Place) -> Result<bool> {
        self.ensure(hash)?;
        Ok(self.read(shard_of(hash)).table.holds(hash, place))
    }

    fn load(&self, shard: usize) -> Result<()> {
        let Some(chain) = lock(&self.chain).clone() else {
            return Ok(());
        };
        let mut unread = self.write(shard);
        let Some(waiting) = &unread.waiting else {
            return Ok(());
        };
        let (mut table, good) = chain.table(shard)?;
        if !good {
            self.broken.store(true, Ordering::Release);
        }
        let before = table.len();
        let changes = chain.settle(&mut table, waiting);
        self.count(before, table.len());
        lock(&self.resolved).extend(changes);
        self.absence.fill(self.claim(), shard, &table, self.len());
        *unread = Shard {
            table,
            waiting: None,
        };
        if self.unloaded.fetch_sub(1, Ordering::AcqRel) == 1 {
            *lock(&self.chain) = None;
        }
        Ok(())
    }

    /// Loads every shard.
    pub(crate) fn load_all(&self) -> Result<()> {
        (0..SHARDS).try_for_each(|shard| self.load(shard))
    }

    /// Loads the shards that records wait for.
    pub(crate) fn settle(&self) -> Result<()> {
        let awaited = |shard: &usize| {
            let waiting = &self.read(*shard).waiting;
            waiting.as_ref().is_some_and(|w| !w.is_empty())
        };
        let awaited: Vec<usize> = (0..SHARDS).filter(awaited).collect();
        awaited.into_iter().try_for_each(|shard| self.load(shard))
    }

    /// What the records that waited changed, since this was last asked.
    pub(crate) fn take_resolved(&self) -> Vec<Change> {
        std::mem::take(&mut *lock(&self.resolved))
    }

    /// True if a part of the checkpoints was found damaged.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// The checkpoints were written anew.
    pub(crate) fn is_whole_again(&self) {
        self.broken.store(false, Ordering::Release);
    }

    fn count(&self, before: usize, after: usize) {
        match after.checked_sub(before) {
            Some(more) => add(&self.keys, more as u64),
            // A file may count fewer than it lists.
            None => subtract(&self.keys, (before - after) as u64),
        }
    }

    /// The entries that point into `segment`. O(entries): for what only damage asks.
    pub(crate) fn entries_of(&self, segment: u32) -> Result<Vec<Slot>> {
        self.load_all()?;
        let all = (0..SHARDS).flat_map(|shard| self.sorted(shard));
        Ok(all.filter(|s| s.place.segment() == segment).collect())
    }

    /// True if any entry points at `place`. O(entries): for telling why a read failed.
    pub(crate) fn holds(&self, place: Place) -> bool {
        (0..SHARDS).any(|i| self.read(i).table.iter().any(|s| s.place == place))
    }

    pub(crate) fn len(&self) -> u64 {
        self.keys.load(Ordering::Relaxed)
    }

    /// Bytes of memory held.
    pub(crate) fn resident(&self) -> usize {
        let tables = (0..SHARDS).map(|i| self.read(i).table.resident());
        tables.sum::<usize>() + SHARDS * size_of::<RwLock<Shard>>() + self.absence.resident()
    }

    /// The entries of one loaded shard, sorted by hash.
    pub(crate) fn sorted(&self, shard: usize) -> Vec<Slot> {
        self.read(shard).table.iter().collect()
    }

    fn read(&self, shard: usize) -> RwLockReadGuard<'_, Shard> {
        self.shards[shard]
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, shard: usize) -> RwLockWriteGuard<'_, Shard> {
        self.shards[shard]
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn change(hash: u32, old: Option<Place>, new: Option<Place>) -> Change {
        Change { hash, old, new }
    }

    fn empty() -> Index {
        Index::new(Vec::new(), Arc::default())
    }

    /// What is changed before a shard was read is there when it is read.
    #[test]
    fn a_change_of_a_shard_that_is_not_loaded_is_kept() {
        let chain = Chain {
            files: Vec::new(),
            members: Vec::new(),
            store_id: 1,
            damage: Arc::default(),
        };
        let index = Index::of_chain(chain, Arc::default());
        let place = |n: u64| Place::new(1, n * 8, 64);
        index.change(change(7, None, Some(place(1))));
        index.change(change(7, Some(place(1)), Some(place(2))));
        let found: Vec<_> = index.candidates(7).unwrap().iter().collect();
        assert_eq!((found, index.len()), (vec![place(2)], 1));
        assert!(index.take_resolved().is_empty(), "whoever changed it knows");
    }

    #[test]
    fn the_table_agrees_with_a_map_under_heavy_collisions() {
        let index = empty();
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
                index.change(change(hash, Some(place), None));
            } else {
                let place = Place::new(1 + step % 100, u64::from(step) * 8, 64);
                places.push(place);
                index.change(change(hash, None, Some(place)));
            }
        }
        for (hash, places) in &model {
            let found: Vec<_> = index.candidates(*hash).unwrap().iter().collect();
            assert_eq!(found.len(), places.len());
            assert!(places.iter().all(|p| found.contains(p)));
        }
        let total: usize = model.values().map(Vec::len).sum();
        assert_eq!(index.len(), total as u64);
    }

    #[test]
    fn memory_stays_below_24_bytes_a_key() {
        let index = empty();
        for i in 0..300_000_u32 {
            let hash = i.wrapping_mul(0x9e37_79b9);
            let place = Place::new(1, u64::from(i) * 8, 64);
            index.change(change(hash, None, Some(place)));
            if i > 200_000 && i % 1000 == 0 {
                assert!(index.resident() <= 24 * i as usize, "{i}");
            }
        }
    }
}
