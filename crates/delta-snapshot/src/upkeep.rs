//! What happens to old versions: sealing, pruning, retention, deleting threads, collecting garbage.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::block;
use crate::error::{Error, Result};
use crate::ledger::segment_key;
use crate::rewrite::{delete_orphans, rewrite, segment_keys};
use crate::signal::{self, Call, Count};
use crate::snapshots::Snapshots;
use crate::store::{Cell, Store, lock};
use crate::text::BlockId;
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
    /// default no quota. While damage keeps garbage from being collected, no thread is cut down for it.
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
            Err(error @ Error::Io { .. }) => Err(error),
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
    /// Cost: reading, checking and compressing the thread once.
    ///
    /// # Errors
    /// [`Error::Damaged`] when a version cannot be restored (nothing is deleted then), and [`Error::Io`].
    pub fn seal(&self) -> Result<()> {
        signal::during(Call::Seal, || {
            let _alone = self.store.alone();
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
            let _alone = self.store.alone();
            let pins = pins(&self.store)?;
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
    /// A thread that is damaged is left as it is and named in the report; the others are seen to.
    ///
    /// # Errors
    /// When the backing fails; what was done until then stays done.
    pub fn retain(&self, retention: &Retention, now: u64) -> Result<RetainReport> {
        signal::during(Call::Retain, || self.retained(retention, now))
    }

    fn retained(&self, retention: &Retention, now: u64) -> Result<RetainReport> {
        let _alone = self.store.alone();
        let mut report = RetainReport::default();
        let mut cells: Vec<Arc<Cell>> = self.store.ledgers()?.into_values().collect();
        cells.sort_by_key(|cell| newest(cell));
        let older =
            |time: u64, age: Duration| u128::from(now.saturating_sub(time)) > age.as_millis();
        let labelled = |version: &Version| retention.keep_labelled && version.label.is_some();
        // Pruning one thread takes pins from others and never adds one.
        let pins = pins(&self.store)?;
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
        let mut collected = gc(&self.store).map(drop);
        for cell in &cells {
            // What cannot be collected is no reason to cut one thread after the other.
            if collected.is_err() || stored_bytes(&self.store)? <= quota {
                break;
            }
            let done = prune(&self.store, &self.thread_of(cell), &pins, labelled);
            let done = done.map(|pruned| report.removed += pruned.removed);
            report.note(&cell.name, done)?;
            collected = gc(&self.store).map(drop);
        }
        report.note("", collected)?;
        report.bytes = stored_bytes(&self.store)?;
        report.within_quota = report.bytes <= quota;
        Ok(report)
    }

    /// Deletes a thread with all its versions, damaged ones too.
    ///
    /// # Errors
    /// [`Error::InUse`] when a fork is stored on top of one of them.
    pub fn delete_thread(&self, id: &str) -> Result<()> {
        let _alone = self.store.alone();
        let cell = self.store.cell_to_delete(id)?;
        if pins(&self.store)?.contains_key(&cell.uid) {
            let what = format!("the thread {id:?} (forks are stored on top of it)");
            return Err(Error::InUse { what });
        }
        lock(&cell.work).reset();
        forget_strays(&self.store, &cell)?;
        delete_orphans(&self.store, &cell)?;
        loop {
            // The newest first: what is left after a crash is a thread with fewer versions.
            let newest = lock(&cell.ledger).segments.keys().next_back().copied();
            let Some(number) = newest else { break };
            let key = segment_key(cell.uid, number);
            self.store
                .backing
                .delete(&key)
                .map_err(Error::io("delete", &key))?;
            let mut ledger = lock(&cell.ledger);
            ledger.segments.remove(&number);
            ledger.versions.retain(|_, entry| entry.segment != number);
            ledger.head = None;
        }
        Ok(())
    }

    /// Deletes blocks that no version refers to, replaced segments and unfinished tails that a crash has left.
    ///
    /// Cost: reads every thread once.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Damaged`] when a segment cannot be read (then nobody knows what it refers to, and no
    /// block is deleted).
    pub fn gc(&self) -> Result<GcReport> {
        signal::during(Call::Gc, || {
            let _alone = self.store.alone();
            gc(&self.store)
        })
    }

    fn thread_of(&self, cell: &Arc<Cell>) -> Thread {
        Thread {
            store: self.store.clone(),
            cell: cell.clone(),
        }
    }
}

/// Notes for deletion what the ledger has no version of: segments that cannot be read, and writes that failed. Left
/// behind they would block the name, or come back as versions.
fn forget_strays(store: &Store, cell: &Cell) -> Result<()> {
    let keys = segment_keys(store, cell)?;
    let mut ledger = lock(&cell.ledger);
    let strays = keys
        .into_iter()
        .filter(|(number, _)| !ledger.segments.contains_key(number));
    ledger.orphans = strays.map(|(_, key)| key).collect();
    ledger.unreadable.clear();
    ledger.suspects.clear();
    ledger.blocked = false;
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

fn stored_bytes(store: &Store) -> Result<u64> {
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
    let keep: BTreeSet<u64> = lock(&cell.ledger)
        .entries()
        .map(|entry| entry.meta.seq)
        .collect();
    if keep.is_empty() {
        return Ok(());
    }
    rewrite(store, cell, &keep)
}

fn prune(
    store: &Store,
    thread: &Thread,
    pins: &Pins,
    mut keep: impl FnMut(&Version) -> bool,
) -> Result<PruneReport> {
    let cell = &thread.cell;
    let versions = thread.versions()?;
    let head = thread.head();
    let pinned = pins.get(&cell.uid).cloned().unwrap_or_default();
    let mut report = PruneReport {
        bytes_before: bytes_of(store, cell)?,
        ..PruneReport::default()
    };
    let mut kept = BTreeSet::new();
    for version in &versions {
        let wanted = keep(version) || Some(version.id) == head;
        if !wanted && pinned.contains(&version.id.seq) {
            report.kept_for_forks.push(version.id);
        }
        if wanted || pinned.contains(&version.id.seq) {
            kept.insert(version.id.seq);
        }
    }
    report.kept = kept.len() as u64;
    report.removed = versions.len() as u64 - report.kept;
    let unfinished = lock(&cell.ledger)
        .versions
        .values()
        .any(|entry| entry.dropped);
    if (report.removed > 0 || unfinished) && !kept.is_empty() {
        rewrite(store, cell, &kept)?;
    } else {
        delete_orphans(store, cell)?;
    }
    report.bytes_after = bytes_of(store, cell)?;
    signal::count(Count::Pruned, report.removed);
    Ok(report)
}

/// Versions that segments or heads of other threads are based on, by thread.
type Pins = HashMap<u64, BTreeSet<u64>>;

fn pins(store: &Store) -> Result<Pins> {
    let mut pins = Pins::new();
    for cell in store.ledgers()?.into_values() {
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

fn gc(store: &Store) -> Result<GcReport> {
    let mut report = GcReport::default();
    let before = stored_bytes(store)?;
    let mut damaged = None;
    let mut used: HashSet<BlockId> = HashSet::new();
    for cell in store.ledgers()?.into_values() {
        report.segments += lock(&cell.ledger).orphans.len() as u64;
        delete_orphans(store, &cell)?;
        match mend_tails(store, &cell) {
            Ok(mended) => report.segments += mended,
            Err(error @ Error::Io { .. }) => return Err(error),
            // The other threads are still seen to, but no block is deleted.
            Err(error) => drop(damaged.get_or_insert(error)),
        }
        used.extend(lock(&cell.work).pending_blocks());
        let ledger = lock(&cell.ledger);
        let blocks = ledger
            .versions
            .values()
            .flat_map(|entry| &entry.meta.blocks);
        used.extend(blocks.map(|block| block.id));
    }
    if let Some(error) = damaged {
        return Err(error);
    }
    let prefix = block::PREFIX;
    for entry in store
        .backing
        .list(prefix)
        .map_err(Error::io("list", prefix))?
    {
        let unused = block::id_of(&entry.key).is_some_and(|id| !used.contains(&id));
        if unused {
            // Forgotten first: after a failed delete the block is looked for again.
            store.known.clear();
            store
                .backing
                .delete(&entry.key)
                .map_err(Error::io("delete", &entry.key))?;
            report.blocks += 1;
        }
    }
    report.bytes = before.saturating_sub(stored_bytes(store)?);
    signal::count(Count::Freed, report.bytes);
    Ok(report)
}

/// Looks again at segments that an append to failed in this process.
fn recheck(store: &Store, cell: &Cell) -> Result<u64> {
    let mut removed = 0;
    loop {
        let Some(number) = lock(&cell.ledger).suspects.last().copied() else {
            return Ok(removed);
        };
        let key = segment_key(cell.uid, number);
        if !lock(&cell.ledger).segments.contains_key(&number) {
            // Its first write was reported as failed: whatever is there belongs to no version.
            store
                .backing
                .delete(&key)
                .map_err(Error::io("delete", &key))?;
            removed += 1;
        } else {
            // What stands behind the last acknowledged version belongs to none.
            let acknowledged = lock(&cell.ledger)
                .segments
                .get(&number)
                .map_or(u64::MAX, |info| info.stored);
            let bytes = store.get(&key)?;
            if bytes.len() as u64 > acknowledged {
                store
                    .backing
                    .put(&key, &bytes[..acknowledged as usize])
                    .map_err(Error::io("put", &key))?;
                removed += 1;
            }
            let flaw = store.segment(&key)?.flaw;
            if let Some(info) = lock(&cell.ledger).segments.get_mut(&number) {
                info.flaw = flaw;
            }
        }
        lock(&cell.ledger).suspects.remove(&number);
    }
}

/// Cuts off what a write that never finished has left. Damage that is no tail is left alone, and reported.
fn mend_tails(store: &Store, cell: &Cell) -> Result<u64> {
    let mut mended = recheck(store, cell)?;
    loop {
        let found = {
            let ledger = lock(&cell.ledger);
            if let Some(bad) = ledger.unreadable.iter().find(|bad| !bad.torn) {
                return Err(Error::damaged(&bad.key, bad.offset as usize, bad.what));
            }
            let torn = |(number, info): (&u64, &crate::ledger::SegmentInfo)| {
                let flaw = info.flaw.as_ref()?;
                Some((*number, flaw.clone()))
            };
            let bad = ledger.unreadable.last().map(|bad| bad.key.clone());
            (ledger.segments.iter().find_map(torn), bad)
        };
        match found {
            (_, Some(key)) => {
                store
                    .backing
                    .delete(&key)
                    .map_err(Error::io("delete", &key))?;
                lock(&cell.ledger).unreadable.pop();
            }
            (Some((number, flaw)), _) => {
                let key = segment_key(cell.uid, number);
                if !flaw.tail {
                    return Err(Error::damaged(&key, flaw.offset, flaw.what));
                }
                let bytes = store.get(&key)?;
                let good = bytes.slice(..flaw.offset.min(bytes.len()));
                store
                    .backing
                    .put(&key, &good)
                    .map_err(Error::io("put", &key))?;
                if let Some(info) = lock(&cell.ledger).segments.get_mut(&number) {
                    info.flaw = None;
                    info.stored = good.len() as u64;
                }
            }
            (None, None) => return Ok(mended),
        }
        mended += 1;
    }
}
