//! A buffer on loan.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};

use bytes::Bytes;

use super::local;
use super::slab::Slab;

const PRESENT: &str = "the storage is present until the drop";

/// A byte buffer from a [`BufferPool`](super::BufferPool), to be filled and read like a
/// `BytesMut`: it implements `BufMut` and `std::io::Write`, and dereferences to the bytes written so far.
///
/// It starts empty: bytes of an earlier user are not part of it, and no safe call makes them so.
/// It goes home when it is dropped, on whichever thread. It grows like a `Vec` when more is written
/// than was asked for; having outgrown its class, it is freed instead of kept.
pub struct PooledBuf {
    slab: Option<Slab>,
}

impl PooledBuf {
    #[inline]
    pub(crate) fn new(slab: Slab) -> Self {
        Self { slab: Some(slab) }
    }

    #[inline]
    pub(crate) fn storage(&self) -> &Vec<u8> {
        &self.slab.as_ref().expect(PRESENT).bytes
    }

    #[inline]
    pub(crate) fn storage_mut(&mut self) -> &mut Vec<u8> {
        &mut self.slab.as_mut().expect(PRESENT).bytes
    }

    /// Bytes that fit without growing.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.storage().capacity()
    }

    /// Appends bytes, growing the buffer when they do not fit.
    #[inline]
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.storage_mut().extend_from_slice(bytes);
    }

    /// Makes room for `additional` more bytes.
    #[inline]
    pub fn reserve(&mut self, additional: usize) {
        self.storage_mut().reserve(additional);
    }

    /// Sets the length: cuts the end off, or appends copies of `value`.
    #[inline]
    pub fn resize(&mut self, len: usize, value: u8) {
        self.storage_mut().resize(len, value);
    }

    /// Keeps the first `len` bytes, if there are more.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.storage_mut().truncate(len);
    }

    /// Empties the buffer.
    #[inline]
    pub fn clear(&mut self) {
        self.storage_mut().clear();
    }

    /// Makes the content shareable without copying it. The buffer goes home when the last clone or
    /// slice of it drops. Allocates one small box for the shared ownership.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }

    /// Takes the storage out of the pool for good.
    pub fn detach(mut self) -> Vec<u8> {
        let mut slab = self.slab.take().expect(PRESENT);
        if let Some(home) = slab.home.take() {
            home.untrack(slab.class);
        }
        slab.bytes
    }
}

impl Drop for PooledBuf {
    #[inline]
    fn drop(&mut self) {
        let Some(mut slab) = self.slab.take() else {
            return;
        };
        if slab.home.is_none() || slab.has_outgrown() {
            return free(slab);
        }
        slab.bytes.clear();
        local::put(slab);
    }
}

#[cold]
fn free(slab: Slab) {
    let (home, class) = (slab.home.clone(), slab.class);
    drop(slab);
    if let Some(home) = home {
        home.lost(class);
    }
}

impl Deref for PooledBuf {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.storage()
    }
}

impl DerefMut for PooledBuf {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        self.storage_mut()
    }
}

impl AsRef<[u8]> for PooledBuf {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self.storage()
    }
}

impl AsMut<[u8]> for PooledBuf {
    #[inline]
    fn as_mut(&mut self) -> &mut [u8] {
        self.storage_mut()
    }
}

impl io::Write for PooledBuf {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.storage_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Extend<u8> for PooledBuf {
    #[inline]
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        self.storage_mut().extend(bytes);
    }
}

impl From<PooledBuf> for Bytes {
    fn from(buf: PooledBuf) -> Bytes {
        buf.freeze()
    }
}

impl fmt::Debug for PooledBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledBuf")
            .field("len", &self.storage().len())
            .field("capacity", &self.storage().capacity())
            .field(
                "pooled",
                &self.slab.as_ref().is_some_and(|slab| slab.home.is_some()),
            )
            .finish()
    }
}
