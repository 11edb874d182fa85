//! A tier of files in a directory.

use crate::entry::TierEntry;
use crate::error::Error;
use crate::key::Key;
use crate::label::Label;
use crate::marks::MarkLog;
use crate::record;
use crate::sync::{AtomicU64, Mutex, Ordering};
use crate::tier::{Marks, Tier, TierFuture, TierUsage};
use bytes::Bytes;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A tier that keeps one file per entry in a directory of its own, and so survives a restart: entries,
/// and the invalidations that outlive them. One process at a time.
///
/// Bounded by entries and bytes; the entry that was not read for longest (by second chance) goes first. A file is
/// written beside its place and renamed into it, so a crash leaves the old entry or the new one; what a
/// power cut tears fails its checksum and is a miss. File operations are short and run where the future is
/// polled: a few ten microseconds in the page cache, longer on a slow disk.
///
/// A file `<digest>.entry` is: magic `MSCF`, version 1 and three zero bytes, the length of the encoded key as
/// four little-endian bytes, the encoded key ([`Key::encoded`]), the encoded entry ([`TierEntry::encode`]).
#[derive(Debug)]
pub struct DirTier {
    folder: PathBuf,
    limits: Limits,
    index: Mutex<Index>,
    marks: Mutex<MarkLog>,
    temporary: AtomicU64,
    /// Locked for as long as the tier lives.
    _lock: File,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    entries: usize,
    bytes: u64,
}

#[derive(Debug, Default)]
struct Index {
    files: HashMap<u128, Stored, foldhash::fast::RandomState>,
    order: VecDeque<u128>,
    bytes: u64,
    peak: u64,
    evictions: u64,
}

#[derive(Debug)]
struct Stored {
    bytes: u64,
    read: bool,
}

impl Index {
    fn add(&mut self, name: u128, bytes: u64) {
        self.forget(name);
        self.files.insert(name, Stored { bytes, read: false });
        self.order.push_back(name);
        self.bytes += bytes;
        self.peak = self.peak.max(self.bytes);
        if self.order.len() > 2 * self.files.len() + 16 {
            let files = &self.files;
            let mut seen = hashbrown::HashSet::<u128, foldhash::fast::RandomState>::default();
            // The last place of a name counts: it is the one of the file that is there.
            let mut kept: VecDeque<u128> = self
                .order
                .iter()
                .rev()
                .filter(|name| files.contains_key(*name) && seen.insert(**name))
                .copied()
                .collect();
            kept.make_contiguous().reverse();
            self.order = kept;
        }
    }

    fn forget(&mut self, name: u128) -> bool {
        match self.files.remove(&name) {
            Some(stored) => {
                self.bytes -= stored.bytes;
                true
            }
            None => false,
        }
    }

    /// The next file to go: the first in order that was not read since it came up last.
    fn victim(&mut self) -> Option<u128> {
        loop {
            let name = self.order.pop_front()?;
            let Some(stored) = self.files.get_mut(&name) else {
                continue;
            };
            if !stored.read {
                return Some(name);
            }
            stored.read = false;
            self.order.push_back(name);
        }
    }
}

impl DirTier {
    /// Default bound: 10,000 entries.
    pub const ENTRIES: usize = 10_000;
    /// Default bound: 1 GiB.
    pub const BYTES: u64 = 1 << 30;

