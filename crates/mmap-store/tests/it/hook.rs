//! A disk that does something of the test's at a chosen moment, or fails there.

use std::any::Any;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};

use mainspring_mmap_store::{Access, Storage, StorageFile};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Read,
    Sync,
}

struct Plan {
    moment: Moment,
    file: String,
    /// So many of these moments pass first.
    skip: usize,
    action: Box<dyn FnOnce() -> io::Result<()> + Send>,
}

#[derive(Clone)]
pub(crate) struct Hooked {
    disk: Arc<dyn Storage>,
    plan: Arc<Mutex<Option<Plan>>>,
    opened: Arc<Mutex<Vec<(String, Access)>>>,
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hooked")
    }
}

impl Hooked {
    pub(crate) fn new(disk: Arc<dyn Storage>) -> Self {
        Self {
            disk,
            plan: Arc::default(),
            opened: Arc::default(),
        }
    }

    /// Runs `action` once, before `file` is read or synced.
    pub(crate) fn before(
        &self,
        moment: Moment,
        file: &str,
        skip: usize,
        action: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) {
        *self.plan.lock().unwrap() = Some(Plan {
            moment,
            file: file.to_owned(),
            skip,
            action: Box::new(action),
        });
    }

    /// Which files were opened, and how.
    pub(crate) fn opened(&self) -> Vec<(String, Access)> {
        self.opened.lock().unwrap().clone()
    }

    /// True if what was planned has happened.
    pub(crate) fn happened(&self) -> bool {
        self.plan.lock().unwrap().is_none()
    }

    fn reach(&self, moment: Moment, file: &str) -> io::Result<()> {
        let due = {
            let mut plan = self.plan.lock().unwrap();
            match plan.as_mut() {
                Some(p) if p.moment == moment && p.file == file && p.skip == 0 => plan.take(),
                Some(p) if p.moment == moment && p.file == file => {
                    p.skip -= 1;
                    None
                }
                _ => None,
            }
        };
        due.map_or(Ok(()), |plan| (plan.action)())
    }
}

impl Storage for Hooked {
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn StorageFile>> {
        self.opened.lock().unwrap().push((name.to_owned(), access));
        Ok(Arc::new(HookedFile {
            file: self.disk.open(name, access)?,
            name: name.to_owned(),
            hooks: self.clone(),
        }))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir()
    }

    fn lock(&self, create: bool) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        self.disk.lock(create)
    }
}

#[derive(Debug)]
struct HookedFile {
    file: Arc<dyn StorageFile>,
    name: String,
    hooks: Hooked,
}

impl StorageFile for HookedFile {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.hooks.reach(Moment::Read, &self.name)?;
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.hooks.reach(Moment::Sync, &self.name)?;
        self.file.sync()
    }
}
