use std::{
    collections::BTreeMap,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use crate::backing::{Backing, Entry};

/// Keeps everything in memory: for tests, and for runs whose history need not outlive the process.
#[derive(Debug, Default)]
pub struct MemoryBacking {
    values: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl MemoryBacking {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn values(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backing for MemoryBacking {
    fn get(&self, key: &str) -> io::Result<Option<Bytes>> {
        Ok(self.values().get(key).map(|v| Bytes::copy_from_slice(v)))
    }

    fn put(&self, key: &str, value: &[u8]) -> io::Result<()> {
        self.values().insert(key.to_owned(), value.to_vec());
        Ok(())
    }

    fn append(&self, key: &str, value: &[u8]) -> io::Result<()> {
        let mut values = self.values();
        match values.get_mut(key) {
            Some(stored) => stored.extend_from_slice(value),
            None => drop(values.insert(key.to_owned(), value.to_vec())),
        }
        Ok(())
    }

    fn delete(&self, key: &str) -> io::Result<()> {
        self.values().remove(key);
        Ok(())
    }

    fn list(&self, prefix: &str) -> io::Result<Vec<Entry>> {
        let values = self.values();
        let hits = values
            .range(prefix.to_owned()..)
            .take_while(|(key, _)| key.starts_with(prefix));
        Ok(hits
            .map(|(key, value)| Entry {
                key: key.clone(),
                len: value.len() as u64,
            })
            .collect())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
