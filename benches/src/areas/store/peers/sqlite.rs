use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{CACHE, Job, Peer};

const PUT: &str = "INSERT OR REPLACE INTO records VALUES (?1, ?2)";
const GET: &str = "SELECT value FROM records WHERE key = ?1";

/// One connection: writers take turns anyway.
struct Sqlite {
    file: PathBuf,
    connection: Mutex<Connection>,
}

pub(super) fn open(dir: &Path, job: &Job) -> Result<Box<dyn Peer>> {
    let file = dir.join("records.sqlite");
    let connection = Connection::open(&file)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    let synchronous = if job.durable { "FULL" } else { "OFF" };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "cache_size", -(CACHE as i64 >> 10))?;
    connection.pragma_update(None, "mmap_size", CACHE as i64)?;
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS records (key BLOB PRIMARY KEY, value BLOB NOT NULL)",
    )?;
    Ok(Box::new(Sqlite {
        file,
        connection: Mutex::new(connection),
    }))
}

impl Sqlite {
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peer for Sqlite {
    fn put_many(&self, pairs: &[(&[u8], &[u8])]) -> Result<()> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        {
            let mut put = transaction.prepare_cached(PUT)?;
            for (key, value) in pairs {
                put.execute(params![key, value])?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn flush(&self) -> Result<()> {
        let connection = self.connection();
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(std::fs::File::open(&self.file)?.sync_all()?)
    }

    fn put_durable(&self, key: &[u8], value: &[u8]) -> Result<()> {
        let connection = self.connection();
        connection
            .prepare_cached(PUT)?
            .execute(params![key, value])?;
        Ok(())
    }

    fn visit(&self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let connection = self.connection();
        let mut get = connection.prepare_cached(GET)?;
        let found = get.query_row([key], |row| {
            see(row.get_ref(0)?.as_blob().unwrap_or_default());
            Ok(())
        });
        Ok(found.optional()?.is_some())
    }
}
