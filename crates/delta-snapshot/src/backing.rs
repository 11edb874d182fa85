use std::{fmt, io, sync::Arc};

use bytes::Bytes;

/// One key of a backing store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Bytes stored under it.
    pub len: u64,
}

/// Where versions are kept: a handful of calls that a directory, a key-value store or an object store can all answer.
///
/// Keys are ASCII (`[a-z0-9/]`, at most 80 bytes). What this crate relies on:
///
/// - `put` is atomic: after a crash the value is the old one or the new one, never a mixture.
/// - `append` may be torn by a crash or an error: any prefix of what was not synced may be there. A key-value store
///   can keep each append under a key of its own, as long as `get` returns them joined in order and `list` shows one entry.
/// - after `sync` returns, every earlier `put`, `append` and `delete` survives a crash, and none of them may reach the
///   medium after a later one that was synced.
///
/// Calls come from several threads at a time; of one key only reads come while it is written.
///
/// [`MemoryBacking`](crate::MemoryBacking) and [`DirBacking`](crate::DirBacking) are shipped.
pub trait Backing: Send + Sync + fmt::Debug {
    /// The whole value, or `None` when there is no such key. [`io::ErrorKind::InvalidData`] says that the value is there
    /// and damaged, the error's text where: then what needs it is damaged, and nothing else. Other errors are failures of
    /// the whole backing.
    fn get(&self, key: &str) -> io::Result<Option<Bytes>>;
    /// Replaces the value atomically.
    fn put(&self, key: &str, value: &[u8]) -> io::Result<()>;
    /// Adds to the end of the value, which starts empty.
    fn append(&self, key: &str, value: &[u8]) -> io::Result<()>;
    /// Removes the key; a key that is not there is no error.
    fn delete(&self, key: &str) -> io::Result<()>;
    /// All keys that start with `prefix`, sorted.
    fn list(&self, prefix: &str) -> io::Result<Vec<Entry>>;
    /// Makes everything before durable.
    fn sync(&self) -> io::Result<()>;
}

impl<B: Backing + ?Sized> Backing for Arc<B> {
    fn get(&self, key: &str) -> io::Result<Option<Bytes>> {
        (**self).get(key)
    }
    fn put(&self, key: &str, value: &[u8]) -> io::Result<()> {
        (**self).put(key, value)
    }
    fn append(&self, key: &str, value: &[u8]) -> io::Result<()> {
        (**self).append(key, value)
    }
    fn delete(&self, key: &str) -> io::Result<()> {
        (**self).delete(key)
    }
    fn list(&self, prefix: &str) -> io::Result<Vec<Entry>> {
        (**self).list(prefix)
    }
    fn sync(&self) -> io::Result<()> {
        (**self).sync()
    }
}
