use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;

use crate::backing::{Backing, Entry};
use crate::block;

/// Length of a block's key.
const BLOCK_KEY: usize = 66;
/// Files kept open for appending, at most.
const OPEN_FILES: usize = 64;

/// A directory of its own: one file per key, written under a temporary name and renamed.
///
/// One process at a time: a lock file is held until the value is dropped.
#[derive(Debug)]
pub struct DirBacking {
    root: PathBuf,
    _lock: File,
    unsynced: Mutex<Unsynced>,
    /// Held for a whole sync, so that a second one does not return before what the first took on is on the disk.
    syncing: Mutex<()>,
    /// Values that are being put have temporary names of their own.
    puts: AtomicU64,
}

#[derive(Debug, Default)]
struct Unsynced {
    files: HashMap<String, Appender>,
    directories: BTreeSet<PathBuf>,
    /// A sync failed: nobody knows what of the unsynced data is on the disk.
    failed: bool,
}

/// A file kept open for appending.
#[derive(Debug)]
struct Appender {
    file: File,
    /// Something was written since the last sync.
    dirty: bool,
}

impl DirBacking {
    /// Opens or creates the directory.
    ///
    /// # Errors
    /// Any error of the file system, and [`io::ErrorKind::WouldBlock`] when another process holds the directory.
    pub fn open(root: impl AsRef<Path>) -> io::Result<Self> {
        let root = root.as_ref().to_owned();
        fs::create_dir_all(&root)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(root.join("LOCK"))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => io::Error::new(
                io::ErrorKind::WouldBlock,
                "another process holds the directory",
            ),
            fs::TryLockError::Error(error) => error,
        })?;
        let backing = Self {
            root,
            _lock: lock,
            unsynced: Mutex::default(),
            syncing: Mutex::default(),
            puts: AtomicU64::default(),
        };
        backing.remove_temporaries()?;
        Ok(backing)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.root
    }

    fn unsynced(&self) -> MutexGuard<'_, Unsynced> {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, key: &str) -> io::Result<PathBuf> {
        let plain = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        if key.len() > 80 || !key.split('/').all(plain) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a key is made of [a-z0-9/]",
            ));
        }
        Ok(self.root.join(key))
    }

    fn walk(
        &self,
        directory: &Path,
        visit: &mut dyn FnMut(&Path) -> io::Result<()>,
    ) -> io::Result<()> {
        let entries = match fs::read_dir(directory) {
            // An empty directory that a delete took away meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            read => read?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                self.walk(&entry.path(), visit)?;
            } else {
                visit(&entry.path())?;
            }
        }
        Ok(())
    }

    /// What a crash left between writing and renaming.
    fn remove_temporaries(&self) -> io::Result<()> {
        self.walk(&self.root, &mut |path| {
            if path.extension().is_some_and(|e| e == "tmp") {
                fs::remove_file(path)?;
            }
            Ok(())
        })
    }

    fn key_of(&self, path: &Path) -> Option<String> {
        let parts: Option<Vec<&str>> = path
            .strip_prefix(&self.root)
            .ok()?
            .iter()
            .map(|part| part.to_str())
            .collect();
        Some(parts?.join("/"))
    }
}

impl Unsynced {
    /// Opens a file for appending; it is kept open.
    fn open(&mut self, root: &Path, key: &str, path: &Path) -> io::Result<&mut Appender> {
        if self.files.len() >= OPEN_FILES {
            let flushed = self.flush_files();
            self.failed |= flushed.is_err();
            flushed?;
            self.files.clear();
        }
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        let file = match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make_parent(root, path)?;
                options.open(path)?
            }
            opened => opened?,
        };
        self.directories.extend(path.parent().map(Path::to_owned));
        let opened = Appender { file, dirty: false };
        Ok(self.files.entry(key.to_owned()).or_insert(opened))
    }

    /// Any directory on the way may be new, so all that name one have to reach the disk.
    fn make_parent(&mut self, root: &Path, path: &Path) -> io::Result<()> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
            let above = parent.ancestors().skip(1);
            let inside = above.take_while(|directory| directory.starts_with(root));
            self.directories.extend(inside.map(Path::to_owned));
        }
        Ok(())
    }

    fn flush_files(&mut self) -> io::Result<()> {
        for appender in self.files.values_mut().filter(|appender| appender.dirty) {
            // Whether or not this works: what a failed sync has lost, a second one does not report.
            appender.dirty = false;
            appender.file.sync_data()?;
        }
        Ok(())
    }

    /// Handles of the files that were written to since the last sync.
    fn take_dirty(&mut self) -> io::Result<Vec<File>> {
        let dirty = self.files.values().filter(|appender| appender.dirty);
        let files = dirty.map(|appender| appender.file.try_clone());
        let files = files.collect::<io::Result<_>>()?;
        for appender in self.files.values_mut() {
            appender.dirty = false;
        }
        Ok(files)
    }
}

