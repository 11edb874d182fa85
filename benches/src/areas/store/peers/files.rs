use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Result;

use super::{Job, Peer};

/// A folder per session, a file per record.
struct Files(PathBuf);

pub(super) fn open(dir: &Path, _: &Job) -> Result<Box<dyn Peer>> {
    Ok(Box::new(Files(dir.to_owned())))
}

impl Files {
    fn path(&self, key: &[u8]) -> PathBuf {
        self.0.join(String::from_utf8_lossy(key).as_ref())
    }

    fn create(&self, key: &[u8]) -> Result<File> {
        let path = self.path(key);
        match File::create(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                fs::create_dir_all(path.parent().unwrap_or(&self.0))?;
                Ok(File::create(&path)?)
            }
            file => Ok(file?),
        }
    }
}

impl Peer for Files {
    fn put_many(&self, pairs: &[(&[u8], &[u8])]) -> Result<()> {
        for (key, value) in pairs {
            self.create(key)?.write_all(value)?;
        }
        Ok(())
    }

    /// Nothing: a sync for each of so many files would take minutes.
    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn put_durable(&self, key: &[u8], value: &[u8]) -> Result<()> {
        let mut file = self.create(key)?;
        file.write_all(value)?;
        file.sync_all()?;
        let path = self.path(key);
        Ok(File::open(path.parent().unwrap_or(&self.0))?.sync_all()?)
    }

    fn visit(&self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        match fs::read(self.path(key)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            value => {
                see(&value?);
                Ok(true)
            }
        }
    }
}
