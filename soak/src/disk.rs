//! A small disk of our own, where the machine lets us have one.

use std::{
    fs::File,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};
use rustix::fs::{FallocateFlags, fallocate, statvfs};

/// The folder that the runtime works in, on a disk of limited size or not.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) folder: PathBuf,
    /// What kind of mount it is.
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An ext4 image on a loop device: it can be full, and it can be frozen.
    Loop,
    /// A tmpfs: it can be full.
    Tmpfs,
    /// An ordinary folder.
    Folder,
}

impl Disk {
    /// Mounts a disk of so many bytes below `parent`: a loop device, else a tmpfs, else none.
    pub(crate) fn mount(parent: &Path, bytes: u64) -> Result<Self> {
        let folder = parent.join("disk");
        std::fs::create_dir_all(&folder)?;
        let image = parent.join("disk.img");
        File::create(&image)?.set_len(bytes)?;
        let target = folder.as_os_str();
        let made = quiet(
            Command::new("mkfs.ext4")
                .args(["-q", "-F", "-m", "0"])
                .arg(&image),
        ) && quiet(
            Command::new("mount")
                .args(["-o", "loop"])
                .arg(&image)
                .arg(target),
        );
        let kind = if made {
            Kind::Loop
        } else {
            std::fs::remove_file(&image)?;
            let size = format!("size={bytes}");
            let mut mount = Command::new("mount");
            mount
                .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
                .arg(target);
            if quiet(&mut mount) {
                Kind::Tmpfs
            } else {
                Kind::Folder
            }
        };
        Ok(Self { folder, kind })
    }

    /// Leaves no room, until [`empty`](Self::empty).
    pub(crate) fn fill(&self) -> Result<()> {
        let mut filler = File::create(self.filler())?;
        let free = statvfs(&self.folder)?;
        let left = (free.f_bavail * free.f_frsize).saturating_sub(256 << 10);
        fallocate(&filler, FallocateFlags::empty(), 0, left.max(1)).context("filling the disk")?;
        // The rest piece by piece, until there is none.
        let mut rest = File::options()
            .append(true)
            .create(true)
            .open(self.rest())?;
        let written = (0..1_024).try_for_each(|_| rest.write_all(&[0; 4_096]));
        match written {
            Err(error) if error.kind() != ErrorKind::StorageFull => Err(error.into()),
            _ => Ok(filler.flush()?),
        }
    }

    pub(crate) fn empty(&self) {
        let _ = std::fs::remove_file(self.filler());
        let _ = std::fs::remove_file(self.rest());
    }

    /// Lets every write wait; false where it cannot be done.
    pub(crate) fn freeze(&self) -> bool {
        self.kind == Kind::Loop && quiet(Command::new("fsfreeze").arg("-f").arg(&self.folder))
    }

    pub(crate) fn thaw(&self) {
        quiet(Command::new("fsfreeze").arg("-u").arg(&self.folder));
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }

    fn rest(&self) -> PathBuf {
        self.folder.join("filler.rest")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.kind == Kind::Loop {
            self.thaw();
        }
        if self.kind != Kind::Folder {
            quiet(Command::new("umount").arg(&self.folder));
        }
    }
}

fn quiet(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
