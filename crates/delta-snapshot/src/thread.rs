use std::fmt;
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::diff::{self, Change};
use crate::error::{Error, Result};
use crate::ledger::{Entry, Ledger};
use crate::op::Op;
use crate::signal::{self, Call};
use crate::store::{Cell, Store, lock};
use crate::stream;
use crate::tree::State;
use crate::version::{CommitOptions, Kind, Version, VersionId};
use crate::work::Work;

/// Bytes of a given reader that are in memory at a time.
const READ_AT_ONCE: u64 = 1 << 20;

/// One thread: a working state, and the versions that were committed of it.
///
/// A handle is cheap to clone; all handles of one thread share its working state, and calls on them take turns.
/// Paths are JSON pointers (RFC 6901): `""` is the whole state, `/messages/3` the fourth message.
#[derive(Clone)]
pub struct Thread {
    pub(crate) store: Arc<Store>,
    pub(crate) cell: Arc<Cell>,
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Thread")
            .field("id", &self.cell.name)
            .finish_non_exhaustive()
    }
}

impl Thread {
    /// The name it was opened under.
    pub fn id(&self) -> &str {
        &self.cell.name
    }

    /// Adds raw JSON values to the end of the array at `path`. Cost: the items.
    ///
    /// # Errors
    /// [`Error::InvalidJson`], [`Error::NotFound`] and [`Error::InvalidOperation`]: nothing was changed.
    pub fn append<T: AsRef<[u8]>>(&self, path: &str, items: &[T]) -> Result<()> {
        self.edit(|work, store| {
            let path = path.to_owned();
            let values = items.iter().map(|item| work.value(store, item.as_ref()));
            let items = values.collect::<Result<_>>()?;
            Ok(Op::Append { path, items })
        })
    }

