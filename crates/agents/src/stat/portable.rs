//! By the standard library, for every system.

use std::{
    ffi::OsStr,
    fs::{self, File, Metadata},
    io,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use super::{FileStat, Kind};
use crate::signature::Signature;

impl From<&Metadata> for FileStat {
    fn from(metadata: &Metadata) -> Self {
        Self {
            is_file: metadata.is_file(),
            signature: Signature::of(metadata),
        }
    }
}

/// Follows links.
pub(crate) fn of_path(path: &Path) -> io::Result<FileStat> {
    Ok(FileStat::from(&fs::metadata(path)?))
}

/// Opens for reading.
pub(crate) fn open(path: &Path) -> io::Result<(File, FileStat)> {
    // Opening anything else may wait for its other end.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "no regular file"));
    }
    let file = File::open(path)?;
    let stat = FileStat::from(&file.metadata()?);
    Ok((file, stat))
}

/// A directory by its path.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        fs::read_dir(path)?;
        Ok(Self(path.to_owned()))
    }

    /// The names in it, in no order.
    pub(crate) fn each(
        &self,
        mut each: impl FnMut(&OsStr, Kind) -> ControlFlow<()>,
    ) -> io::Result<()> {
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            let kind = match entry.file_type() {
                Ok(kind) if kind.is_dir() => Kind::Directory,
                Ok(kind) if kind.is_file() => Kind::File,
                Ok(kind) if kind.is_symlink() => Kind::Link,
                _ => Kind::Other,
            };
            if each(&entry.file_name(), kind).is_break() {
                break;
            }
        }
        Ok(())
    }

    pub(crate) fn stat(&self, name: &OsStr) -> io::Result<FileStat> {
        Ok(FileStat::from(&fs::symlink_metadata(self.0.join(name))?))
    }
}
