use std::any::Any;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use arc_swap::ArcSwap;
use bytes::Bytes;

use crate::absence::Absence;
use crate::batch::{Batch, Condition, Request};
use crate::error::{Error, Result};
use crate::flusher::Flusher;
use crate::footer::Order;
use crate::insertion::ScanInserted;
use crate::janitor::Janitor;
use crate::lazy::LazyRecord;
use crate::options::{Durability, Options};
use crate::packing::Packing;
use crate::queue::{Queue, lock};
use crate::record::{HEADER, Kind};
use crate::recover;
use crate::scan::Scan;
use crate::segment::Segment;
use crate::stats::{Counters, Stats, add, get};
use crate::storage::Storage;
use crate::telemetry::{self, span};
use crate::verify::Damage;
use crate::view::View;
use crate::writer::Writer;

/// An open store: ordered keys with values in one directory.
///
/// A clone is another handle of the same store and costs one reference count. All methods take
/// `&self` and may be called from any number of threads. Writes of concurrent callers share one
/// write and one sync. See the [crate's documentation](crate) for what each mode guarantees.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
    _alive: Arc<Alive>,
}

/// Closes the store when the last handle (or scan) goes, whoever else holds its insides just then.
struct Alive(Arc<Inner>);

impl Drop for Alive {
    fn drop(&mut self) {
        let _ = self.0.close();
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("storage", &self.inner.storage)
            .field("stats", &self.stats())
            .finish()
    }
}

pub(crate) struct Inner {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) options: Options,
    pub(crate) store_id: u64,
    pub(crate) view: ArcSwap<View>,
    /// What the present view's index rules out. A refresh hands it to the next one.
    pub(crate) absence: Arc<Absence>,
    /// The keys of the active segment in order; `None` until somebody needs them. A change of the
    /// view or of the active segment's contents happens under this lock.
    pub(crate) order: Mutex<Option<Order>>,
    pub(crate) queue: Queue,
    pub(crate) writer: Mutex<Writer>,
    /// Held by a compaction, so that there is one at a time.
    pub(crate) compacting: Mutex<()>,
    /// Held while the index's files are merged.
    pub(crate) merging: Mutex<()>,
    /// Held while what changed in the index is saved beside the writers.
    pub(crate) saving: Mutex<()>,
    /// Saving what changed is due.
    pub(crate) due_index: AtomicBool,
    /// Merging them pays.
    pub(crate) long_index: AtomicBool,
    pub(crate) poison: OnceLock<Arc<io::Error>>,
    /// Held during a sync of the log.
    pub(crate) syncing: Mutex<()>,
    pub(crate) closed: AtomicBool,
    pub(crate) counters: Counters,
    pub(crate) flusher: Flusher,
    pub(crate) janitor: Janitor,
    /// A compaction should come to an end.
    pub(crate) closing: AtomicBool,
    pub(crate) guard: Mutex<Option<Box<dyn Any + Send + Sync>>>,
}

impl Store {
    pub(crate) fn open(options: Options, storage: Arc<dyn Storage>) -> Result<Self> {
        span!("mmap_store.open");
        let interval = match options.durability {
            Durability::Interval(every) if !options.read_only => Some(every),
            _ => None,
        };
        let inner = Arc::new(recover::open(options, storage)?);
        if let Some(every) = interval {
            inner.flusher.start(&inner, every)?;
            // How old it is, what a killed writer left behind, nobody knows.
            inner.flusher.hurry();
        }
        if let Some(percent) = inner
            .options
            .compact_above
            .filter(|_| !inner.options.read_only)
        {
            inner.janitor.start(&inner, percent)?;
            inner.janitor.wake();
        }
        let _alive = Arc::new(Alive(Arc::clone(&inner)));
        Ok(Self { inner, _alive })
    }

