use std::path::Path;

use anyhow::Result;

use super::{CACHE, Job, Peer};

struct Sled(sled::Db);

pub(super) fn open(dir: &Path, _: &Job) -> Result<Box<dyn Peer>> {
    let config = sled::Config::new()
        .path(dir)
        .cache_capacity(CACHE as u64)
        .mode(sled::Mode::HighThroughput);
    Ok(Box::new(Sled(config.open()?)))
}

impl Peer for Sled {
    fn put_many(&self, pairs: &[(&[u8], &[u8])]) -> Result<()> {
        let mut batch = sled::Batch::default();
        for (key, value) in pairs {
            batch.insert(*key, *value);
        }
        Ok(self.0.apply_batch(batch)?)
    }

    fn flush(&self) -> Result<()> {
        self.0.flush()?;
        Ok(())
    }

    fn put_durable(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.0.insert(key, value)?;
        self.flush()
    }

    fn visit(&self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let found = self.0.get(key)?;
        Ok(found.inspect(|value| see(value)).is_some())
    }
}
