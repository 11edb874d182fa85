//! What all threads of one store share, and reading versions back.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use crate::backing::Backing;
use crate::block::{Fetcher, Known};
use crate::cipher::Cipher;
use crate::error::{Error, GET, Result};
use crate::ledger::{Ledger, parse_key, segment_key, thread_prefix};
use crate::options::Options;
use crate::readers::Readers;
use crate::replay::Replay;
use crate::segment::{MAX_THREAD, Segment};
use crate::signal::{self, Call, Count};
use crate::stream::Inflater;
use crate::tree::State;
use crate::version::VersionId;
use crate::work::Work;

/// Segments that one restore may walk through before it calls that damage.
const MAX_LINKS: usize = 100_000;
/// Threads kept in memory although nobody has a handle of them.
const CELLS: usize = 4096;
/// Where more than that cannot be forgotten: so many more before it is tried again, since each attempt looks at all.
const MORE_CELLS: usize = 1024;
/// Versions in memory, some 250 bytes each, beyond which threads are forgotten that nobody has a handle of.
const VERSIONS: usize = 1 << 18;
/// Bits of a version's number below the milliseconds: more than there are commits in one.
const WITHIN_MILLI: u32 = 10;
/// Later times do not count, so that numbers never come to their end.
const LAST_MILLI: u64 = 1 << 48;
/// Decoders kept for the next segment.
const INFLATERS: usize = 2;

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One thread in memory. `ledger` is held briefly and never while another lock is taken; `work` for a whole call that
/// changes the thread: a commit, or sealing and pruning it.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) uid: u64,
    pub(crate) name: String,
    pub(crate) ledger: Mutex<Ledger>,
    pub(crate) work: Mutex<Work>,
}

impl Cell {
    /// Versions that it has in memory.
    fn history(&self) -> usize {
        lock(&self.ledger).versions.len()
    }

    /// Nothing would be lost if it were read again.
    fn is_idle(&self) -> bool {
        let Ok(work) = self.work.try_lock() else {
            return false;
        };
        let ledger = lock(&self.ledger);
        let newest = ledger
            .versions
            .keys()
            .next_back()
            .map(|seq| ledger.id(*seq));
        // A segment that an append to failed may hold a version that was never acknowledged; one that is still to be
        // deleted would come back.
        let pending = !ledger.suspects.is_empty() || !ledger.orphans.is_empty();
        // Read again, a thread with damage asks anew which version to go on from.
        let chosen = !ledger.blocked && ledger.hidden().is_some();
        !work.is_changed() && ledger.head == newest && !pending && !chosen
    }
}

#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) backing: Box<dyn Backing>,
    pub(crate) options: Options,
    pub(crate) known: Known,
    cells: Mutex<HashMap<u64, Arc<Cell>>>,
    /// How many of them are not too many.
    most_cells: AtomicUsize,
    /// Versions that may be in memory (some of them may have been deleted), and how many are not too many.
    history: AtomicUsize,
    most_history: usize,
    /// Whoever reads what is stored; it is deleted only after them.
    pub(crate) readers: Readers,
    /// Sealing, pruning, collecting and verifying take turns. Nothing else waits for them, except a call that changes
    /// the very thread they are at.
    pub(crate) turn: Mutex<()>,
    /// Versions that were forked since the present turn began.
    pub(crate) forked: Mutex<Option<BTreeSet<VersionId>>>,
    /// Counts ledgers that were replaced.
    pub(crate) rewritten: AtomicU64,
    streams: Mutex<VecDeque<u64>>,
    inflaters: Mutex<Vec<Inflater>>,
}

/// One segment on the way to a version.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) key: String,
    pub(crate) seq: u64,
    pub(crate) replay: u64,
}

impl Store {
    pub(crate) fn new(backing: Box<dyn Backing>, options: Options) -> Self {
        Self {
            backing,
            options,
            known: Known::default(),
            cells: Mutex::default(),
            most_cells: AtomicUsize::new(CELLS),
            history: AtomicUsize::default(),
            most_history: VERSIONS,
            readers: Readers::default(),
            turn: Mutex::default(),
            forked: Mutex::default(),
            rewritten: AtomicU64::default(),
            streams: Mutex::default(),
            inflaters: Mutex::default(),
        }
    }

