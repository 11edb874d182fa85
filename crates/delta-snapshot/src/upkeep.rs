//! What happens to old versions: sealing, pruning, retention, deleting threads, collecting garbage.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::garbage::{gc, still_read};
use crate::ledger::Ledger;
use crate::rewrite::{delete_orphans, rewrite, segment_keys};
use crate::signal::{self, Call, Count};
use crate::snapshots::Snapshots;
use crate::store::{Cell, Store, lock};
use crate::thread::Thread;
use crate::version::{Version, VersionId};

/// What [`Thread::prune`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PruneReport {
    /// Versions that are gone.
    pub removed: u64,
    /// Versions that are left.
    pub kept: u64,
    /// Versions that were to go and stay because a fork is stored on top of them.
    pub kept_for_forks: Vec<VersionId>,
    /// Stored bytes of the thread before.
    pub bytes_before: u64,
    /// Stored bytes of the thread after.
    pub bytes_after: u64,
}

/// What [`Snapshots::gc`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GcReport {
    /// Blocks that nothing refers to.
    pub blocks: u64,
    /// Segments that were replaced by others, and tails of writes that never finished.
    pub segments: u64,
    /// Bytes given back.
    pub bytes: u64,
}

/// Which versions stay; [`Retention::new`] has the defaults.
#[derive(Debug, Clone)]
pub struct Retention {
    compress_after: Duration,
    delete_after: Duration,
    max_bytes: Option<u64>,
    keep_labelled: bool,
}

impl Default for Retention {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            compress_after: 7 * DAY,
            delete_after: 30 * DAY,
            max_bytes: None,
            keep_labelled: true,
        }
    }
}

impl Retention {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Threads whose newest version is older are sealed; default 7 days.
    #[must_use]
    pub fn compress_after(mut self, age: Duration) -> Self {
        self.compress_after = age;
        self
    }

    /// Older versions are deleted, a thread's head excepted; default 30 days.
    #[must_use]
    pub fn delete_after(mut self, age: Duration) -> Self {
        self.delete_after = age;
        self
    }

    /// While more is stored, threads are cut down to their heads (and labelled versions), the longest unused first;
    /// default no quota. While damage, or a reader that takes too long, keeps garbage from being collected, no thread is
    /// cut down for it.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Whether versions with a label stay whatever their age; default yes.
    #[must_use]
    pub fn keep_labelled(mut self, keep: bool) -> Self {
        self.keep_labelled = keep;
        self
    }
}

/// What [`Snapshots::retain`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetainReport {
    /// Threads that were sealed.
    pub sealed: u64,
    /// Versions that were deleted.
    pub removed: u64,
    /// Stored bytes afterwards.
    pub bytes: u64,
    /// False when the quota cannot be met without deleting heads, or because garbage cannot be collected.
    pub within_quota: bool,
    /// Threads that were left as they are, and why; an empty name stands for the collection of garbage.
    pub failed: Vec<(String, String)>,
}

impl RetainReport {
    /// Damage of one thread is no reason to stop; a backing that fails is.
    fn note(&mut self, thread: &str, done: Result<()>) -> Result<()> {
        match done {
            Ok(()) => Ok(()),
            Err(error) if error.is_outage() => Err(error),
            Err(error) => {
                let named = self.failed.iter().any(|(name, _)| name == thread);
                if !named {
                    self.failed.push((thread.to_owned(), error.to_string()));
                }
                Ok(())
            }
        }
    }
}

impl Thread {
    /// Compresses all versions together: smaller, and restored as before. The next commit starts a new segment.
    ///
    /// Cost: reading, checking and compressing the thread once. Commits to this thread wait for it; restores, and
    /// whatever concerns other threads, go on.
    ///
    /// # Errors
    /// [`Error::Damaged`] when a version cannot be restored (nothing is deleted then), and [`Error::Io`].
    pub fn seal(&self) -> Result<()> {
        signal::during(Call::Seal, || {
            let _turn = Turn::begin(&self.store);
            seal(&self.store, &self.cell)
        })
    }

