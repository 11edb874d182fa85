use std::sync::Arc;

use bytes::Bytes;

use crate::backing::Backing;
use crate::diff::{self, Change};
use crate::error::{Error, Result};
use crate::ledger::PREFIX;
use crate::options::Options;
use crate::signal::{self, Call, Count};
use crate::store::{Cell, Store, lock};
use crate::thread::Thread;
use crate::tree::{Slot, State};
use crate::version::VersionId;

/// Stands between a thread's id and its namespace.
const SEPARATOR: char = '\u{1f}';

/// A store of versions: many threads over one [`Backing`].
///
/// Cheap to clone. One process at a time may write to a backing.
#[derive(Debug, Clone)]
pub struct Snapshots {
    pub(crate) store: Arc<Store>,
}

impl Snapshots {
    /// Opens what is in the backing; threads are read when they are asked for.
    ///
    /// # Errors
    /// When the backing cannot be listed.
    pub fn open(backing: impl Backing + 'static, options: Options) -> Result<Self> {
        backing.list(PREFIX).map_err(Error::io("list", PREFIX))?;
        let store = Arc::new(Store::new(Box::new(backing), options));
        Ok(Self { store })
    }

    /// Opens a thread or begins a new one; nothing is written before the first commit.
    ///
    /// `id` is the caller's, 1 to 512 bytes. Cost at first use: reading and checking the thread's segments.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::InUse`] for two names with the same 64-bit hash.
    pub fn thread(&self, id: &str) -> Result<Thread> {
        let cell = self.store.cell(id)?;
        Ok(Thread {
            store: self.store.clone(),
            cell,
        })
    }

    /// The thread of a LangGraph `thread_id` and `checkpoint_ns`; the empty namespace is the thread of that name.
    ///
    /// # Errors
    /// As for [`thread`](Self::thread), and [`Error::InvalidOperation`] when one of them has the control character
    /// U+001F, which stands between them in the name.
    pub fn thread_in(&self, thread_id: &str, namespace: &str) -> Result<Thread> {
        if thread_id.contains(SEPARATOR) || namespace.contains(SEPARATOR) {
            return Err(Error::operation(thread_id, "an id with U+001F in it"));
        }
        match namespace {
            "" => self.thread(thread_id),
            _ => self.thread(&format!("{thread_id}{SEPARATOR}{namespace}")),
        }
    }

    /// Names of all threads, sorted. Reads each thread once.
    ///
    /// # Errors
    /// When the backing fails.
    pub fn threads(&self) -> Result<Vec<String>> {
        let cells = self.store.ledgers()?;
        let with_versions = cells
            .values()
            .filter(|cell| lock(&cell.ledger).head.is_some());
        let mut names: Vec<String> = with_versions.map(|cell| cell.name.clone()).collect();
        names.sort();
        Ok(names)
    }

