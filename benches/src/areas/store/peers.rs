//! The stores of others, and ours, behind what the rows ask of a store.

mod bare_log;
mod emdb;
mod files;
mod fjall;
mod lmdb;
mod ours;
mod redb;
mod sled;
mod sqlite;

use std::path::Path;

use anyhow::{Context as _, Result};

pub(super) use ours::Handle;

/// What a cache inside a store may hold, for those that have one.
const CACHE: usize = 1 << 30;

/// A store, opened for writing.
pub(super) trait Peer: Send + Sync {
    /// Writes records, as one batch where there are batches.
    fn put_many(&self, pairs: &[(&[u8], &[u8])]) -> Result<()>;

    /// Makes everything written so far durable.
    fn flush(&self) -> Result<()>;

    /// Writes a record that is durable on return.
    fn put_durable(&self, key: &[u8], value: &[u8]) -> Result<()>;

    /// Shows the value to `see`, by the cheapest read that there is; false when there is none.
    fn visit(&self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool>;

    /// The value, copied out.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut copy = None;
        self.visit(key, &mut |value| copy = Some(value.to_vec()))?;
        Ok(copy)
    }

    /// Syncs so far, where the store counts them.
    fn syncs(&self) -> Option<u64> {
        None
    }

    /// Closes in the way that its documents ask for.
    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// What a store is opened for.
pub(super) struct Job {
    /// Whether every single record is durable at once, or batches after a flush.
    pub(super) durable: bool,
    /// Whether it is laid out for readers, at the loader's cost, where that can be chosen.
    pub(super) read: bool,
    /// About how many bytes of records there will be.
    pub(super) bytes: u64,
}

/// A store that one can open.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) version: &'static str,
    /// Opens the store in a folder, or makes it.
    pub(super) open: fn(&Path, &Job) -> Result<Box<dyn Peer>>,
}

pub(super) const OURS: &str = "mainspring-mmap-store";
pub(super) const LMDB: &str = "heed (LMDB)";
pub(super) const FILES: &str = "one file per record";

/// All of them, ours first.
pub(super) static KINDS: [Kind; 9] = [
    kind(OURS, "", ours::open),
    kind(LMDB, "0.23", lmdb::open),
    kind("redb", "4", redb::open),
    kind("fjall", "3", fjall::open),
    kind("rusqlite (SQLite, WAL)", "0.41", sqlite::open),
    kind("sled", "0.34", sled::open),
    kind("emdb", "1.0", emdb::open),
    kind(FILES, "std::fs", files::open),
    kind("bare log + HashMap", "no checks, pread", bare_log::open),
];

const fn kind(
    name: &'static str,
    version: &'static str,
    open: fn(&Path, &Job) -> Result<Box<dyn Peer>>,
) -> Kind {
    Kind {
        name,
        version,
        open,
    }
}

impl Kind {
    /// Opens it in its folder inside `root`, which is made.
    pub(super) fn open_in(&self, root: &Path, job: &Job) -> Result<Box<dyn Peer>> {
        let dir = self.dir(root);
        std::fs::create_dir_all(&dir)?;
        (self.open)(&dir, job).with_context(|| format!("{} does not open", self.name))
    }

    pub(super) fn dir(&self, root: &Path) -> std::path::PathBuf {
        let word = |c: char| c.is_ascii_alphanumeric();
        root.join(self.name.replace(|c| !word(c), "-"))
    }
}
