use std::path::Path;

use anyhow::Result;
use emdb::Emdb;

use super::{Job, Peer};

struct Log(Emdb);

pub(super) fn open(dir: &Path, _: &Job) -> Result<Box<dyn Peer>> {
    Ok(Box::new(Log(Emdb::open(dir.join("records.emdb"))?)))
}

impl Peer for Log {
    fn put_many(&self, pairs: &[(&[u8], &[u8])]) -> Result<()> {
        Ok(self.0.insert_many(pairs.iter().copied())?)
    }

    fn flush(&self) -> Result<()> {
        Ok(self.0.flush()?)
    }

    fn put_durable(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.0.insert(key, value)?;
        self.flush()
    }

    fn visit(&self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let found = self.0.get_zerocopy(key)?;
        Ok(found.inspect(|value| see(value.as_ref())).is_some())
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.0.checkpoint()?)
    }
}
