//! The store for asynchronous callers.

use std::path::Path;

use bytes::Bytes;
use tokio::task::{JoinError, JoinHandle, spawn_blocking};

use crate::batch::Batch;
use crate::compact::CompactReport;
use crate::error::{Error, Result};
use crate::insertion::{Inserted, ScanInserted};
use crate::lazy::LazyRecord;
use crate::options::{Durability, Options};
use crate::repair::RepairReport;
use crate::scan::Scan;
use crate::stats::Stats;
use crate::store::Store;
use crate::verify::VerifyReport;

/// A [`Store`] whose calls run on tokio's blocking threads, so that a slow disk never holds up an
/// executor thread.
///
/// A call that was begun runs to its end even when its future is dropped: a dropped write is either
/// done whole or not begun. Must be used inside a tokio runtime. For a read that is likely in the
/// page cache, calling [`Store::get`] directly costs less than the hand-over.
/// Dropping the last handle closes the store on the thread that drops it: [`close`](Self::close) it.
#[derive(Debug, Clone)]
pub struct AsyncStore {
    store: Store,
}

impl From<Store> for AsyncStore {
    fn from(store: Store) -> Self {
        Self { store }
    }
}

impl AsyncStore {
    /// The store itself.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// As [`Options::open`].
    ///
    /// # Errors
    /// As there, and [`Error::Closed`] when the runtime is shutting down.
    pub async fn open(options: Options, dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref().to_path_buf();
        let store = blocking(move || options.open(dir)).await?;
        Ok(Self { store })
    }

    /// As [`Store::repair`].
    ///
    /// # Errors
    /// As there, and [`Error::Closed`] when the runtime is shutting down.
    pub async fn repair(dir: impl AsRef<Path>) -> Result<RepairReport> {
        let dir = dir.as_ref().to_path_buf();
        blocking(move || Store::repair(dir)).await
    }

    async fn run<T, F>(&self, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(Store) -> Result<T> + Send + 'static,
    {
        let store = self.store.clone();
        blocking(move || job(store)).await
    }

    /// As [`Store::get`].
    ///
    /// # Errors
    /// As there, and [`Error::Closed`] when the runtime is shutting down.
    pub async fn get(&self, key: impl Into<Bytes>) -> Result<Option<Bytes>> {
        let key = key.into();
        self.run(move |store| store.get(&key)).await
    }

    /// As [`Store::get_lazy`]. Touching a field of the record reads it on the calling thread; what
    /// is large should be touched on a blocking one.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn get_lazy(&self, key: impl Into<Bytes>) -> Result<Option<LazyRecord>> {
        let key = key.into();
        self.run(move |store| store.get_lazy(&key)).await
    }

    /// As [`Store::contains`].
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn contains(&self, key: impl Into<Bytes>) -> Result<bool> {
        let key = key.into();
        self.run(move |store| store.contains(&key)).await
    }

