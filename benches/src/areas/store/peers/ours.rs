use std::path::Path;

use anyhow::Result;
use mainspring_mmap_store::{Batch, Durability, Options, Store};

use super::{Job, Peer};

/// Our store.
pub(crate) struct Handle(pub(crate) Store);

pub(super) fn open(dir: &Path, job: &Job) -> Result<Box<dyn Peer>> {
    let durability = match job.durable {
        true => Durability::Always,
        false => Durability::Os,
    };
    let options = Options::new()
        .create(true)
        .durability(durability)
        .whole_blocks(job.read)
        .segment_size(segment_size(job.bytes));
    Ok(Box::new(Handle(options.open(dir)?)))
}

/// The default of 32 MiB for 515 MB of records; less for fewer, so that the share of the active
/// segment stays what it is there.
fn segment_size(bytes: u64) -> u64 {
    (bytes / 16).clamp(1 << 16, 32 << 20)
}

impl Handle {
    /// A second handle, for reading.
    pub(crate) fn reader(dir: &Path) -> Result<Self> {
        Ok(Self(Options::new().read_only(true).open(dir)?))
    }

    /// A second handle, for reading from mapped segments.
    #[allow(
        unsafe_code,
        reason = "mapping is unsafe: nobody else touches this temporary folder"
    )]
    pub(crate) fn mapped_reader(dir: &Path) -> Result<Self> {
        // SAFETY: the folder is ours alone; the store itself never shortens a sealed segment.
        let options = unsafe { Options::new().read_only(true).mapped() };
        Ok(Self(options.open(dir)?))
    }
}

impl Peer for Handle {
    fn put_many(&self, pairs: &[(&[u8], &[u8])]) -> Result<()> {
        let mut batch = Batch::new();
        for (key, value) in pairs {
            batch.put(key, value);
        }
        Ok(self.0.write(batch)?)
    }

    fn flush(&self) -> Result<()> {
        Ok(self.0.flush(Durability::Always)?)
    }

    fn put_durable(&self, key: &[u8], value: &[u8]) -> Result<()> {
        Ok(self.0.put(key, value)?)
    }

    fn visit(&self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let found = self.0.get(key)?;
        Ok(found.inspect(|value| see(value)).is_some())
    }

    fn syncs(&self) -> Option<u64> {
        Some(self.0.stats().syncs)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.0.close()?)
    }
}
