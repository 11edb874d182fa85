//! `BufMut` for pooled buffers: the one place of this crate with `unsafe` code.

#![allow(unsafe_code)]

use bytes::BufMut;
use bytes::buf::UninitSlice;

use super::handle::PooledBuf;

// SAFETY: every method forwards to `Vec<u8>`, whose implementation upholds the contract of `BufMut`:
// `chunk_mut` is the vector's spare capacity and stays in place until the buffer is written or grown.
unsafe impl BufMut for PooledBuf {
    #[inline]
    fn remaining_mut(&self) -> usize {
        self.storage().remaining_mut()
    }

    #[inline]
    unsafe fn advance_mut(&mut self, count: usize) {
        // SAFETY: the caller promises that the next `count` bytes are initialised.
        unsafe { self.storage_mut().advance_mut(count) }
    }

    #[inline]
    fn chunk_mut(&mut self) -> &mut UninitSlice {
        self.storage_mut().chunk_mut()
    }

    #[inline]
    fn put_slice(&mut self, src: &[u8]) {
        self.extend_from_slice(src);
    }

    #[inline]
    fn put_bytes(&mut self, value: u8, count: usize) {
        self.storage_mut().put_bytes(value, count);
    }
}
