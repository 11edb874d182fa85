//! Linux: plain `stat` calls into a small structure, files opened so that nothing is waited for, and
//! directories read without an allocation per name.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    mem::MaybeUninit,
    ops::ControlFlow,
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    },
    path::Path,
};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, Stat};

use super::{FileStat, Kind};
use crate::signature::Signature;

impl FileStat {
    fn of(stat: &Stat) -> Self {
        let nanos =
            |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
        let signature = Signature {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size.cast_unsigned(),
            modified: nanos(stat.st_mtime, stat.st_mtime_nsec as i64),
            changed: nanos(stat.st_ctime, stat.st_ctime_nsec as i64),
        };
        Self {
            is_file: FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile,
            signature,
        }
    }
}

/// Follows links.
pub(crate) fn of_path(path: &Path) -> io::Result<FileStat> {
    Ok(FileStat::of(&rustix::fs::stat(path)?))
}

/// Opens for reading without waiting for anything: what is no regular file is opened at most and told.
pub(crate) fn open(path: &Path) -> io::Result<(File, FileStat)> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut options = File::options();
    options.read(true).custom_flags(flags.bits().cast_signed());
    let file = options.open(path)?;
    let stat = FileStat::of(&rustix::fs::fstat(&file)?);
    Ok((file, stat))
}

/// An open directory.
pub(crate) struct Directory(OwnedFd);

impl Directory {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::openat(CWD, path, flags, Mode::empty())?))
    }

    /// The names in it, in no order; works once.
    pub(crate) fn each(
        &self,
        mut each: impl FnMut(&OsStr, Kind) -> ControlFlow<()>,
    ) -> io::Result<()> {
        let mut buffer = [MaybeUninit::<u8>::uninit(); 8 << 10];
        let mut names = RawDir::new(&self.0, &mut buffer);
        while let Some(entry) = names.next() {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if each(name, self.kind(name, entry.file_type())).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Asked through the open directory, which spares the system the walk along the path.
    pub(crate) fn stat(&self, name: &OsStr) -> io::Result<FileStat> {
        let stat = rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(FileStat::of(&stat))
    }

    /// Some file systems do not tell kinds with the names.
    fn kind(&self, name: &OsStr, told: FileType) -> Kind {
        let told = match told {
            FileType::Unknown => rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)
                .map_or(FileType::Unknown, |stat| {
                    FileType::from_raw_mode(stat.st_mode)
                }),
            told => told,
        };
        match told {
            FileType::Directory => Kind::Directory,
            FileType::RegularFile => Kind::File,
            FileType::Symlink => Kind::Link,
            _ => Kind::Other,
        }
    }
}