    /// Replaces the value at `path` by a raw JSON value, or adds a member to an object. Cost: the value.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn set(&self, path: &str, value: impl AsRef<[u8]>) -> Result<()> {
        self.edit(|work, store| {
            let value = work.value(store, value.as_ref())?;
            let path = path.to_owned();
            Ok(Op::Set { path, value })
        })
    }

    /// Takes out the member or element at `path`; the path `""` empties the state.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn remove(&self, path: &str) -> Result<()> {
        let path = path.to_owned();
        self.edit(|_, _| Ok(Op::Remove { path }))
    }

    /// Replaces elements `range` of the array at `path` by raw JSON values. Cost: the items, and a move of what is behind.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn splice<T: AsRef<[u8]>>(
        &self,
        path: &str,
        range: Range<usize>,
        items: &[T],
    ) -> Result<()> {
        self.edit(|work, store| {
            let values = items.iter().map(|item| work.value(store, item.as_ref()));
            let items = values.collect::<Result<_>>()?;
            Ok(Op::Splice {
                path: path.to_owned(),
                start: range.start as u64,
                end: range.end as u64,
                items,
            })
        })
    }

    /// Adds to the end of a byte state. Cost: the data.
    ///
    /// # Errors
    /// [`Error::InvalidOperation`] when the state is JSON.
    pub fn append_bytes(&self, data: impl AsRef<[u8]>) -> Result<()> {
        self.edit(|work, store| {
            let data = work.data(store, data.as_ref())?;
            Ok(Op::AppendBytes { data })
        })
    }

    /// Replaces bytes `range` of a byte state. Cost: the data and the pages (4 KiB) it touches.
    ///
    /// # Errors
    /// [`Error::InvalidOperation`] when the state is JSON or the range lies outside.
    pub fn splice_bytes(&self, range: Range<u64>, data: impl AsRef<[u8]>) -> Result<()> {
        self.edit(|work, store| {
            let data = work.data(store, data.as_ref())?;
            let (start, end) = (range.start, range.end);
            Ok(Op::SpliceBytes { start, end, data })
        })
    }

    fn edit(&self, op: impl FnOnce(&mut Work, &Store) -> Result<Op>) -> Result<()> {
        let mut work = lock(&self.cell.work);
        let _reading = self.store.readers.enter();
        let op = op(&mut work, &self.store)?;
        work.apply(&self.store, &self.cell, op)
    }

    /// Makes a version of the working state. Cost: what was changed since the last one.
    ///
    /// It is in the backing when this returns, and durable after [`Snapshots::sync`](crate::Snapshots::sync)
    /// (at once with [`Options::sync_each_commit`](crate::Options::sync_each_commit)).
    ///
    /// # Errors
    /// [`Error::Conflict`] when another parent was expected. [`Error::Io`]: the changes are kept, commit again; the
    /// version that failed may still turn up after a crash if the backing had taken it.
    /// [`Error::Damaged`] or [`Error::NotFound`] when a long value that was stored before has been found damaged or missing
    /// since it was given: give it again.
    pub fn commit(&self, options: CommitOptions<'_>) -> Result<VersionId> {
        signal::during(Call::Commit, || {
            let mut work = lock(&self.cell.work);
            let _reading = self.store.readers.enter();
            work.commit(&self.store, &self.cell, &options)
        })
    }

    /// Makes a version of a whole state given as bytes: finds the difference to the working state and commits that.
    ///
    /// JSON is compared with the structure (what is equal is compared, not parsed), other bytes become a splice or a
    /// zstd patch with long-distance matching, whichever is smaller. Cost: a comparison of the whole, and the change.
    ///
    /// # Errors
    /// As for [`commit`](Self::commit).
    pub fn commit_full(&self, state: &[u8], options: CommitOptions<'_>) -> Result<VersionId> {
        signal::during(Call::Commit, || {
            let mut work = lock(&self.cell.work);
            let _reading = self.store.readers.enter();
            // A refused commit must not leave the working state changed.
            work.expect(&self.cell, &options)?;
            work.become_full(&self.store, &self.cell, state)?;
            work.commit(&self.store, &self.cell, &options)
        })
    }

    /// Makes a version of a state of bytes that is read to its end, for states that are larger than memory.
    ///
    /// It is cut every 256 KiB; pieces that any thread has stored already are not stored again. Memory: some five mebibytes,
    /// and 100 bytes for each piece. [`Snapshots::restore_to`](crate::Snapshots::restore_to) writes it back.
    ///
    /// The reader must not call this thread, nor seal, prune or collect, nor wait for someone who does: the thread is
    /// locked while it is read, and those wait for it, however long that takes. A reader that may stand still (a
    /// connection) needs a time limit of its own.
    ///
    /// # Errors
    /// As for [`commit`](Self::commit), the reader's own, and [`Error::TooLarge`]: the working state is as before.
    pub fn commit_reader(
        &self,
        mut reader: impl Read,
        options: CommitOptions<'_>,
    ) -> Result<VersionId> {
        signal::during(Call::Commit, || {
            let mut work = lock(&self.cell.work);
            let _reading = self.store.readers.enter();
            work.expect(&self.cell, &options)?;
            work.state(&self.store, &self.cell)?;
            let saved = work.save();
            if let Err(error) = work.become_read(&self.store, &self.cell, &mut reader) {
                work.put_back(saved);
                return Err(error);
            }
            work.commit(&self.store, &self.cell, &options)
        })
    }

    /// The newest version, `None` before the first commit.
    pub fn head(&self) -> Option<VersionId> {
        lock(&self.cell.ledger).head
    }

    /// Whether something was changed since the last commit.
    pub fn is_changed(&self) -> bool {
        lock(&self.cell.work).is_changed()
    }

    /// Bytes of the working state, whether committed or not. Reads nothing that is known.
    ///
    /// # Errors
    /// When damage hides which version is the newest, or a fork's first version cannot be looked up.
    pub fn working_len(&self) -> Result<u64> {
        let work = lock(&self.cell.work);
        if let Some(len) = work.len() {
            return Ok(len);
        }
        let head = {
            let ledger = lock(&self.cell.ledger);
            ledger.unblocked()?;
            ledger.head
        };
        let Some(head) = head else { return Ok(0) };
        let cell = self.store.cell_of(head.thread)?;
        let ledger = lock(&cell.ledger);
        Ok(ledger.stored(head.seq)?.meta.size)
    }

    /// Forgets what was changed since the last commit.
    pub fn rollback(&self) {
        lock(&self.cell.work).reset();
    }

    /// Goes back to an older version of this thread: the next commit follows it. Uncommitted changes are forgotten.
    /// O(1); the state is read when it is needed. When damage hides which version is the newest, nothing is committed
    /// before this call. Until the next commit, a reopened store still sees the newest version.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the version is not one of this thread.
    pub fn checkout(&self, version: VersionId) -> Result<()> {
        // Held by a prune too, which must not take away what becomes the head meanwhile.
        let mut work = lock(&self.cell.work);
        let mut ledger = lock(&self.cell.ledger);
        if version.thread != self.cell.uid {
            return Err(Error::missing(
                "version of this thread",
                version.to_string(),
            ));
        }
        ledger.entry(version.seq)?;
        ledger.go_on_from(version);
        work.reset();
        Ok(())
    }

    /// This thread's own versions, oldest first (a fork's earlier ones are those of the thread it came from).
    ///
    /// # Errors
    /// When a base in another thread cannot be read.
    pub fn versions(&self) -> Result<Vec<Version>> {
        let entries: Vec<Entry> = lock(&self.cell.ledger).entries().cloned().collect();
        entries
            .into_iter()
            .map(|entry| self.describe(&entry))
            .collect()
    }

    /// One version, by its id as printed or by the caller's own ([`CommitOptions::checkpoint`]; the newest of several).
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn version(&self, checkpoint: &str) -> Result<Version> {
        let own = {
            let ledger = lock(&self.cell.ledger);
            let mut entries = ledger.entries().rev();
            entries
                .find(|entry| entry.meta.checkpoint.as_deref() == Some(checkpoint))
                .cloned()
        };
        if let Some(entry) = own {
            return self.describe(&entry);
        }
        let id: VersionId = checkpoint.parse()?;
        if id.thread != self.cell.uid {
            return Err(Error::missing("version of this thread", checkpoint));
        }
        let entry = lock(&self.cell.ledger).entry(id.seq)?.clone();
        self.describe(&entry)
    }

    /// The newest version with that label.
    pub fn labelled(&self, label: &str) -> Option<VersionId> {
        let ledger = lock(&self.cell.ledger);
        let mut found = ledger
            .entries()
            .rev()
            .filter(|entry| entry.meta.label.as_deref() == Some(label));
        found.next().map(|entry| ledger.id(entry.meta.seq))
    }

    pub(crate) fn describe(&self, entry: &Entry) -> Result<Version> {
        let ledger = lock(&self.cell.ledger);
        let base = base_of(&ledger, entry);
        let outside = ledger.base_of(entry.segment).map(|parent| parent.id);
        let id = ledger.id(entry.meta.seq);
        drop(ledger);
        let before = match outside {
            // A damaged or missing base is the business of restore and verify.
            Some(outside) => self
                .store
                .chain(outside)
                .map_or(0, |links| links.iter().map(|link| link.replay).sum()),
            None => 0,
        };
        Ok(Version {
            id,
            parent: entry.parent,
            time: entry.meta.time,
            size: entry.meta.size,
            label: entry.meta.label.clone(),
            checkpoint: entry.meta.checkpoint.clone(),
            kind: if base.is_none() {
                Kind::Full
            } else {
                Kind::Incremental
            },
            base,
            replay: before + entry.ops_end,
        })
    }

    /// The bytes of a version; see [`Snapshots::restore`](crate::Snapshots::restore).
    ///
    /// # Errors
    /// The same.
    pub fn restore(&self, version: VersionId) -> Result<Bytes> {
        self.store.restore(version)
    }
}