    /// Deletes the versions for which `keep` says no. The head stays, and so does what forks are stored on top of.
    /// What is committed while `keep` is being asked stays, too.
    ///
    /// The kept versions are written anew and checked before anything is deleted: whatever call is the last one
    /// before a crash, every kept version can be restored. Cost: as for [`seal`](Self::seal).
    ///
    /// # Errors
    /// As for [`seal`](Self::seal). After an error call it again: it goes on where it stopped.
    pub fn prune(&self, mut keep: impl FnMut(&Version) -> bool) -> Result<PruneReport> {
        // Asked before anything is locked, so that `keep` may look into versions.
        let mut versions = self.versions()?;
        versions.retain(|version| !keep(version));
        let name = |version: &Version| (version.id, version.time, version.size);
        let unwanted: BTreeSet<_> = versions.iter().map(name).collect();
        signal::during(Call::Prune, || {
            let turn = Turn::begin(&self.store);
            let pins = turn.pins()?;
            prune(&self.store, self, &pins, |version| {
                !unwanted.contains(&name(version))
            })
        })
    }
}

impl Snapshots {
    /// Applies a retention to all threads; `now` in milliseconds since the Unix epoch. Call it every half hour or so
    /// ([`Sweeper`](crate::Sweeper) does).
    ///
    /// A thread that is damaged is left as it is and named in the report; the others are seen to. Commits, restores and
    /// forks go on meanwhile, except that changing a thread waits while that thread is written anew.
    ///
    /// # Errors
    /// When the backing fails; what was done until then stays done.
    pub fn retain(&self, retention: &Retention, now: u64) -> Result<RetainReport> {
        signal::during(Call::Retain, || self.retained(retention, now))
    }

    fn retained(&self, retention: &Retention, now: u64) -> Result<RetainReport> {
        let turn = Turn::begin(&self.store);
        let mut report = RetainReport::default();
        let mut cells: Vec<Arc<Cell>> = self.store.ledgers()?.into_values().collect();
        cells.sort_by_key(|cell| newest(cell));
        let older =
            |time: u64, age: Duration| u128::from(now.saturating_sub(time)) > age.as_millis();
        let labelled = |version: &Version| retention.keep_labelled && version.label.is_some();
        // Pruning one thread takes pins from others and never adds one; forks that are made meanwhile are noted.
        let pins = turn.pins()?;
        for cell in &cells {
            let thread = self.thread_of(cell);
            let keep = |version: &Version| {
                labelled(version) || !older(version.time, retention.delete_after)
            };
            let old = older(newest(cell), retention.compress_after);
            let done = prune(&self.store, &thread, &pins, keep).and_then(|pruned| {
                report.removed += pruned.removed;
                if old && !is_sealed(cell) {
                    seal(&self.store, cell)?;
                    report.sealed += 1;
                }
                Ok(())
            });
            report.note(&cell.name, done)?;
        }
        let quota = retention.max_bytes.unwrap_or(u64::MAX);
        let collect = || match gc(&self.store)? {
            (_, true) => Ok(()),
            (_, false) => Err(still_read()),
        };
        let mut collected = collect();
        for cell in &cells {
            // What cannot be collected is no reason to cut one thread after the other.
            if collected.is_err() || stored_bytes(&self.store)? <= quota {
                break;
            }
            let done = prune(&self.store, &self.thread_of(cell), &pins, labelled);
            let done = done.map(|pruned| report.removed += pruned.removed);
            report.note(&cell.name, done)?;
            collected = collect();
        }
        report.note("", collected)?;
        report.bytes = stored_bytes(&self.store)?;
        report.within_quota = report.bytes <= quota;
        Ok(report)
    }