    /// The value of `key`. One read of the file and one check of the record; no read when the
    /// segment is [mapped](Options::mapped).
    ///
    /// # Errors
    /// [`Error::Damaged`] when the record is not what was written; [`Error::Io`].
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        telemetry::get(|| self.inner.get(key))
    }

    /// The value of `key` as a [`LazyRecord`], of which only the directory is read: each field is
    /// read, and checked by its own check, when it is first touched. A value that is compressed is
    /// read whole.
    ///
    /// # Errors
    /// As [`get`](Self::get), and [`Error::Damaged`] when the value is no lazy record.
    pub fn get_lazy(&self, key: &[u8]) -> Result<Option<LazyRecord>> {
        loop {
            let (place, header) = match self.inner.locate(key, false)? {
                Some((place, Some(header))) if !header.packed => (place, header),
                Some(_) => return self.get(key)?.map(LazyRecord::parse).transpose(),
                None => return Ok(None),
            };
            // Else a compaction has just moved it.
            if let Some(segment) = self.inner.view.load().segment(place) {
                let at = place.offset() + (HEADER + key.len()) as u64;
                return LazyRecord::of_segment(segment, at, header.value_len as usize).map(Some);
            }
        }
    }

    /// True if `key` exists. Reads its record's header and key, and checks only the former.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn contains(&self, key: &[u8]) -> Result<bool> {
        match self.inner.locate(key, false)? {
            Some((_, Some(header))) => Ok(header.kind == Kind::Put),
            Some((place, None)) => Err(Error::damaged(
                crate::segment::file_name(place.segment()),
                place.offset(),
                "a record's header fails its check",
            )),
            None => Ok(false),
        }
    }

    /// Sets `key` to `value`. Keys have at most 65,535 bytes, values 4 GiB − 1.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::ReadOnly`], [`Error::Closed`], [`Error::Poisoned`], or
    /// [`Error::Io`]: then the write may or may not be found after the next opening, but this
    /// handle does not show it. After a full disk ([`Error::is_full`]) one may try again.
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        let mut request = Request::new(Condition::Always);
        request.push(self.inner.packing(), Kind::Put, key, value)?;
        self.submit(request).map(drop)
    }

    /// Removes `key`; true if it existed.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn delete(&self, key: &[u8]) -> Result<bool> {
        let mut request = Request::new(Condition::Present);
        request.push(self.inner.packing(), Kind::Delete, key, &[])?;
        self.submit(request)
    }

    /// Sets `key` to `new` (or removes it, for `None`) if its value is `expected` (or it does not
    /// exist, for `None`). True if it did so.
    ///
    /// # Errors
    /// As [`put`](Self::put) and [`get`](Self::get).
    pub fn compare_and_set(
        &self,
        key: &[u8],
        expected: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<bool> {
        let expected = expected.map(Bytes::copy_from_slice);
        let mut request = Request::new(Condition::Equals(key.into(), expected));
        let (kind, value) = match new {
            Some(value) => (Kind::Put, value),
            None => (Kind::Delete, &[][..]),
        };
        request.push(self.inner.packing(), kind, key, value)?;
        self.submit(request)
    }

    /// Applies a batch atomically. An empty one does nothing.
    ///
    /// # Errors
    /// As [`put`](Self::put); then nothing of the batch took effect.
    pub fn write(&self, batch: Batch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let request = batch.request(self.inner.packing())?;
        self.submit(request).map(drop)
    }

    /// The pairs whose key begins with `prefix`, in the order of keys, from both ends.
    ///
    /// It sees the store as it is now, whatever is written, deleted or compacted afterwards. While it
    /// lives it keeps the store open, the lock of the writer included. Starting costs a copy of the
    /// matching keys of the active segment, and per sealed segment a search and a check of the blocks
    /// of its footer that hold matching keys; each pair costs one read, and one per block of 64 keys.
    /// A damaged record is an `Err` item and the scan goes on; in a store with damage, what is
    /// compacted or overwritten meanwhile may be missed.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn scan_prefix(&self, prefix: &[u8]) -> Result<Scan> {
        Scan::new(self, prefix)
    }

    /// The pairs in the order in which their present values were inserted, from number `from` on
    /// (0 is the beginning), each with its number. Numbers grow, with gaps, and survive compaction.
    ///
    /// A pair that nobody changes while the scan runs is seen exactly once; one that is overwritten
    /// or deleted meanwhile may be missed.
    #[must_use]
    pub fn scan_inserted(&self, from: u64) -> ScanInserted {
        ScanInserted::new(self, from)
    }

    /// Makes everything acknowledged so far durable, unless `durability` is [`Durability::Os`].
    ///
    /// # Errors
    /// [`Error::Io`], after which the handle is poisoned.
    pub fn flush(&self, durability: Durability) -> Result<()> {
        match durability {
            Durability::Os => Ok(()),
            Durability::Interval(_) | Durability::Always => telemetry::flush(|| {
                span!("mmap_store.flush");
                self.inner.sync()?;
                // After a load in large batches more is due than usual.
                let every = self.inner.options.checkpoint_every;
                let due = lock(&self.inner.writer).backlog.is_due(every, 0);
                if due {
                    self.inner.save_quietly();
                }
                Ok(())
            }),
        }
    }

    fn submit(&self, request: Request) -> Result<bool> {
        let done = telemetry::write(request.bytes(), || self.inner.submit(request));
        self.inner.flusher.start_if_wanted(&self.inner);
        done
    }

    /// Damage found while opening (and by the last [`refresh`](Self::refresh)). The rest of the
    /// store is readable; [`verify`](Self::verify) looks at every byte.
    #[must_use]
    pub fn damage(&self) -> Vec<Damage> {
        lock(&self.inner.view.load().index.damage).clone()
    }

    /// In a read-only handle, moves on to the writer's present state; true if anything changed. A
    /// handle for writing is always up to date.
    ///
    /// # Errors
    /// As [`Options::open`].
    pub fn refresh(&self) -> Result<bool> {
        match self.inner.options.read_only {
            true => recover::refresh(&self.inner),
            false => Ok(false),
        }
    }

    /// Figures of the store and of this handle's work.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (inner, counters) = (&self.inner, &self.inner.counters);
        let view = inner.view.load();
        // What cannot be loaded is not counted; reading it says why.
        let _ = view.index.settle();
        let log_bytes: u64 = view.members.iter().map(|s| s.tail()).sum();
        let live = || view.members.iter().map(|s| s.live.get());
        let active = view.active().map_or(0, |s| s.tail());
        Stats {
            live_keys: view.index.len(),
            live_bytes: live().map(|l| l.payload).sum(),
            log_bytes,
            dead_bytes: log_bytes.saturating_sub(live().map(|l| l.records).sum()),
            preallocated_bytes: get(&counters.reserved).saturating_sub(active),
            segments: view.members.len() as u64,
            index_bytes: view.index.resident() as u64,
            written_bytes: get(&counters.written),
            user_bytes: get(&counters.user),
            commits: get(&counters.commits),
            requests: get(&counters.requests),
            syncs: get(&counters.syncs),
            torn_bytes: get(&counters.torn),
            damaged: lock(&view.index.damage).len() as u64,
        }
    }

    /// Makes everything durable, gives preallocated space back, saves the index and lets go of the
    /// writer's lock. Other handles of this store can read on, and get [`Error::Closed`] when they
    /// write. After it, every byte of the store's files has a meaning that is checked.
    ///
    /// Dropping the last handle does the same, without a word if it fails.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Poisoned`].
    pub fn close(self) -> Result<()> {
        self.inner.close()
    }
}