    /// The bytes of a version, exactly as they went in: key order, white space and number spelling kept.
    ///
    /// Everything read is checked: the checksum of each record, the hash of each base and of the state, the address of
    /// each block. Cost: the state and a bounded chain ([`Options::replay_bound`]).
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Damaged`], [`Error::TooLarge`].
    pub fn restore(&self, version: VersionId) -> Result<Bytes> {
        self.store.restore(version)
    }

    /// Writes the bytes of a version, for states that are not to be held in memory twice; gives their number.
    ///
    /// A state that came from [`Thread::commit_reader`](crate::Thread::commit_reader) is never in memory as a whole:
    /// its blocks are read, checked and written one after the other.
    ///
    /// The writer may read and commit. Sealing, pruning, collecting and deleting wait for it before they delete anything,
    /// but not for ever ([`Options::reader_patience`]): it should do none of that itself, nor wait for someone who does.
    ///
    /// # Errors
    /// As for [`restore`](Self::restore), and the writer's own. What was written before an error is no version.
    pub fn restore_to(&self, version: VersionId, mut writer: impl std::io::Write) -> Result<u64> {
        signal::during(Call::Restore, || {
            let _reading = self.store.readers.enter();
            let state = self.store.state(version)?;
            let written = state.write_to(&self.store.fetcher(), &mut writer)?;
            signal::count(Count::Restored, written);
            Ok(written)
        })
    }

    /// The last `n` items of the array at `path`, oldest first, without assembling the rest.
    ///
    /// # Errors
    /// As for [`restore`](Self::restore), and [`Error::InvalidOperation`] when there is no array.
    pub fn restore_last_items(
        &self,
        version: VersionId,
        path: &str,
        n: usize,
    ) -> Result<Vec<Bytes>> {
        let _reading = self.store.readers.enter();
        let state = self.store.state(version)?;
        let fetch = self.store.fetcher();
        let take = |slots: &[Slot]| {
            let last = &slots[slots.len().saturating_sub(n)..];
            last.iter().map(|slot| slot.render_value(&fetch)).collect()
        };
        let mut read = |slot: &Slot| {
            if slot.first() != Some(b'[') {
                return Err(Error::operation(path, "it is not an array"));
            }
            match slot.container() {
                Some(open) => take(open.slots()),
                None => take(slot.parsed(path)?.slots()),
            }
        };
        state.look(path, &mut read)?
    }

    /// A new thread that goes on from a version of another one and shares everything with it.
    ///
    /// O(1), nothing is written: durable with the new thread's first commit. The version is kept as long as the fork needs it.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::InUse`] when the new thread already has versions.
    pub fn fork(&self, version: VersionId, thread: &str) -> Result<Thread> {
        let source = self.store.cell_of(version.thread)?;
        lock(&source.ledger).entry(version.seq)?;
        let fork = self.thread(thread)?;
        let mut work = lock(&fork.cell.work);
        {
            let mut ledger = lock(&fork.cell.ledger);
            if ledger.head.is_some() || work.is_changed() {
                let what = format!("the thread {thread:?}");
                return Err(Error::InUse { what });
            }
            work.reset();
            ledger.head = Some(version);
        }
        if let Err(gone) = self.hold(&source, version) {
            lock(&fork.cell.ledger).head = None;
            return Err(gone);
        }
        drop(work);
        Ok(fork)
    }

    /// Makes sure that a version which a fork has just taken for its head stays. A prune first says what is to leave and
    /// asks for forks then, so that one of the two sees the other.
    fn hold(&self, source: &Cell, version: VersionId) -> Result<()> {
        if let Some(forked) = &mut *lock(&self.store.forked) {
            forked.insert(version);
        }
        loop {
            {
                let ledger = lock(&source.ledger);
                ledger.entry(version.seq)?;
                if !ledger.leaving.contains(&version.seq) {
                    return Ok(());
                }
            }
            // Until the prune is done.
            drop(lock(&source.work));
        }
    }

    /// The changes that lead from version `a` to version `b`. Cost: both states, and a comparison.
    ///
    /// # Errors
    /// As for [`restore`](Self::restore).
    pub fn diff(&self, a: VersionId, b: VersionId) -> Result<Vec<Change>> {
        let _reading = self.store.readers.enter();
        let (old, new) = (self.store.state(a)?, self.store.state(b)?);
        let fetch = self.store.fetcher();
        let bytes = new.render(&fetch)?;
        if diff::equals(&old, &bytes, self.store.cipher()) {
            return Ok(Vec::new());
        }
        if matches!(new, State::Json(_)) {
            return Ok(diff::json_changes(&old, &bytes, 24, self.store.cipher()));
        }
        if matches!(old, State::Json(_)) && bytes.is_empty() {
            let path = String::new();
            return Ok(vec![Change::Remove { path }]);
        }
        let old = old.render(&fetch)?;
        let (gone, fresh) = diff::splice(&old, &bytes);
        Ok(vec![Change::SpliceBytes {
            range: gone.start as u64..gone.end as u64,
            data: bytes.slice(fresh),
        }])
    }

    /// Makes everything committed so far durable.
    ///
    /// # Errors
    /// The backing's own.
    pub fn sync(&self) -> Result<()> {
        self.store.backing.sync().map_err(Error::io("sync", PREFIX))
    }
}
