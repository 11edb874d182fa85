//! A disk in memory that remembers every operation, so that what a power cut could leave behind
//! can be built from any prefix of them; and that fails on demand.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use mainspring_mmap_store::{Access, Storage, StorageFile};

/// One operation as the disk saw it.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Write(usize, u64, Vec<u8>),
    SetLen(usize, u64),
    Sync(usize),
    Create(String, usize),
    Rename(String, String),
    Remove(String),
    SyncDir,
    /// The caller was told that so many operations are done.
    Acknowledged(usize),
}

/// Which operation fails, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An error, nothing done.
    Fails(io::ErrorKind),
    /// Half of a write is done, then it fails with this.
    Half(io::ErrorKind),
}

/// Lies that a disk (or a store that forgot something) could tell.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Lies {
    pub(crate) sync_dir: bool,
    pub(crate) sync_segments: bool,
    pub(crate) sync_manifest: bool,
    pub(crate) sync_index: bool,
}

#[derive(Debug, Default)]
struct State {
    files: Vec<Vec<u8>>,
    names: Vec<String>,
    directory: BTreeMap<String, usize>,
    events: Vec<Event>,
    locked: bool,
    lies: Lies,
    /// The number of the next changing operation, and those that fail.
    operation: usize,
    faults: BTreeMap<usize, Fault>,
    /// Bytes that fit; everything above is refused.
    capacity: Option<u64>,
    chunk: Option<usize>,
    /// How often a sync lets other threads run first.
    patience: usize,
    /// Bytes read.
    read: u64,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct SimDisk(Arc<Mutex<State>>);

impl SimDisk {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn storage(&self) -> Arc<dyn Storage> {
        Arc::new(self.clone())
    }

    pub(crate) fn lie(&self, lies: Lies) {
        self.state().lies = lies;
    }

    pub(crate) fn fail_at(&self, operation: usize, fault: Fault) {
        self.state().faults.insert(operation, fault);
    }

    /// Number of changing operations so far.
    pub(crate) fn operations(&self) -> usize {
        self.state().operation
    }

    pub(crate) fn limit(&self, capacity: Option<u64>) {
        self.state().capacity = capacity;
    }

    /// Each sync lets other threads run so many times first.
    pub(crate) fn slow_syncs(&self, patience: usize) {
        self.state().patience = patience;
    }

    /// No write takes more than this many bytes at once.
    pub(crate) fn short_writes(&self, chunk: usize) {
        self.state().chunk = Some(chunk);
    }

    pub(crate) fn acknowledge(&self, operations: usize) {
        self.state().events.push(Event::Acknowledged(operations));
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.state().events.clone()
    }

    pub(crate) fn count(&self, matches: impl Fn(&Event) -> bool) -> usize {
        self.state().events.iter().filter(|e| matches(e)).count()
    }

    pub(crate) fn used(&self) -> u64 {
        self.state().used()
    }

    /// Bytes of all writes so far.
    pub(crate) fn written(&self) -> u64 {
        let events = self.events();
        let sizes = events.iter().map(|e| match e {
            Event::Write(_, _, bytes) => bytes.len() as u64,
            _ => 0,
        });
        sizes.sum()
    }

    /// Bytes of all reads so far.
    pub(crate) fn read(&self) -> u64 {
        self.state().read
    }

    /// Contents by name.
    pub(crate) fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.state();
        let names = state.directory.iter();
        names
            .map(|(n, i)| (n.clone(), state.files[*i].clone()))
            .collect()
    }

    /// A disk that holds these files, durably.
    pub(crate) fn from_contents(contents: &BTreeMap<String, Vec<u8>>) -> Self {
        let disk = Self::new();
        {
            let mut state = disk.state();
            for (name, bytes) in contents {
                let file = state.files.len();
                state.files.push(bytes.clone());
                state.names.push(name.clone());
                state.directory.insert(name.clone(), file);
            }
        }
        disk
    }

    /// The same disk after its owner died: nobody holds the lock.
    pub(crate) fn abandoned(&self) -> Self {
        Self::from_contents(&self.contents())
    }
}

impl State {
    fn used(&self) -> u64 {
        self.directory
            .values()
            .map(|i| self.files[*i].len() as u64)
            .sum()
    }

    fn check(&mut self) -> Option<Fault> {
        self.operation += 1;
        self.faults.remove(&(self.operation - 1))
    }

