use std::any::Any;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::storage::{Access, Storage, StorageFile};

const LOCK: &str = "LOCK";

/// A directory of the file system.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
}

impl Directory {
    pub(crate) fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_path_buf(),
        }
    }
}

impl Storage for Directory {
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn StorageFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match access {
            Access::Read => {}
            Access::Write => {
                options.write(true);
            }
            Access::Create => {
                options.write(true).create(true).truncate(true);
            }
        }
        let path = self.path.join(name);
        Ok(Arc::new(SystemFile(open_quietly(options, &path)?)))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        sync_directory(&self.path)
    }

    fn lock(&self, create: bool) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        if create {
            create_directory(&self.path)?;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(create || self.path.join(crate::manifest::NAME).exists())
            .truncate(false)
            .open(self.path.join(LOCK))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }
}

/// Creates the directory and those above it, and makes each new name durable in its parent.
fn create_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let Some(parent) = path.parent() else {
        return fs::create_dir(path);
    };
    let parent = match parent.as_os_str().is_empty() {
        true => Path::new("."),
        false => parent,
    };
    create_directory(parent)?;
    match fs::create_dir(path) {
        // Somebody else was quicker.
        Err(_) if path.is_dir() => {}
        created => created?,
    }
    sync_directory(parent)
}

#[cfg(unix)]
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(not(unix))]
fn sync_directory(_path: &Path) -> io::Result<()> {
    // Directories cannot be opened for syncing there; the file system journals names by itself.
    Ok(())
}

/// Opens a file so that reads of it do not touch its time of access, where the system lets us: it lets
/// the owner.
#[cfg(target_os = "linux")]
fn open_quietly(options: OpenOptions, path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = rustix::fs::OFlags::NOATIME.bits() as i32;
    match options.clone().custom_flags(flags).open(path) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => options.open(path),
        opened => opened,
    }
}

#[cfg(not(target_os = "linux"))]
fn open_quietly(options: OpenOptions, path: &Path) -> io::Result<File> {
    options.open(path)
}

#[derive(Debug)]
struct SystemFile(File);

impl StorageFile for SystemFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    #[cfg(unix)]
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(&self.0, buffer, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(&self.0, buffer, offset)
    }

    #[cfg(unix)]
    fn read_to(&self, buffer: &mut Vec<u8>, len: usize, offset: u64) -> io::Result<usize> {
        let start = buffer.len();
        buffer.reserve_exact(len);
        while buffer.len() < start + len {
            let at = offset + (buffer.len() - start) as u64;
            // Straight into the spare room; nothing is zeroed first.
            match rustix::io::pread(&self.0, rustix::buffer::spare_capacity(buffer), at) {
                Ok(0) => break,
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => {
                    buffer.truncate(start);
                    return Err(e.into());
                }
            }
        }
        // The room may have been larger than what was asked for.
        buffer.truncate(start + len);
        Ok(buffer.len() - start)
    }

    #[cfg(unix)]
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::write_at(&self.0, bytes, offset)
    }

    #[cfg(windows)]
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_write(&self.0, bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn system(&self) -> Option<&File> {
        Some(&self.0)
    }
}
