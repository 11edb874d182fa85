//! Which tiers missed something, on disk, so that a restart does not forget it.

use crate::error::Error;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

/// A folder with an empty file for each tier that can be trusted.
///
/// A debt is noted by removing the tier's file, which also works where the disk is full, and a tier without
/// one is in debt, so that nothing that goes wrong here makes a tier look better than it is. A file `tiers` says that
/// the folder was set up.
#[derive(Debug)]
pub(crate) struct Debts {
    folder: PathBuf,
}

const SET_UP: &str = "tiers";

impl Debts {
    /// Opens the folder, or sets it up for tiers of these names, all of them trusted.
    pub(crate) fn open(
        folder: PathBuf,
        names: impl Iterator<Item = String>,
    ) -> Result<Self, Error> {
        let debts = Self { folder };
        let set_up = || -> io::Result<()> {
            fs::create_dir_all(&debts.folder)?;
            if fs::exists(debts.folder.join(SET_UP))? {
                return Ok(());
            }
            for name in names {
                File::create(debts.file(&name))?;
            }
            File::create(debts.folder.join(SET_UP))?;
            sync(&debts.folder)
        };
        set_up().map_err(|e| Error::io("set up the folder of debts", e))?;
        Ok(debts)
    }

    /// The name of a tier in its place: two of one kind are told apart.
    pub(crate) fn name(place: usize, tier: &str) -> String {
        format!("{place} {tier}")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder
            .join(format!("{:016x}.paid", xxh3_64(name.as_bytes())))
    }

    pub(crate) fn is_owed(&self, name: &str) -> bool {
        !fs::exists(self.file(name)).unwrap_or(false)
    }

    /// Notes that the tier missed something.
    pub(crate) fn owe(&self, name: &str) -> Result<(), Error> {
        let removed = match fs::remove_file(self.file(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => sync(&self.folder),
        };
        removed.map_err(|e| Error::io("note that a tier missed something", e))
    }

    /// Notes that the tier was emptied since it missed something.
    pub(crate) fn pay(&self, name: &str) -> Result<(), Error> {
        let made = File::create(self.file(name)).and_then(|_| sync(&self.folder));
        made.map_err(|e| Error::io("note that a tier was emptied", e))
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(folder)?.sync_all()
    } else {
        Ok(())
    }
}