/// What a version's operations apply to: nothing when it starts from a full state.
fn base_of(ledger: &Ledger, entry: &Entry) -> Option<VersionId> {
    if entry.meta.full {
        return None;
    }
    let first = ledger
        .segments
        .get(&entry.segment)
        .is_some_and(|info| entry.ops_end == entry.meta.ops && info.header.parent.is_none());
    if first { None } else { entry.parent }
}

impl Work {
    pub(crate) fn become_full(&mut self, store: &Store, cell: &Cell, new: &[u8]) -> Result<()> {
        let limit = store.options.max_state;
        if new.len() as u64 > limit {
            return Err(Error::TooLarge {
                what: "state",
                limit,
                found: new.len() as u64,
            });
        }
        let new = Bytes::copy_from_slice(new);
        let is_json = |b: Option<&u8>| matches!(b, Some(b'{' | b'['));
        let first = new.iter().find(|b| !b.is_ascii_whitespace());
        if is_json(first) && self.become_json(store, cell, &new)? {
            return Ok(());
        }
        self.become_bytes(store, cell, &new)
    }

    fn become_read(&mut self, store: &Store, cell: &Cell, reader: &mut dyn Read) -> Result<()> {
        if !matches!(self.state(store, cell)?, State::Empty) {
            let path = String::new();
            self.apply(store, cell, Op::Remove { path })?;
        }
        let mut piece = Vec::new();
        let mut stored = 0;
        loop {
            piece.clear();
            let read = reader.take(READ_AT_ONCE).read_to_end(&mut piece);
            if read.map_err(Error::io("read", "the given state"))? == 0 {
                return Ok(());
            }
            let data = self.data(store, &piece)?;
            self.apply(store, cell, Op::AppendBytes { data })?;
            stored = self.flush_blocks(store, stored)?;
            let (found, limit) = (self.state(store, cell)?.len(), store.options.max_state);
            if found > limit {
                return Err(Error::TooLarge {
                    what: "state",
                    limit,
                    found,
                });
            }
        }
    }