    pub(crate) fn cipher(&self) -> Option<&dyn Cipher> {
        self.options.cipher.as_deref()
    }

    pub(crate) fn fetcher(&self) -> Fetcher<'_> {
        let limit = self.options.max_state;
        Fetcher::new(&*self.backing, &self.known, self.cipher(), limit)
    }

    pub(crate) fn get(&self, key: &str) -> Result<Bytes> {
        let stored = self.backing.get(key).map_err(Error::io(GET, key))?;
        stored.ok_or_else(|| Error::missing("segment", key))
    }

    pub(crate) fn segment(&self, key: &str) -> Result<Segment> {
        Segment::parse(key, &self.get(key)?, self.cipher())
    }

    /// The thread of that name, read from the backing at first use.
    pub(crate) fn cell(&self, name: &str) -> Result<Arc<Cell>> {
        if name.is_empty() || name.len() > MAX_THREAD {
            return Err(Error::TooLarge {
                what: "thread id (1 to 512 bytes)",
                limit: MAX_THREAD as u64,
                found: name.len() as u64,
            });
        }
        let cell = self.load_cell(xxh3_64(name.as_bytes()), Some(name))?;
        if cell.name != name {
            let what = format!("the name {name:?}, whose hash is that of {:?},", cell.name);
            return Err(Error::InUse { what });
        }
        Ok(cell)
    }

    /// The same for a thread that is to be deleted: damage that hides even its name is no obstacle.
    pub(crate) fn cell_to_delete(&self, name: &str) -> Result<Arc<Cell>> {
        match self.cell(name) {
            Err(error) if error.is_damage() => {
                self.cell_without_name(xxh3_64(name.as_bytes()), name.to_owned())
            }
            found => found,
        }
    }

    fn cell_without_name(&self, uid: u64, name: String) -> Result<Arc<Cell>> {
        Ok(Arc::new(Cell {
            uid,
            name,
            ledger: Mutex::new(self.read_ledger(uid)?),
            work: Mutex::default(),
        }))
    }

    pub(crate) fn cell_of(&self, uid: u64) -> Result<Arc<Cell>> {
        self.load_cell(uid, None)
    }

    fn load_cell(&self, uid: u64, name: Option<&str>) -> Result<Arc<Cell>> {
        let mut cells = lock(&self.cells);
        if let Some(cell) = cells.get(&uid) {
            return Ok(cell.clone());
        }
        let ledger = self.read_ledger(uid)?;
        let stored = ledger
            .segments
            .values()
            .next()
            .map(|info| info.header.thread.clone());
        if stored.is_none() {
            ledger.unblocked()?;
        }
        let Some(name) = stored.or(name.map(str::to_owned)) else {
            return Err(Error::missing("thread", format!("{uid:016x}")));
        };
        let cell = Arc::new(Cell {
            uid,
            name,
            ledger: Mutex::new(ledger),
            work: Mutex::default(),
        });
        cells.insert(uid, cell.clone());
        let too_many = cells.len() > self.most_cells.load(Ordering::Relaxed);
        if self.remembers(cell.history()) || too_many {
            self.forget_idle(&mut cells);
        }
        Ok(cell)
    }

    /// Forgets threads that nobody has a handle of: all when there are too many of them, else until half of the versions
    /// that may be in memory are left.
    fn forget_idle(&self, cells: &mut HashMap<u64, Arc<Cell>>) {
        let (many, enough) = (cells.len() > CELLS, self.most_history / 2);
        let mut history: usize = cells.values().map(|cell| cell.history()).sum();
        cells.retain(|_, cell| {
            let fits = !many && history <= enough;
            let stays = fits || Arc::strong_count(cell) > 1 || !cell.is_idle();
            if !stays {
                history = history.saturating_sub(cell.history());
            }
            stays
        });
        self.history.store(history.min(enough), Ordering::Relaxed);
        let most = CELLS.max(cells.len() + MORE_CELLS);
        self.most_cells.store(most, Ordering::Relaxed);
    }

    /// Notes that more versions are in memory; whether there are too many.
    pub(crate) fn remembers(&self, versions: usize) -> bool {
        let before = self.history.fetch_add(versions, Ordering::Relaxed);
        before.saturating_add(versions) > self.most_history
    }

    /// Waits for those who are reading, up to a bound; whether they have finished.
    pub(crate) fn outlast_readers(&self) -> bool {
        self.readers.outlast(self.options.patience)
    }

    pub(crate) fn open_cells(&self) -> Vec<Arc<Cell>> {
        lock(&self.cells).values().cloned().collect()
    }

    fn read_ledger(&self, uid: u64) -> Result<Ledger> {
        let prefix = thread_prefix(uid);
        let entries = self
            .backing
            .list(&prefix)
            .map_err(Error::io("list", &prefix))?;
        let mut read = Vec::new();
        for entry in entries {
            if let Some((_, number)) = parse_key(&entry.key) {
                read.push((number, entry.len, self.segment(&entry.key)));
            }
        }
        read.sort_by_key(|(number, ..)| *number);
        let mut ledger = Ledger::load(uid, read)?;
        // Not what follows the newest one: a power cut may have taken versions whose names somebody still has.
        let now = (self.options.clock)().min(LAST_MILLI) << WITHIN_MILLI;
        ledger.next_seq = ledger.next_seq.max(now);
        Ok(ledger)
    }

    /// Every thread that has something stored or is open, by hash.
    pub(crate) fn thread_uids(&self) -> Result<Vec<u64>> {
        let prefix = crate::ledger::PREFIX;
        let entries = self
            .backing
            .list(prefix)
            .map_err(Error::io("list", prefix))?;
        let stored = entries
            .iter()
            .filter_map(|entry| parse_key(&entry.key))
            .map(|(uid, _)| uid);
        let open = self.open_cells();
        let all: BTreeSet<u64> = stored.chain(open.iter().map(|cell| cell.uid)).collect();
        Ok(all.into_iter().collect())
    }

    /// The segments to replay, the version's own first.
    pub(crate) fn chain(&self, id: VersionId) -> Result<Vec<Link>> {
        lock(&self.cell_of(id.thread)?.ledger).entry(id.seq)?;
        self.chain_below(id)
    }

    /// The same for versions that were pruned but are still stored.
    pub(crate) fn chain_below(&self, id: VersionId) -> Result<Vec<Link>> {
        loop {
            let before = self.rewritten.load(Ordering::SeqCst);
            match self.walk(id) {
                // A thread on the way was written anew after the one on top of it was looked at.
                Err(Error::NotFound { .. }) if before != self.rewritten.load(Ordering::SeqCst) => {}
                walked => return walked,
            }
        }
    }

    fn walk(&self, mut id: VersionId) -> Result<Vec<Link>> {
        let mut links = Vec::new();
        loop {
            let cell = self.cell_of(id.thread)?;
            let ledger = lock(&cell.ledger);
            let entry = ledger.stored(id.seq)?;
            let key = segment_key(id.thread, entry.segment);
            if entry.damaged {
                return Err(self.damage(&ledger, entry.segment, &key));
            }
            links.push(Link {
                key,
                seq: id.seq,
                replay: entry.ops_end,
            });
            match ledger.base_of(entry.segment) {
                Some(base) if links.len() < MAX_LINKS => id = base.id,
                Some(_) => {
                    return Err(Error::damaged(
                        &links[0].key,
                        0,
                        "the chain of bases does not end",
                    ));
                }
                None => return Ok(links),
            }
        }
    }

    fn damage(&self, ledger: &Ledger, segment: u64, key: &str) -> Error {
        let flaw = ledger
            .segments
            .get(&segment)
            .and_then(|info| info.flaw.as_ref());
        flaw.map_or_else(
            || Error::damaged(key, 0, "the segment is damaged"),
            |flaw| Error::damaged(key, flaw.offset, flaw.what),
        )
    }

    /// The state at a version, read from the backing and checked.
    pub(crate) fn state(&self, id: VersionId) -> Result<State> {
        lock(&self.cell_of(id.thread)?.ledger).entry(id.seq)?;
        self.state_below(id)
    }

    /// The bytes of a version.
    pub(crate) fn restore(&self, id: VersionId) -> Result<Bytes> {
        signal::during(Call::Restore, || {
            let _reading = self.readers.enter();
            lock(&self.cell_of(id.thread)?.ledger).entry(id.seq)?;
            let (state, home) = self.replayed(id)?;
            let bytes = match home {
                Some(home) => state.into_bytes_within(home, &self.fetcher())?,
                None => state.into_bytes(&self.fetcher())?,
            };
            signal::count(Count::Restored, bytes.len() as u64);
            Ok(bytes)
        })
    }

    /// The same for versions that were pruned but are still stored.
    pub(crate) fn state_below(&self, id: VersionId) -> Result<State> {
        self.replayed(id).map(|(state, _)| state)
    }

    /// The state, and the largest buffer that its texts lie in.
    fn replayed(&self, id: VersionId) -> Result<(State, Option<Bytes>)> {
        let links = self.chain_below(id)?;
        let replay: u64 = links.iter().map(|link| link.replay).sum();
        let limit = self.options.max_state;
        if replay > self.options.most_replay() {
            return Err(Error::TooLarge {
                what: "the data to replay",
                limit,
                found: replay,
            });
        }
        let mut state = State::Empty;
        let mut home: Option<Bytes> = None;
        for link in links.iter().rev() {
            let segment = self.segment(&link.key)?;
            let found = Replay::run(self, &link.key, segment, &mut state, link.seq)?;
            home = home.into_iter().chain(found).max_by_key(Bytes::len);
        }
        // Kept, its window would count among what is held while the state is put together.
        lock(&self.inflaters).clear();
        if state.len() > limit {
            return Err(Error::TooLarge {
                what: "state",
                limit,
                found: state.len(),
            });
        }
        Ok((state, home))
    }

    /// One that was used before, so that its window need not be made again.
    pub(crate) fn inflater(&self) -> Result<Inflater> {
        let kept = lock(&self.inflaters).pop();
        kept.map_or_else(Inflater::new, Ok)
    }

    pub(crate) fn keep_inflater(&self, inflater: Inflater) {
        let mut kept = lock(&self.inflaters);
        if kept.len() < INFLATERS {
            kept.push(inflater);
        }
    }

    /// Notes that a thread's working state, and perhaps its compressor, is in memory; another one has to go for it, and
    /// those that were in use when it was their turn.
    pub(crate) fn keep_stream(&self, uid: u64) {
        let too_many: Vec<u64> = {
            let mut streams = lock(&self.streams);
            if streams.back() == Some(&uid) {
                return;
            }
            streams.retain(|&other| other != uid);
            streams.push_back(uid);
            let over = streams.len().saturating_sub(self.options.max_streams);
            streams.drain(..over).collect()
        };
        too_many
            .into_iter()
            .for_each(|oldest| self.drop_stream(oldest));
    }

    /// Drops what a thread that nobody is using now has in memory.
    fn drop_stream(&self, uid: u64) {
        let cell = lock(&self.cells).get(&uid).cloned();
        if let Some(cell) = cell {
            match cell.work.try_lock() {
                Ok(mut work) if work.is_changed() => work.live = None,
                // What is committed can be read again.
                Ok(mut work) => work.reset(),
                Err(_) => lock(&self.streams).push_front(uid),
            }
        }
    }

    pub(crate) fn ledgers(&self) -> Result<BTreeMap<u64, Arc<Cell>>> {
        let mut all = BTreeMap::new();
        for uid in self.thread_uids()? {
            let cell = match self.cell_of(uid) {
                // No segment of it says its name: damaged, or a first write that did not finish.
                Err(error) if error.is_damage() || matches!(error, Error::NotFound { .. }) => {
                    self.cell_without_name(uid, format!("{uid:016x}"))?
                }
                found => found?,
            };
            all.insert(uid, cell);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryBacking;
    use crate::snapshots::Snapshots;
    use crate::version::CommitOptions;

    #[test]
    fn idle_threads_are_forgotten_when_their_versions_are_too_many() {
        let mut store = Store::new(Box::new(MemoryBacking::new()), Options::new());
        store.most_history = 40;
        let store = Arc::new(store);
        let snapshots = Snapshots { store };
        let held = || {
            let cells = snapshots.store.open_cells();
            cells.iter().map(|cell| cell.history()).sum::<usize>()
        };
        let used = snapshots.thread("used").expect("thread");
        let mut names = vec!["used".to_owned()];
        for n in 0..60 {
            let thread = snapshots.thread(&format!("t{n}")).expect("thread");
            for version in 0..5 {
                let state = format!("[{n},{version}]");
                let commit = thread.commit_full(state.as_bytes(), CommitOptions::new());
                commit.expect("commit");
            }
            names.push(thread.id().to_owned());
            // No more are forgotten than need be.
            assert!((5.min(5 * n)..=50).contains(&held()), "{} versions", held());
        }
        used.commit_full(b"[]", CommitOptions::new())
            .expect("commit");
        // Those that are read again count, too, and the one in use stays.
        for name in &names[1..] {
            let thread = snapshots.thread(name).expect("thread");
            assert_eq!(thread.versions().expect("versions").len(), 5);
            assert!(held() <= 50, "{} versions", held());
        }
        assert!(Arc::ptr_eq(
            &snapshots.thread("used").expect("thread").cell,
            &used.cell
        ));
    }
    #[test]
    fn working_states_that_were_in_use_when_they_had_to_go_go_later() {
        let options = Options::new().max_streams(2);
        let store = Arc::new(Store::new(Box::new(MemoryBacking::new()), options));
        let snapshots = Snapshots { store };
        let kept = || lock(&snapshots.store.streams).len();
        let threads: Vec<_> = (0..8)
            .map(|n| snapshots.thread(&n.to_string()).expect("thread"))
            .collect();
        let commit = |n: usize| {
            let commit = threads[n].commit_full(b"[]", CommitOptions::new());
            commit.expect("commit");
        };
        (0..2).for_each(commit);
        let busy = (lock(&threads[0].cell.work), lock(&threads[1].cell.work));
        (2..5).for_each(commit);
        assert!(kept() > 2, "two of them are in use");
        drop(busy);
        (5..8).for_each(commit);
        assert_eq!(kept(), 2);
    }

    #[test]
    fn threads_that_are_all_in_use_are_not_looked_at_each_time() {
        let store = Arc::new(Store::new(Box::new(MemoryBacking::new()), Options::new()));
        let held: Vec<_> = (0..CELLS + 10)
            .map(|n| store.cell(&n.to_string()).expect("thread"))
            .collect();
        let most = store.most_cells.load(Ordering::Relaxed);
        assert!(most > held.len() + 1000, "{most}");
        drop(held);
        for n in 0..MORE_CELLS {
            store.cell(&format!("other {n}")).expect("thread");
        }
        assert!(lock(&store.cells).len() <= MORE_CELLS);
    }

    #[test]
    fn a_thread_whose_damage_was_gone_on_from_is_not_asked_for_anew() {
        let backing = Arc::new(MemoryBacking::new());
        let open = || {
            let mut store = Store::new(Box::new(backing.clone()), Options::new());
            store.most_history = 0;
            let store = Arc::new(store);
            Snapshots { store }
        };
        for state in ["[1]", "[2]"] {
            let thread = open().thread("t").expect("thread");
            let commit = thread.commit_full(state.as_bytes(), CommitOptions::new());
            commit.expect("commit");
        }
        let key = segment_key(xxh3_64(b"t"), 2);
        backing.put(&key, b"no segment at all").expect("put");
        let snapshots = open();
        let thread = || snapshots.thread("t").expect("thread");
        let commit = || thread().commit_full(b"[3]", CommitOptions::new());
        assert!(commit().is_err_and(|error| error.is_damage()));
        let versions = thread().versions().expect("versions");
        thread().checkout(versions[0].id).expect("checkout");
        // Forgets what is idle.
        snapshots.thread("other").expect("thread");
        commit().expect("what was chosen holds");
        snapshots.thread("another").expect("thread");
        commit().expect("and goes on to hold");
    }
}