    /// As [`Store::put`].
    ///
    /// # Errors
    /// As there, and [`Error::Closed`] when the runtime is shutting down.
    pub async fn put(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<()> {
        let (key, value) = (key.into(), value.into());
        self.run(move |store| store.put(&key, &value)).await
    }

    /// As [`Store::delete`].
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn delete(&self, key: impl Into<Bytes>) -> Result<bool> {
        let key = key.into();
        self.run(move |store| store.delete(&key)).await
    }

    /// As [`Store::compare_and_set`].
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn compare_and_set(
        &self,
        key: impl Into<Bytes>,
        expected: Option<Bytes>,
        new: Option<Bytes>,
    ) -> Result<bool> {
        let key = key.into();
        self.run(move |store| store.compare_and_set(&key, expected.as_deref(), new.as_deref()))
            .await
    }

    /// As [`Store::write`].
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn write(&self, batch: Batch) -> Result<()> {
        self.run(move |store| store.write(batch)).await
    }

    /// All pairs whose key begins with `prefix`, at most `limit` of them, in order.
    ///
    /// # Errors
    /// The first error of [`Store::scan_prefix`].
    pub async fn prefix(
        &self,
        prefix: impl Into<Bytes>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>> {
        let prefix = prefix.into();
        self.run(move |store| store.scan_prefix(&prefix)?.take(limit).collect())
            .await
    }

    /// As [`Store::scan_prefix`], a piece at a time.
    ///
    /// # Errors
    /// As there, and [`Error::Closed`] when the runtime is shutting down.
    pub async fn scan_prefix(
        &self,
        prefix: impl Into<Bytes>,
    ) -> Result<AsyncScan<Scan, (Bytes, Bytes)>> {
        let prefix = prefix.into();
        let scan = self.run(move |store| store.scan_prefix(&prefix)).await?;
        Ok(AsyncScan::new(scan))
    }

    /// As [`Store::scan_inserted`], a piece at a time.
    #[must_use]
    pub fn scan_inserted(&self, from: u64) -> AsyncScan<ScanInserted, Inserted> {
        AsyncScan::new(self.store.scan_inserted(from))
    }

    /// As [`Store::backup`].
    ///
    /// # Errors
    /// As there, and [`Error::Closed`] when the runtime is shutting down.
    pub async fn backup(&self, dest: impl AsRef<Path>) -> Result<()> {
        let dest = dest.as_ref().to_path_buf();
        self.run(move |store| store.backup(dest)).await
    }

    /// As [`Store::refresh`].
    ///
    /// # Errors
    /// As there, and [`Error::Closed`] when the runtime is shutting down.
    pub async fn refresh(&self) -> Result<bool> {
        self.run(|store| store.refresh()).await
    }

    /// As [`Store::stats`], which may have to read parts of the index.
    ///
    /// # Errors
    /// [`Error::Closed`] when the runtime is shutting down.
    pub async fn stats(&self) -> Result<Stats> {
        self.run(|store| Ok(store.stats())).await
    }

    /// As [`Store::flush`].
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn flush(&self, durability: Durability) -> Result<()> {
        self.run(move |store| store.flush(durability)).await
    }

    /// As [`Store::compact`].
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn compact(&self) -> Result<CompactReport> {
        self.run(|store| store.compact()).await
    }

    /// As [`Store::verify`].
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn verify(&self) -> Result<VerifyReport> {
        self.run(|store| store.verify()).await
    }

    /// As [`Store::close`].
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn close(self) -> Result<()> {
        self.run(Store::close).await
    }
}

/// A scan that is read on tokio's blocking threads, made by [`AsyncStore::scan_prefix`] and
/// [`AsyncStore::scan_inserted`].
#[derive(Debug)]
pub struct AsyncScan<S, T> {
    step: Step<S, T>,
}

/// What a step reads, and where it goes on.
type Read<S, T> = (Vec<Result<T>>, S);

#[derive(Debug)]
enum Step<S, T> {
    Waiting(S),
    /// Kept while it runs, so that a call that is dropped loses nothing: the next one takes it over.
    Running(JoinHandle<Read<S, T>>),
    /// The scan panicked, or the runtime shut down under it.
    Gone,
}

impl<S, T> AsyncScan<S, T>
where
    S: Iterator<Item = Result<T>> + Send + 'static,
    T: Send + 'static,
{
    fn new(scan: S) -> Self {
        Self {
            step: Step::Waiting(scan),
        }
    }

    /// The next items, at most `limit` of them; none at the end. A damaged record is an `Err` among
    /// them, and the scan goes on behind it.
    ///
    /// A call that is dropped loses nothing: the next one gives what it read, with the limit that it had.
    ///
    /// # Errors
    /// [`Error::Closed`] when the runtime is shutting down, and ever after.
    ///
    /// # Panics
    /// When the scan did.
    pub async fn next_items(&mut self, limit: usize) -> Result<Vec<Result<T>>> {
        let step = std::mem::replace(&mut self.step, Step::Gone);
        self.step = match step {
            Step::Waiting(mut scan) => Step::Running(spawn_blocking(move || {
                let items = scan.by_ref().take(limit).collect();
                (items, scan)
            })),
            running => running,
        };
        let Step::Running(reading) = &mut self.step else {
            return Err(Error::Closed);
        };
        let read = joined(reading.await);
        self.step = Step::Gone;
        let (items, scan) = read?;
        self.step = Step::Waiting(scan);
        Ok(items)
    }
}

async fn blocking<T, F>(job: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T> + Send + 'static,
{
    joined(spawn_blocking(job).await)?
}

fn joined<T>(done: Result<T, JoinError>) -> Result<T> {
    match done {
        Ok(result) => Ok(result),
        // The runtime is shutting down; the job never began.
        Err(e) if e.is_cancelled() => Err(Error::Closed),
        Err(e) => std::panic::resume_unwind(e.into_panic()),
    }
}
