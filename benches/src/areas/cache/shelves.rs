//! What others keep cached values in that are to outlive the process.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use foyer::{
    BlockEngineConfig, DeviceBuilder as _, FsDeviceBuilder, HybridCache, HybridCacheBuilder,
    HybridCachePolicy, Source,
};
use rusqlite::Connection;

/// A place on disk for values by name.
pub(super) trait Shelf {
    /// Name and version.
    fn named(&self) -> (&'static str, &'static str);

    /// The value, in memory of one's own.
    fn get(&self, name: &str) -> Result<Bytes>;
}

/// Every peer below `folder`, each with all values.
pub(super) fn shelves(
    folder: &Path,
    names: &[String],
    values: &[Bytes],
) -> Result<Vec<Box<dyn Shelf>>> {
    Ok(vec![
        Box::new(Files::fill(folder.join("files"), names, values)?),
        Box::new(Cacache::fill(folder.join("cacache"), names, values)?),
        Box::new(Sqlite::fill(&folder.join("cache.sqlite"), names, values)?),
        Box::new(Foyer::fill(&folder.join("foyer"), names, values)?),
    ])
}

/// A file a value, unchecked.
struct Files(PathBuf);

impl Files {
    fn fill(folder: PathBuf, names: &[String], values: &[Bytes]) -> Result<Self> {
        let files = Self(folder);
        std::fs::create_dir(&files.0)?;
        for (name, value) in names.iter().zip(values) {
            std::fs::write(files.path(name), value)?;
        }
        Ok(files)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name.replace('/', "-"))
    }
}

impl Shelf for Files {
    fn named(&self) -> (&'static str, &'static str) {
        ("one file per key", "fs::read")
    }

    fn get(&self, name: &str) -> Result<Bytes> {
        Ok(std::fs::read(self.path(name))?.into())
    }
}

/// Reads are checked against a SHA-256, as its documents have it.
struct Cacache(PathBuf);

impl Cacache {
    fn fill(folder: PathBuf, names: &[String], values: &[Bytes]) -> Result<Self> {
        for (name, value) in names.iter().zip(values) {
            cacache::write_sync(&folder, name, value).context("cacache takes a value")?;
        }
        Ok(Self(folder))
    }
}

impl Shelf for Cacache {
    fn named(&self) -> (&'static str, &'static str) {
        ("cacache", "13")
    }

    fn get(&self, name: &str) -> Result<Bytes> {
        let found = cacache::read_sync(&self.0, name);
        Ok(found.context("cacache has the value")?.into())
    }
}

/// A table in WAL mode, its file mapped and its statement kept.
struct Sqlite(Connection);

impl Sqlite {
    fn fill(file: &Path, names: &[String], values: &[Bytes]) -> Result<Self> {
        let mut connection = Connection::open(file)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "mmap_size", 1i64 << 30)?;
        connection
            .execute_batch("CREATE TABLE cache (key TEXT PRIMARY KEY, value BLOB NOT NULL)")?;
        let filling = connection.transaction()?;
        for (name, value) in names.iter().zip(values) {
            let row = (name, &value[..]);
            filling
                .prepare_cached("INSERT INTO cache VALUES (?1, ?2)")?
                .execute(row)?;
        }
        filling.commit()?;
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(Self(connection))
    }
}

impl Shelf for Sqlite {
    fn named(&self) -> (&'static str, &'static str) {
        ("rusqlite (SQLite, WAL)", "0.41")
    }

    fn get(&self, name: &str) -> Result<Bytes> {
        let mut get = self
            .0
            .prepare_cached("SELECT value FROM cache WHERE key = ?1")?;
        let value = get.query_row([name], |row| {
            Ok(Bytes::copy_from_slice(row.get_ref(0)?.as_blob()?))
        });
        Ok(value?)
    }
}

/// The disk tier below a memory of one entry; it reads on threads of its own.
struct Foyer {
    cache: HybridCache<String, Bytes>,
    runtime: tokio::runtime::Runtime,
}

impl Foyer {
    fn fill(folder: &Path, names: &[String], values: &[Bytes]) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let cache = runtime.block_on(async {
            let device = FsDeviceBuilder::new(folder)
                .with_capacity(64 << 20)
                .build()?;
            let built = HybridCacheBuilder::new()
                .with_policy(HybridCachePolicy::WriteOnInsertion)
                .memory(1)
                .with_shards(1)
                .storage()
                .with_engine_config(BlockEngineConfig::new(device))
                .build();
            let cache: HybridCache<String, Bytes> = built.await?;
            for (name, value) in names.iter().zip(values) {
                cache.insert(name.clone(), value.clone());
            }
            cache.storage().wait().await;
            anyhow::Ok(cache)
        })?;
        Ok(Self { cache, runtime })
    }
}

impl Shelf for Foyer {
    fn named(&self) -> (&'static str, &'static str) {
        ("foyer (disk)", "0.22")
    }

    fn get(&self, name: &str) -> Result<Bytes> {
        let found = self.runtime.block_on(self.cache.get(name))?;
        let entry = found.context("foyer has the value")?;
        anyhow::ensure!(
            entry.source() != Source::Outer,
            "foyer did not read the value from disk"
        );
        Ok(entry.value().clone())
    }
}
