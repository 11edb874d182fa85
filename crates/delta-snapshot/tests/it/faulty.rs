//! A backing that fails at a chosen call and stays dead from then on, like a process that was killed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use mainspring_delta_snapshot::{Backing, Entry, MemoryBacking};

/// What the failing call leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing.
    Lost,
    /// Half of an append; all of a put or delete.
    Half,
    /// Everything, although an error is reported.
    Done,
}

#[derive(Debug, Clone)]
pub(crate) struct Faulty {
    pub(crate) inner: Arc<MemoryBacking>,
    calls: Arc<AtomicUsize>,
    fail_at: usize,
    fate: Fate,
    /// Dead after the failure, or only that one call.
    lasting: bool,
    dead: Arc<AtomicBool>,
}

impl Faulty {
    pub(crate) fn new(
        inner: Arc<MemoryBacking>,
        fail_at: usize,
        fate: Fate,
        lasting: bool,
    ) -> Self {
        Self {
            inner,
            calls: Arc::default(),
            fail_at,
            fate,
            lasting,
            dead: Arc::default(),
        }
    }

    pub(crate) fn tripped(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    fn step(
        &self,
        half: impl FnOnce() -> io::Result<()>,
        whole: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let dead = || Err(io::Error::other("injected"));
        if self.lasting && self.tripped() {
            return dead();
        }
        if self.calls.fetch_add(1, Ordering::Relaxed) != self.fail_at {
            return whole();
        }
        self.dead.store(true, Ordering::Relaxed);
        match self.fate {
            Fate::Lost => {}
            Fate::Half => half()?,
            Fate::Done => whole()?,
        }
        dead()
    }
}

impl Backing for Faulty {
    fn get(&self, key: &str) -> io::Result<Option<Bytes>> {
        self.inner.get(key)
    }

    fn put(&self, key: &str, value: &[u8]) -> io::Result<()> {
        self.step(|| self.inner.put(key, value), || self.inner.put(key, value))
    }

    fn append(&self, key: &str, value: &[u8]) -> io::Result<()> {
        let half = &value[..value.len() / 2];
        self.step(
            || self.inner.append(key, half),
            || self.inner.append(key, value),
        )
    }

    fn delete(&self, key: &str) -> io::Result<()> {
        self.step(|| self.inner.delete(key), || self.inner.delete(key))
    }

    fn list(&self, prefix: &str) -> io::Result<Vec<Entry>> {
        self.inner.list(prefix)
    }

    fn sync(&self) -> io::Result<()> {
        self.step(|| Ok(()), || Ok(()))
    }
}
