use std::path::Path;

use anyhow::Result;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, types::Bytes};

use super::{Job, Peer};

struct Lmdb {
    env: Env,
    database: Database<'static, Bytes, Bytes>,
}

#[allow(
    unsafe_code,
    reason = "opening LMDB is unsafe: nobody else touches this temporary folder"
)]
pub(super) fn open(dir: &Path, job: &Job) -> Result<Box<dyn Peer>> {
    let mut options = EnvOpenOptions::new();
    options.map_size(1 << 36);
    if !job.durable {
        // SAFETY: without syncs a power cut may spoil the file, which no row suffers.
        unsafe { options.flags(EnvFlags::NO_SYNC) };
    }
    // SAFETY: the folder is ours alone, and the environment is opened once.
    let env = unsafe { options.open(dir)? };
    let opened = env.create_databases_and_commit(env.write_txn()?, |opener, transaction| {
        let database = opener.create_database::<Bytes, Bytes>(transaction, None)?;
        Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(database))
    })?;
    let database = opened.unwrap_commit();
    Ok(Box::new(Lmdb { env, database }))
}

impl Peer for Lmdb {
    fn put_many(&self, pairs: &[(&[u8], &[u8])]) -> Result<()> {
        let mut transaction = self.env.write_txn()?;
        for (key, value) in pairs {
            self.database.put(&mut transaction, key, value)?;
        }
        Ok(transaction.commit()?)
    }

    fn flush(&self) -> Result<()> {
        Ok(self.env.force_sync()?)
    }

    fn put_durable(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.put_many(&[(key, value)])
    }

    fn visit(&self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let transaction = self.env.read_txn()?;
        let found = self.database.get(&transaction, key)?;
        Ok(found.inspect(|value| see(value)).is_some())
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.env.prepare_for_closing().wait();
        Ok(())
    }
}