    /// Fails unless the operation is to go well.
    fn pass(&mut self) -> io::Result<()> {
        match self.check() {
            Some(Fault::Fails(kind) | Fault::Half(kind)) => Err(kind.into()),
            None => Ok(()),
        }
    }

    fn write(&mut self, file: usize, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut bytes = bytes;
        match self.check() {
            Some(Fault::Fails(kind)) => return Err(kind.into()),
            Some(Fault::Half(_)) if bytes.len() < 2 => return Err(io::ErrorKind::Other.into()),
            Some(Fault::Half(kind)) => {
                bytes = &bytes[..bytes.len() / 2];
                let next = self.operation;
                self.faults.insert(next, Fault::Fails(kind));
            }
            None => {}
        }
        let chunk = self.chunk.unwrap_or(usize::MAX);
        bytes = &bytes[..bytes.len().min(chunk)];
        if let Some(capacity) = self.capacity {
            let size = self.files[file].len() as u64;
            let room = (capacity + size).saturating_sub(self.used() + offset);
            if room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            bytes = &bytes[..bytes.len().min(room as usize)];
        }
        apply_write(&mut self.files[file], bytes, offset);
        self.events.push(Event::Write(file, offset, bytes.to_vec()));
        Ok(bytes.len())
    }
}

fn apply_write(data: &mut Vec<u8>, bytes: &[u8], offset: u64) {
    let end = offset as usize + bytes.len();
    if data.len() < end {
        data.resize(end, 0);
    }
    data[offset as usize..end].copy_from_slice(bytes);
}

impl Storage for SimDisk {
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn StorageFile>> {
        let mut state = self.state();
        let file = match (state.directory.get(name).copied(), access) {
            (Some(file), Access::Create) => {
                state.pass()?;
                state.files[file].clear();
                state.events.push(Event::SetLen(file, 0));
                file
            }
            (Some(file), _) => file,
            (None, Access::Create) => {
                state.pass()?;
                let file = state.files.len();
                state.files.push(Vec::new());
                state.names.push(name.to_owned());
                state.directory.insert(name.to_owned(), file);
                state.events.push(Event::Create(name.to_owned(), file));
                file
            }
            (None, _) => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            file,
        }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().directory.keys().cloned().collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.pass()?;
        let file = state
            .directory
            .remove(from)
            .ok_or(io::ErrorKind::NotFound)?;
        state.directory.insert(to.to_owned(), file);
        state
            .events
            .push(Event::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.pass()?;
        state
            .directory
            .remove(name)
            .ok_or(io::ErrorKind::NotFound)?;
        state.events.push(Event::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.state();
        state.pass()?;
        if !state.lies.sync_dir {
            state.events.push(Event::SyncDir);
        }
        Ok(())
    }

    fn lock(&self, _create: bool) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        let mut state = self.state();
        if std::mem::replace(&mut state.locked, true) {
            return Ok(None);
        }
        Ok(Some(Box::new(Unlock(self.clone()))))
    }
}

struct Unlock(SimDisk);

impl Drop for Unlock {
    fn drop(&mut self) {
        self.0.state().locked = false;
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    file: usize,
}

impl StorageFile for SimFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[self.file].len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        let data = &state.files[self.file];
        let start = (offset as usize).min(data.len());
        let n = buffer.len().min(data.len() - start);
        buffer[..n].copy_from_slice(&data[start..start + n]);
        state.read += n as u64;
        Ok(n)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.disk.state().write(self.file, bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.pass()?;
        state.files[self.file].resize(len as usize, 0);
        state.events.push(Event::SetLen(self.file, len));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let patience = self.disk.state().patience;
        (0..patience).for_each(|_| std::thread::yield_now());
        let mut state = self.disk.state();
        state.pass()?;
        let (name, lies) = (state.names[self.file].clone(), state.lies);
        let lied = lies.sync_segments && name.ends_with(".seg")
            || lies.sync_manifest && name.starts_with("MANIFEST")
            || lies.sync_index && name.ends_with(".idx");
        if !lied {
            state.events.push(Event::Sync(self.file));
        }
        Ok(())
    }
}

/// What of the operations that nothing made durable reaches the disk in a power cut.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cut {
    Nothing,
    Everything,
    /// Reordered: the first is lost, the others are there.
    AllButFirst,
    OnlyLast,
    /// Everything, but the last write is torn in the middle.
    TornLast,
    /// Each write on its own by this seed, some torn at a sector.
    Random(u64),
    /// Those whose bit is set.
    Chosen(u64),
}