    /// Opens the tier in `folder`, which is made if need be and belongs to the tier alone, with the default
    /// bounds.
    ///
    /// # Errors
    /// As [`open_with`](Self::open_with).
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with(folder, Self::ENTRIES, Self::BYTES, true)
    }

    /// Opens the tier with bounds of its own. With `durable`, an invalidation is on the disk
    /// (`fdatasync`) before it is acknowledged; without, a power cut (not a crash of the program) can lose
    /// the latest ones. O(files). When the log of invalidations is damaged or missing, all entries are dropped.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder cannot be used; [`Error::Unavailable`] when another process has it open.
    pub fn open_with(
        folder: impl AsRef<Path>,
        entries: usize,
        bytes: u64,
        durable: bool,
    ) -> Result<Self, Error> {
        let folder = folder.as_ref().to_owned();
        fs::create_dir_all(&folder).map_err(|e| Error::io("make the cache directory", e))?;
        let lock =
            File::create(folder.join("lock")).map_err(|e| Error::io("make the lock file", e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Unavailable {
                    what: "another process has the cache directory open",
                });
            }
            Err(TryLockError::Error(error)) => {
                return Err(Error::io("lock the cache directory", error));
            }
        }
        let marks = MarkLog::open(&folder.join("marks"), durable, || drop_entries(&folder))?;
        let tier = Self {
            folder,
            limits: Limits { entries, bytes },
            index: Mutex::new(Index::default()),
            marks: Mutex::new(marks),
            temporary: AtomicU64::new(0),
            _lock: lock,
        };
        tier.scan()?;
        Ok(tier)
    }

    /// Indexes the files there are; temporary files of a crashed process go.
    fn scan(&self) -> Result<(), Error> {
        let listing =
            fs::read_dir(&self.folder).map_err(|e| Error::io("list the cache directory", e))?;
        let mut index = self.index.lock();
        let mut found = Vec::new();
        for file in listing {
            let file = file.map_err(|e| Error::io("list the cache directory", e))?;
            let name = file.file_name();
            let Some(name) = name.to_str() else { continue };
            match digest_of(name) {
                Some(digest) => {
                    let about = file
                        .metadata()
                        .map_err(|e| Error::io("look at a cache file", e))?;
                    found.push((about.modified().ok(), digest, about.len()));
                }
                None if name.ends_with(".tmp") => remove_file(&file.path())?,
                None => {}
            }
        }
        found.sort_unstable();
        for (_, digest, bytes) in found {
            index.add(digest, bytes);
        }
        self.shrink(&mut index, 0)
    }

    fn path(&self, digest: u128) -> PathBuf {
        self.folder.join(format!("{digest:032x}.entry"))
    }

    /// Removes files until another of that size fits.
    fn shrink(&self, index: &mut Index, bytes: u64) -> Result<(), Error> {
        let more = usize::from(bytes > 0);
        while index.files.len() + more > self.limits.entries
            || index.bytes + bytes > self.limits.bytes
        {
            let Some(name) = index.victim() else {
                return Ok(());
            };
            if let Err(error) = remove_file(&self.path(name)) {
                index.order.push_back(name);
                return Err(error);
            }
            index.forget(name);
            index.evictions += 1;
        }
        Ok(())
    }

    fn read(&self, key: &Key) -> Result<Option<TierEntry>, Error> {
        let digest = key.digest();
        let size = {
            let mut index = self.index.lock();
            let Some(stored) = index.files.get_mut(&digest) else {
                return Ok(None);
            };
            stored.read = true;
            stored.bytes
        };
        let path = self.path(digest);
        let bytes = match fs::read(&path) {
            Ok(bytes) => Bytes::from(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.missed(digest);
                return Ok(None);
            }
            Err(error) => return Err(Error::io("read a cache file", error)),
        };
        let entry = record::decode(&bytes, key);
        if entry.is_err() {
            self.drop_file(digest, size)?;
        }
        entry
    }

    /// A file was not found: it was evicted meanwhile, or somebody cleaned the directory; it may have been written anew
    /// since.
    fn missed(&self, digest: u128) {
        let mut index = self.index.lock();
        if !fs::exists(self.path(digest)).unwrap_or(true) {
            index.forget(digest);
        }
    }

    /// Removes a damaged file, unless another took its place meanwhile.
    fn drop_file(&self, digest: u128, bytes: u64) -> Result<(), Error> {
        let mut index = self.index.lock();
        if index
            .files
            .get(&digest)
            .is_some_and(|stored| stored.bytes == bytes)
        {
            remove_file(&self.path(digest))?;
            index.forget(digest);
        }
        Ok(())
    }

    fn write(&self, key: &Key, entry: &TierEntry) -> Result<(), Error> {
        let bytes = record::encode(key, entry)?;
        let size = bytes.len() as u64;
        if size > self.limits.bytes || self.limits.entries == 0 {
            // What is there is older than what could not be stored.
            self.erase(key)?;
            return Err(Error::TooLarge {
                what: "an entry",
                size,
                limit: self.limits.bytes,
            });
        }
        self.marks.lock().reach(entry.birth)?;
        let temporary = self.temporary.fetch_add(1, Ordering::Relaxed);
        let beside = self.folder.join(format!("{temporary}.tmp"));
        let placed = File::create(&beside)
            .and_then(|mut file| file.write_all(&bytes))
            .map_err(|e| Error::io("write a cache file", e))
            .and_then(|()| self.place(&beside, key.digest(), size));
        placed.inspect_err(|_| {
            let _ = fs::remove_file(&beside);
            // What is there is older than what could not be stored.
            let _ = self.erase(key);
        })
    }

    /// Puts a written file in its place: in one step, so that a reader finds the old one or the new one.
    fn place(&self, beside: &Path, digest: u128, size: u64) -> Result<(), Error> {
        let mut index = self.index.lock();
        // The old file is out of the count before the new one is in.
        index.forget(digest);
        self.shrink(&mut index, size)?;
        fs::rename(beside, self.path(digest)).map_err(|e| Error::io("place a cache file", e))?;
        index.add(digest, size);
        Ok(())
    }

    /// The keys in the files that came up last.
    fn latest(&self, limit: usize) -> Vec<Key> {
        let names: Vec<u128> = {
            let index = self.index.lock();
            let there = |name: &&u128| index.files.contains_key(*name);
            index
                .order
                .iter()
                .rev()
                .filter(there)
                .copied()
                .take(limit)
                .collect()
        };
        let key = |name: u128| {
            let bytes = fs::read(self.path(name)).ok()?;
            record::key(&bytes).filter(|key| key.digest() == name)
        };
        names.into_iter().filter_map(key).collect()
    }

    fn erase(&self, key: &Key) -> Result<(), Error> {
        let digest = key.digest();
        let mut index = self.index.lock();
        // Also a file that the index does not know: it would be found again after a restart.
        remove_file(&self.path(digest))?;
        index.forget(digest);
        Ok(())
    }

    fn erase_all(&self) -> Result<(), Error> {
        let mut index = self.index.lock();
        let names: Vec<u128> = index.files.keys().copied().collect();
        for name in names {
            remove_file(&self.path(name))?;
            index.forget(name);
        }
        index.order.clear();
        Ok(())
    }
}