    /// False when the bytes are not JSON after all.
    fn become_json(&mut self, store: &Store, cell: &Cell, new: &Bytes) -> Result<bool> {
        let changes =
            diff::json_changes(self.state(store, cell)?, new, diff::SMALL, store.cipher());
        let saved = self.save();
        let done = changes.into_iter().try_for_each(|change| {
            let op = self.op_of(store, change)?;
            self.apply(store, cell, op)
        });
        let same = done.is_ok() && diff::equals(self.state(store, cell)?, new, store.cipher());
        if same {
            return Ok(true);
        }
        self.put_back(saved);
        match self.value(store, new) {
            Ok(value) => {
                let path = String::new();
                self.apply(store, cell, Op::Set { path, value })
                    .map(|()| true)
            }
            Err(Error::InvalidJson { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn become_bytes(&mut self, store: &Store, cell: &Cell, new: &Bytes) -> Result<()> {
        let state = self.state(store, cell)?;
        if !matches!(state, State::Bytes(_)) {
            let empty = matches!(state, State::Empty);
            let data = self.data(store, new)?;
            if !empty {
                let path = String::new();
                self.apply(store, cell, Op::Remove { path })?;
            }
            return self.apply(store, cell, Op::AppendBytes { data });
        }
        let old = self.render(store, cell)?;
        let (gone, fresh) = diff::splice(&old, new);
        if gone.is_empty() && fresh.is_empty() {
            return Ok(());
        }
        if gone.len().min(fresh.len()) > 256 {
            let frame = stream::patch(&old, new, store.options.level)?;
            if frame.len() < fresh.len() / 2 {
                let (len, frame) = (new.len() as u64, Bytes::from(frame));
                return self.apply(store, cell, Op::Patch { len, frame });
            }
        }
        let (start, end) = (gone.start as u64, gone.end as u64);
        let data = self.data(store, &new[fresh])?;
        self.apply(store, cell, Op::SpliceBytes { start, end, data })
    }

    fn op_of(&mut self, store: &Store, change: Change) -> Result<Op> {
        let mut values = |items: Vec<Bytes>| -> Result<Vec<_>> {
            items.iter().map(|item| self.value(store, item)).collect()
        };
        Ok(match change {
            Change::Append { path, items } => Op::Append {
                path,
                items: values(items)?,
            },
            Change::Set { path, value } => Op::Set {
                path,
                value: self.value(store, &value)?,
            },
            Change::Remove { path } => Op::Remove { path },
            Change::Splice { path, range, items } => Op::Splice {
                path,
                start: range.start as u64,
                end: range.end as u64,
                items: values(items)?,
            },
            Change::SpliceBytes { range, data } => Op::SpliceBytes {
                start: range.start,
                end: range.end,
                data: self.data(store, &data)?,
            },
        })
    }
}