fn flush_directories(directories: BTreeSet<PathBuf>) -> io::Result<()> {
    for directory in directories {
        match File::open(&directory) {
            Ok(handle) => handle.sync_all()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Backing for DirBacking {
    fn get(&self, key: &str) -> io::Result<Option<Bytes>> {
        match fs::read(self.file(key)?) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn put(&self, key: &str, value: &[u8]) -> io::Result<()> {
        let path = self.file(key)?;
        let number = self.puts.fetch_add(1, Ordering::Relaxed);
        let temporary = path.with_extension(format!("{number}.tmp"));
        let mut file = match File::create(&temporary) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // A delete may take the empty directory away again, but not while this is locked.
                let mut unsynced = self.unsynced();
                unsynced.make_parent(&self.root, &path)?;
                File::create(&temporary)?
            }
            created => created?,
        };
        // Appends to other keys need not wait for the disk.
        let written = file.write_all(value).and_then(|()| file.sync_data());
        let mut unsynced = self.unsynced();
        if let Err(error) = written.and_then(|()| fs::rename(&temporary, &path)) {
            // What cannot be removed now is removed when the directory is opened.
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        // Only now: what a put that failed leaves in place is still to be synced.
        unsynced.files.remove(key);
        unsynced
            .directories
            .extend(path.parent().map(Path::to_owned));
        Ok(())
    }

    fn append(&self, key: &str, value: &[u8]) -> io::Result<()> {
        let mut unsynced = self.unsynced();
        let appender = match unsynced.files.get_mut(key) {
            Some(appender) => appender,
            None => {
                let path = self.file(key)?;
                unsynced.open(&self.root, key, &path)?
            }
        };
        appender.dirty = true;
        appender.file.write_all(value)
    }

    fn delete(&self, key: &str) -> io::Result<()> {
        let path = self.file(key)?;
        let mut unsynced = self.unsynced();
        let removed = fs::remove_file(&path);
        let missing = matches!(&removed, Err(error) if error.kind() == io::ErrorKind::NotFound);
        if removed.is_ok() || missing {
            unsynced.files.remove(key);
        }
        if missing {
            return Ok(());
        }
        removed?;
        let Some(parent) = path.parent() else {
            return Ok(());
        };
        unsynced.directories.insert(parent.to_owned());
        // Succeeds only when it is empty: deleted threads leave no directories behind.
        if parent != self.root && fs::remove_dir(parent).is_ok() {
            unsynced
                .directories
                .extend(parent.parent().map(Path::to_owned));
        }
        Ok(())
    }

    fn list(&self, prefix: &str) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        if prefix.len() == BLOCK_KEY && prefix.starts_with(block::PREFIX) {
            // The key of one block: asked for each new one, so the others are not looked at.
            match fs::metadata(self.root.join(prefix)) {
                Ok(metadata) => entries.push(Entry {
                    key: prefix.to_owned(),
                    len: metadata.len(),
                }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            return Ok(entries);
        }
        // Only the directory that the prefix names is read.
        let within = prefix
            .rsplit_once('/')
            .map_or("", |(directory, _)| directory);
        let start = self.root.join(within);
        if !start.is_dir() {
            return Ok(entries);
        }
        self.walk(&start, &mut |path| {
            let Some(key) = self.key_of(path) else {
                return Ok(());
            };
            if key != "LOCK" && !key.ends_with(".tmp") && key.starts_with(prefix) {
                match fs::metadata(path) {
                    Ok(metadata) => entries.push(Entry {
                        key,
                        len: metadata.len(),
                    }),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        })?;
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(entries)
    }

    fn sync(&self) -> io::Result<()> {
        let _turn = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        let (files, directories) = {
            let mut unsynced = self.unsynced();
            if unsynced.failed {
                return Err(io::Error::other(
                    "an earlier sync failed: open the directory again",
                ));
            }
            let files = unsynced.take_dirty()?;
            (files, std::mem::take(&mut unsynced.directories))
        };
        // Appends go on meanwhile.
        let synced = files.iter().try_for_each(File::sync_data);
        let outcome = synced.and_then(|()| flush_directories(directories));
        self.unsynced().failed |= outcome.is_err();
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_directory_that_may_be_new_is_synced() {
        let folder = tempfile::tempdir().expect("tempdir");
        let backing = DirBacking::open(folder.path()).expect("dir");
        backing.append("s/1/1", b"x").expect("append");
        let waiting = backing.unsynced().directories.clone();
        for name in ["", "s", "s/1"] {
            let path = folder.path().join(name).components().collect();
            assert!(
                waiting.contains::<PathBuf>(&path),
                "{name:?} in {waiting:?}"
            );
        }
    }
}
