//! A buffer on loan.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};

use bytes::Bytes;

use super::class::fits;
use super::local;
use super::shelf::Slab;

/// A byte buffer from a [`BufferPool`](super::BufferPool), to be filled and read like a
/// `BytesMut`: it implements `BufMut` and `std::io::Write`, and dereferences to the bytes written so far.
///
/// It starts empty: bytes of an earlier user are not part of it, and no safe call makes them so.
/// It goes home when it is dropped, on whichever thread. It grows like a `Vec` when more is written
/// than was asked for; having outgrown its class, it is freed instead of kept.
pub struct PooledBuf {
    bytes: Vec<u8>,
    /// `None` for a buffer that the pool does not keep.
    home: Option<(std::sync::Arc<super::pool::Inner>, usize)>,
}

impl PooledBuf {
    pub(crate) fn pooled(slab: Slab, class: usize) -> Self {
        Self {
            bytes: slab.bytes,
            home: Some((slab.home, class)),
        }
    }

    pub(crate) fn direct(bytes: Vec<u8>) -> Self {
        Self { bytes, home: None }
    }

    pub(crate) fn storage(&self) -> &Vec<u8> {
        &self.bytes
    }

    pub(crate) fn storage_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Bytes that fit without growing.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Appends bytes, growing the buffer when they do not fit.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Makes room for `additional` more bytes.
    pub fn reserve(&mut self, additional: usize) {
        self.bytes.reserve(additional);
    }

    /// Sets the length: cuts the end off, or appends copies of `value`.
    pub fn resize(&mut self, len: usize, value: u8) {
        self.bytes.resize(len, value);
    }

    /// Keeps the first `len` bytes, if there are more.
    pub fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    /// Empties the buffer.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Makes the content shareable without copying it. The buffer goes home when the last clone or
    /// slice of it drops. Allocates one small box for the shared ownership.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }

    /// Takes the storage out of the pool for good.
    pub fn detach(mut self) -> Vec<u8> {
        if let Some((home, class)) = self.home.take() {
            home.untrack(class);
        }
        std::mem::take(&mut self.bytes)
    }
}

impl Drop for PooledBuf {
    #[inline]
    fn drop(&mut self) {
        let Some((home, class)) = self.home.take() else {
            return;
        };
        let mut bytes = std::mem::take(&mut self.bytes);
        if fits(class, bytes.capacity()) {
            bytes.clear();
            local::put(class, Slab { bytes, home });
        } else {
            drop(bytes);
            home.lost(class);
        }
    }
}

impl Deref for PooledBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for PooledBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl AsRef<[u8]> for PooledBuf {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsMut<[u8]> for PooledBuf {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl io::Write for PooledBuf {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Extend<u8> for PooledBuf {
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        self.bytes.extend(bytes);
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
            .field("len", &self.bytes.len())
            .field("capacity", &self.bytes.capacity())
            .field("pooled", &self.home.is_some())
            .finish()
    }
}