pub(crate) const CUTS: [Cut; 9] = [
    Cut::Nothing,
    Cut::Everything,
    Cut::AllButFirst,
    Cut::OnlyLast,
    Cut::TornLast,
    Cut::Random(1),
    Cut::Random(2),
    Cut::Random(3),
    Cut::Random(4),
];

fn mix(seed: u64, i: usize) -> u64 {
    let mut x = seed ^ (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^ (x >> 29)
}

/// How much of pending operation `i` of `n` survives, in halves: 0, 1 or 2; 3 is the part before the
/// first boundary of a sector, 4 the part behind it.
fn share(cut: Cut, i: usize, n: usize, salt: u64) -> u64 {
    match cut {
        Cut::Nothing => 0,
        Cut::Everything => 2,
        Cut::AllButFirst => u64::from(i > 0) * 2,
        Cut::OnlyLast => u64::from(i + 1 == n) * 2,
        Cut::TornLast => {
            if i + 1 == n {
                1
            } else {
                2
            }
        }
        Cut::Random(seed) => mix(seed ^ salt, i) % 5,
        Cut::Chosen(bits) => (bits >> i & 1) * 2,
    }
}

/// The disk after a power cut behind the first `upto` events.
pub(crate) fn after_cut(events: &[Event], upto: usize, cut: Cut) -> SimDisk {
    let events = &events[..upto];
    let mut files: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
    let touched: BTreeSet<usize> = events
        .iter()
        .filter_map(|e| match e {
            Event::Write(f, ..) | Event::SetLen(f, _) | Event::Create(_, f) => Some(*f),
            _ => None,
        })
        .collect();
    for file in touched {
        files.insert(file, one_file(events, file, cut));
    }
    let directory = names(events, cut);
    let contents = directory
        .into_iter()
        .map(|(name, file)| (name, files.remove(&file).unwrap_or_default()))
        .collect();
    SimDisk::from_contents(&contents)
}

fn one_file(events: &[Event], file: usize, cut: Cut) -> Vec<u8> {
    let own: Vec<&Event> = events
        .iter()
        .filter(|e| matches!(e, Event::Write(f, ..) | Event::SetLen(f, _) | Event::Sync(f) if *f == file))
        .collect();
    let synced = own
        .iter()
        .rposition(|e| matches!(e, Event::Sync(_)))
        .map_or(0, |i| i + 1);
    let pending = own.len() - synced;
    let mut data = Vec::new();
    for (i, event) in own.iter().enumerate() {
        let share = match i < synced {
            true => 2,
            false => share(cut, i - synced, pending, file as u64),
        };
        match event {
            Event::Write(_, offset, bytes) => {
                let boundary = (512 - (*offset as usize % 512)).min(bytes.len());
                let (from, to) = match share {
                    0 => continue,
                    1 => (0, bytes.len() / 2),
                    2 => (0, bytes.len()),
                    3 => (0, boundary),
                    _ => (boundary, bytes.len()),
                };
                apply_write(&mut data, &bytes[from..to], *offset + from as u64);
            }
            Event::SetLen(_, len) if share > 0 => data.resize(*len as usize, 0),
            _ => {}
        }
    }
    data
}

fn names(events: &[Event], cut: Cut) -> BTreeMap<String, usize> {
    let own: Vec<&Event> = events
        .iter()
        .filter(|e| {
            matches!(
                e,
                Event::Create(..) | Event::Rename(..) | Event::Remove(_) | Event::SyncDir
            )
        })
        .collect();
    let synced = own
        .iter()
        .rposition(|e| matches!(e, Event::SyncDir))
        .map_or(0, |i| i + 1);
    let pending = own.len() - synced;
    let mut directory = BTreeMap::new();
    // A rename moves a name that exists in memory whether or not its creation is durable.
    let mut memory = BTreeMap::new();
    for (i, event) in own.iter().enumerate() {
        let kept = i < synced || share(cut, i - synced, pending, 77) > 0;
        match event {
            Event::Create(name, file) => {
                memory.insert(name.clone(), *file);
                if kept {
                    directory.insert(name.clone(), *file);
                }
            }
            Event::Rename(from, to) => {
                let file = memory.remove(from);
                if let Some(file) = file {
                    memory.insert(to.clone(), file);
                    if kept {
                        directory.remove(from);
                        directory.insert(to.clone(), file);
                    }
                }
            }
            Event::Remove(name) => {
                memory.remove(name);
                if kept {
                    directory.remove(name);
                }
            }
            _ => {}
        }
    }
    directory
}