impl Inner {
    pub(crate) fn packing(&self) -> Packing {
        Packing {
            store_id: self.store_id,
            above: self.options.compress_above,
        }
    }

    fn submit(&self, request: Request) -> Result<bool> {
        self.check_writable()?;
        let gather = self.options.durability == Durability::Always;
        let done = self.queue.submit(request, gather, |group| {
            lock(&self.writer).commit(self, group);
        });
        if self.due_index.load(Ordering::Relaxed)
            && self.due_index.swap(false, Ordering::Relaxed)
            && !self.flusher.save()
        {
            self.save_quietly();
        }
        if self.long_index.load(Ordering::Relaxed) && self.long_index.swap(false, Ordering::Relaxed)
        {
            // The files in use stay good if this fails, and it is tried again.
            let _ = self.merge_index();
        }
        done
    }

    /// What fails here is not the caller's: a full disk leaves the files in use as they are, and
    /// anything worse poisons the store.
    pub(crate) fn save_quietly(&self) {
        if self.save_index_beside().is_err() {
            let every = self.options.checkpoint_every;
            lock(&self.writer).backlog.failed(every);
        }
    }

    pub(crate) fn check_writable(&self) -> Result<()> {
        if self.options.read_only {
            return Err(Error::ReadOnly);
        }
        self.check_poison()?;
        match self.closed.load(Ordering::Acquire) {
            true => Err(Error::Closed),
            false => Ok(()),
        }
    }

    fn check_poison(&self) -> Result<()> {
        match self.poison.get().map(Arc::clone) {
            Some(cause) => Err(Error::Poisoned { cause }),
            None => Ok(()),
        }
    }

    /// Syncs a segment of the log. One at a time, since the system tells a failure to one caller
    /// only: the others must not take what they are told for success.
    pub(crate) fn sync_segment(&self, action: &'static str, segment: &Segment) -> Result<()> {
        let _turn = lock(&self.syncing);
        self.check_poison()?;
        let synced = segment.file.sync();
        synced.map_err(|e| self.poison(Error::io(action, segment.name.as_str(), e)))
    }

    /// Records the first failure and returns `error`.
    pub(crate) fn poison(&self, error: Error) -> Error {
        if let Error::Io { source, .. } = &error {
            let _ = self.poison.set(Arc::clone(source));
        }
        error
    }

    /// Makes the log durable up to its present end.
    pub(crate) fn sync(&self) -> Result<()> {
        self.check_writable()?;
        let (segment, tail) = {
            let _writer = lock(&self.writer);
            let view = self.view.load();
            let Some(active) = view.active() else {
                return Ok(());
            };
            (Arc::clone(active), active.tail())
        };
        // Outside the lock: writers go on meanwhile.
        self.sync_upto(&segment, tail)
    }

    /// Makes a segment durable up to `tail`, where it ended a moment ago.
    pub(crate) fn sync_upto(&self, segment: &Segment, tail: u64) -> Result<()> {
        if lock(&self.writer).is_synced(self, segment.id, tail) {
            return Ok(());
        }
        add(&self.counters.syncs, 1);
        self.sync_segment("sync", segment)?;
        lock(&self.writer).note_synced(self, segment.id, tail);
        Ok(())
    }

    fn close(&self) -> Result<()> {
        self.flusher.stop();
        self.janitor.stop();
        self.closing.store(true, Ordering::Release);
        if self.options.read_only || self.closed.load(Ordering::Acquire) {
            return Ok(());
        }
        // Whatever is being written ends before somebody else may have the lock.
        let _compacting = lock(&self.compacting);
        let _merging = lock(&self.merging);
        let _saving = lock(&self.saving);
        let mut writer = lock(&self.writer);
        if self.closed.load(Ordering::Acquire) {
            return Ok(());
        }
        let result = self.check_poison().and_then(|()| writer.close(self));
        self.closed.store(true, Ordering::Release);
        drop(lock(&self.guard).take());
        result
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let _ = self.close();
    }
}
