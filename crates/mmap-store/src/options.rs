use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::directory::Directory;
use crate::error::Result;
use crate::storage::Storage;
use crate::store::Store;

/// When an acknowledged write is safe from a power cut. A crash of the process alone loses
/// nothing in any mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// When the system gets around to it. A power cut takes a suffix of the newest writes, never
    /// one out of the middle. While more than 4 MiB wait, a background thread syncs them.
    Os,
    /// At most this long after it was acknowledged, and the time that the disk takes, by a background
    /// thread.
    Interval(Duration),
    /// Before it is acknowledged. Concurrent writers share one sync; while that takes less than 250 µs,
    /// the first 16 in line watch for its end, yielding the processor, instead of sleeping.
    Always,
}

/// How a [`Store`] is opened.
///
/// ```
/// use mainspring_mmap_store::{Durability, Options};
///
/// # fn main() -> mainspring_mmap_store::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// let store = Options::new()
///     .create(true)
///     .durability(Durability::Always)
///     .open(dir.path())?;
/// store.put(b"session/1", b"hello")?;
/// store.close()
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Options {
    pub(crate) create: bool,
    pub(crate) read_only: bool,
    pub(crate) durability: Durability,
    pub(crate) segment_size: u64,
    pub(crate) preallocate: u64,
    pub(crate) whole_blocks: bool,
    pub(crate) checkpoint_every: u64,
    pub(crate) mapped: bool,
    pub(crate) compress_above: Option<usize>,
    pub(crate) compact_above: Option<u8>,
    pub(crate) store_id: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            create: false,
            read_only: false,
            durability: Durability::Always,
            segment_size: 32 << 20,
            preallocate: 1 << 20,
            whole_blocks: false,
            checkpoint_every: 4 << 20,
            mapped: false,
            compress_above: None,
            compact_above: None,
            store_id: None,
        }
    }
}

impl Options {
    /// The defaults: an existing store, for writing, [`Durability::Always`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the directory and the store when there is none. Default: false.
    pub fn create(mut self, yes: bool) -> Self {
        self.create = yes;
        self
    }

    /// Opens without the writer's lock and without changing any file; any number of processes may.
    /// Such a handle sees the state of its opening until [`Store::refresh`]. Default: false.
    pub fn read_only(mut self, yes: bool) -> Self {
        self.read_only = yes;
        self
    }

    /// When a write is durable. Default: [`Durability::Always`].
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Bytes after which a segment is sealed and the next begun, at least 4 KiB, at most 16 GiB.
    /// A larger record or batch still lies in one segment. Default: 32 MiB.
    ///
    /// It bounds the keys of the active segment held in memory in order, and the extra space of a
    /// compaction. An open store holds each of its segments open, so that the size doubles with each
    /// 64 segments that the store has: 1 TB in segments of the default size are about 600 files.
    pub fn segment_size(mut self, bytes: u64) -> Self {
        self.segment_size = bytes.clamp(4 << 10, 16 << 30);
        self
    }

    /// With [`Durability::Always`], zeros are written this many bytes ahead of the log, so that a
    /// sync need not update the file's length and extents; 0 turns it off. [`Store::close`] gives
    /// the space back. Costs each byte of the log a second, sequential write; commits of this size
    /// or larger go without. Default: 1 MiB.
    pub fn preallocate(mut self, bytes: u64) -> Self {
        self.preallocate = bytes.min(64 << 20);
        self
    }

    /// Without [`Durability::Always`], has Linux cache the log in pieces of 2 MiB as it grows, where the file
    /// system can. Records read while they are still cached are then found sooner, in mapped segments most
    /// of all. The active segment's file ends in a hole of less than 2 MiB, which takes no disk.
    /// Default: false.
    ///
    /// Costs memory of 2 MiB in one piece each time: where the machine has to look for that (or a virtual
    /// one to be given it by its host), a load in large batches was seen to take up to three times as long,
    /// and as long as ever where it had not.
    pub fn whole_blocks(mut self, yes: bool) -> Self {
        self.whole_blocks = yes;
        self
    }

    /// Bytes of log after which what changed in the index is saved, at least 4 KiB. Default: 4 MiB.
    ///
    /// It bounds what opening reads after a crash: so many bytes, or eight times the newest batch
    /// where that is more and nobody flushed since; four times that where the disk cannot keep up, and
    /// as much as a segment while it is full. Each time costs a sync of the log, four
    /// small synced writes, and 12 to 20 bytes per key changed since; the writer that is at it waits, and
    /// the others for the last two syncs. With [`Durability::Interval`], and in a load of more than 4 MiB
    /// with [`Durability::Os`], the thread that syncs does it.
    pub fn checkpoint_every(mut self, bytes: u64) -> Self {
        self.checkpoint_every = bytes.max(4 << 10);
        self
    }

    /// Compacts in the background, on one thread, whenever a segment is sealed while at least this
    /// share of the log, in percent, and at least one segment's worth is dead. Default: none, only
    /// [`Store::compact`] does it. A share of 50 rewrites about one byte per byte written.
    pub fn compact_above(mut self, percent: u8) -> Self {
        self.compact_above = Some(percent.clamp(1, 100));
        self
    }

    /// Compresses values of at least this many bytes with zstd (level 3), where that saves an eighth.
    /// Reading needs no setting, only this feature. A compressed value is never read without a copy,
    /// and [`Store::get_lazy`] reads it whole. Sizes in [`Stats`](crate::Stats) are those of the values
    /// as they lie there. Default: none is compressed.
    #[cfg(feature = "zstd")]
    pub fn compress_above(mut self, bytes: usize) -> Self {
        self.compress_above = Some(bytes);
        self
    }

    /// Fixes the number that a new store mixes into its checks and hashes; by default it is drawn
    /// at random. For reproducible files in tests.
    pub fn store_id(mut self, id: u64) -> Self {
        self.store_id = Some(id);
        self
    }

    /// Opens the store in `dir`. O(segments), and after a crash the log written since the last
    /// [checkpoint](Self::checkpoint_every) is read; the index is read part by part when it is needed.
    /// Only a store whose index is lost is read whole.
    ///
    /// # Errors
    /// [`Error::Missing`](crate::Error::Missing), [`Error::Locked`](crate::Error::Locked),
    /// [`Error::Unrecognised`](crate::Error::Unrecognised), [`Error::Newer`](crate::Error::Newer),
    /// [`Error::Damaged`](crate::Error::Damaged) for a damaged manifest, or what the system says.
    /// Damage elsewhere does not keep a store from opening: see [`Store::damage`].
    pub fn open(self, dir: impl AsRef<Path>) -> Result<Store> {
        self.open_in(Arc::new(Directory::new(dir)))
    }

    /// Opens the store kept in any [`Storage`].
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_in(self, storage: Arc<dyn Storage>) -> Result<Store> {
        Store::open(self, storage)
    }
}