    /// Deletes a thread with all its versions, damaged ones too. Waits for who is still reading
    /// ([`Options::reader_patience`](crate::Options::reader_patience)); a commit that comes meanwhile begins the thread
    /// anew and stays.
    ///
    /// # Errors
    /// [`Error::InUse`] when a fork is stored on top of one of them, and when somebody reads for longer than that: the
    /// versions are gone then, and come back with the next process unless this or [`gc`](Self::gc) is called again.
    pub fn delete_thread(&self, id: &str) -> Result<()> {
        let turn = Turn::begin(&self.store);
        let cell = self.store.cell_to_delete(id)?;
        let mut work = lock(&cell.work);
        let leaving = lock(&cell.ledger).versions.keys().copied().collect();
        let leaving = Leaving::say(&cell, leaving);
        if !pinned(&self.store, &turn.pins()?, cell.uid).is_empty() {
            let what = format!("the thread {id:?} (forks are stored on top of it)");
            return Err(Error::InUse { what });
        }
        work.reset();
        forget_all(&self.store, &cell)?;
        // Whoever is still reading may commit meanwhile: that begins the thread anew.
        drop((leaving, work));
        delete_orphans(&self.store, &cell)?;
        match lock(&cell.ledger).orphans.is_empty() {
            true => Ok(()),
            false => Err(still_read()),
        }
    }

    /// Deletes blocks that no version refers to, replaced segments and unfinished tails that a crash has left.
    ///
    /// Cost: reads every thread once. Commits, restores and forks go on meanwhile.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Damaged`] when a segment cannot be read (then nobody knows what it refers to, and no
    /// block is deleted).
    pub fn gc(&self) -> Result<GcReport> {
        signal::during(Call::Gc, || {
            let _turn = Turn::begin(&self.store);
            gc(&self.store).map(|(report, _)| report)
        })
    }

    fn thread_of(&self, cell: &Arc<Cell>) -> Thread {
        Thread {
            store: self.store.clone(),
            cell: cell.clone(),
        }
    }
}

/// Notes for deletion all that is stored of a thread. What the ledger has no version of goes first (segments that
/// others replace, writes that failed): it would come back as versions. Of the rest the newest goes first: what is left
/// after a crash is a thread with fewer versions.
fn forget_all(store: &Store, cell: &Cell) -> Result<()> {
    let mut keys = segment_keys(store, cell)?;
    let mut ledger = lock(&cell.ledger);
    // The last one is deleted first.
    keys.sort_by_key(|(number, _)| (!ledger.segments.contains_key(number), *number));
    *ledger = Ledger {
        next_segment: ledger.next_segment,
        next_seq: ledger.next_seq,
        orphans: keys.into_iter().map(|(_, key)| key).collect(),
        ..Ledger::new(cell.uid)
    };
    Ok(())
}

fn newest(cell: &Cell) -> u64 {
    let ledger = lock(&cell.ledger);
    ledger
        .entries()
        .map(|entry| entry.meta.time)
        .max()
        .unwrap_or(0)
}

fn is_sealed(cell: &Cell) -> bool {
    lock(&cell.ledger).segments.values().all(|info| info.sealed)
}

pub(crate) fn stored_bytes(store: &Store) -> Result<u64> {
    let entries = store.backing.list("").map_err(Error::io("list", ""))?;
    Ok(entries.iter().map(|entry| entry.len).sum())
}

fn bytes_of(store: &Store, cell: &Cell) -> Result<u64> {
    let prefix = crate::ledger::thread_prefix(cell.uid);
    let entries = store
        .backing
        .list(&prefix)
        .map_err(Error::io("list", &prefix))?;
    Ok(entries.iter().map(|entry| entry.len).sum())
}

fn seal(store: &Store, cell: &Cell) -> Result<()> {
    let mut work = lock(&cell.work);
    let keep: BTreeSet<u64> = lock(&cell.ledger)
        .entries()
        .map(|entry| entry.meta.seq)
        .collect();
    if keep.is_empty() {
        return Ok(());
    }
    rewrite(store, cell, &mut work, &keep)?;
    // Commits go on while the last readers finish.
    drop(work);
    delete_orphans(store, cell).map(drop)
}