/// The digest of the key whose entry a file of that name holds.
fn digest_of(name: &str) -> Option<u128> {
    let stem = name.strip_suffix(".entry")?;
    u128::from_str_radix(stem, 16).ok()
}

/// Removes the file of every entry.
fn drop_entries(folder: &Path) -> Result<(), Error> {
    let failed = |error| Error::io("list the cache directory", error);
    for file in fs::read_dir(folder).map_err(failed)? {
        let file = file.map_err(failed)?;
        if file.file_name().to_str().and_then(digest_of).is_some() {
            remove_file(&file.path())?;
        }
    }
    Ok(())
}

fn remove_file(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove a cache file", error))
        }
        _ => Ok(()),
    }
}

impl Tier for DirTier {
    fn name(&self) -> &str {
        "directory"
    }

    fn get<'a>(&'a self, key: &'a Key) -> TierFuture<'a, Option<TierEntry>> {
        Box::pin(async move { self.read(key) })
    }

    fn put<'a>(&'a self, key: &'a Key, entry: &'a TierEntry) -> TierFuture<'a, ()> {
        Box::pin(async move { self.write(key, entry) })
    }

    fn remove<'a>(&'a self, key: &'a Key) -> TierFuture<'a, ()> {
        Box::pin(async move { self.erase(key) })
    }

    fn mark<'a>(&'a self, labels: &'a [Label], epoch: u64) -> TierFuture<'a, u64> {
        Box::pin(async move { self.marks.lock().append(labels, epoch).map(|()| epoch) })
    }

    fn marks(&self) -> TierFuture<'_, Marks> {
        Box::pin(async move { Ok(self.marks.lock().marks()) })
    }

    fn clear(&self) -> TierFuture<'_, ()> {
        Box::pin(async move {
            self.erase_all()?;
            self.marks.lock().mend()
        })
    }

    fn keys(&self, limit: usize) -> TierFuture<'_, Vec<Key>> {
        Box::pin(async move { Ok(self.latest(limit)) })
    }

    fn distrust(&self) -> TierFuture<'_, ()> {
        Box::pin(async move { self.marks.lock().distrust() })
    }

    fn usage(&self) -> TierUsage {
        let index = self.index.lock();
        TierUsage {
            entries: index.files.len() as u64,
            bytes: index.bytes,
            peak_bytes: index.peak,
            raw_bytes: 0,
            evictions: index.evictions,
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_not_found_and_is_there_again_stays_known() {
        let folder = tempfile::tempdir().unwrap();
        let tier = DirTier::open(folder.path()).unwrap();
        let entry = TierEntry {
            value: Bytes::from("v"),
            birth: 1,
            expires_at: 0,
            soft_at: 0,
            signature: None,
            labels: Vec::new(),
        };
        let key = Key::new("s", "k");
        tier.write(&key, &entry).unwrap();
        tier.missed(key.digest());
        assert_eq!(tier.usage().entries, 1);
        fs::remove_file(tier.path(key.digest())).unwrap();
        assert_eq!(tier.read(&key).unwrap(), None);
        assert_eq!(tier.usage().entries, 0, "it is gone");
    }
}