fn prune(
    store: &Store,
    thread: &Thread,
    pins: &Pins,
    mut keep: impl FnMut(&Version) -> bool,
) -> Result<PruneReport> {
    let cell = &thread.cell;
    let mut work = lock(&cell.work);
    let versions = thread.versions()?;
    let head = thread.head();
    let mut report = PruneReport {
        bytes_before: bytes_of(store, cell)?,
        ..PruneReport::default()
    };
    let mut unwanted: BTreeSet<u64> = versions
        .iter()
        .filter(|version| Some(version.id) != head && !keep(version))
        .map(|version| version.id.seq)
        .collect();
    // Said before forks are asked for: who forks later finds it, who forked before is found.
    let leaving = Leaving::say(cell, unwanted.clone());
    for seq in pinned(store, pins, cell.uid) {
        if unwanted.remove(&seq) {
            report.kept_for_forks.push(lock(&cell.ledger).id(seq));
        }
    }
    let kept: BTreeSet<u64> = versions
        .iter()
        .map(|version| version.id.seq)
        .filter(|seq| !unwanted.contains(seq))
        .collect();
    report.kept = kept.len() as u64;
    report.removed = versions.len() as u64 - report.kept;
    let unfinished = lock(&cell.ledger)
        .versions
        .values()
        .any(|entry| entry.dropped);
    if (report.removed > 0 || unfinished) && !kept.is_empty() {
        rewrite(store, cell, &mut work, &kept)?;
    }
    drop((leaving, work));
    delete_orphans(store, cell)?;
    report.bytes_after = bytes_of(store, cell)?;
    signal::count(Count::Pruned, report.removed);
    Ok(report)
}

/// Versions that segments or heads of other threads are based on, by thread.
type Pins = HashMap<u64, BTreeSet<u64>>;

/// The right to delete: one at a time. While it lasts, forks and blocks that are given are noted.
struct Turn<'a> {
    store: &'a Store,
    _alone: MutexGuard<'a, ()>,
}

impl<'a> Turn<'a> {
    fn begin(store: &'a Store) -> Self {
        let alone = lock(&store.turn);
        *lock(&store.forked) = Some(BTreeSet::new());
        store.known.watch(true);
        Self {
            store,
            _alone: alone,
        }
    }

    fn pins(&self) -> Result<Pins> {
        let mut pins = Pins::new();
        for cell in self.store.ledgers()?.into_values() {
            let ledger = lock(&cell.ledger);
            let bases = ledger
                .segments
                .values()
                .filter_map(|info| info.header.parent.as_ref());
            let ids = bases
                .filter(|parent| parent.is_base)
                .map(|parent| parent.id)
                .chain(ledger.head);
            for id in ids.filter(|id| id.thread != cell.uid) {
                pins.entry(id.thread).or_default().insert(id.seq);
            }
        }
        Ok(pins)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *lock(&self.store.forked) = None;
        self.store.known.watch(false);
    }
}

/// The pins of one thread, with those of forks that were made since the turn began.
fn pinned(store: &Store, pins: &Pins, uid: u64) -> BTreeSet<u64> {
    let mut pinned = pins.get(&uid).cloned().unwrap_or_default();
    let forked = lock(&store.forked);
    let forked = forked.iter().flatten().filter(|id| id.thread == uid);
    pinned.extend(forked.map(|id| id.seq));
    pinned
}

/// Versions that are about to go: nobody may fork them, until this is dropped.
struct Leaving<'a>(&'a Cell);

impl<'a> Leaving<'a> {
    fn say(cell: &'a Cell, versions: BTreeSet<u64>) -> Self {
        lock(&cell.ledger).leaving = versions;
        Self(cell)
    }
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        lock(&self.0.ledger).leaving.clear();
    }
}
