//! Memory from mimalloc, beside the allocator of the process.

#![allow(
    unsafe_code,
    reason = "an allocator that is not the global one can only be asked through `GlobalAlloc`"
)]

use std::alloc::{GlobalAlloc, Layout};

use ::mimalloc::MiMalloc;

/// A block that goes back to mimalloc on drop.
pub(super) struct Block {
    start: *mut u8,
    layout: Layout,
}

impl Block {
    /// Untouched memory.
    pub(super) fn new(bytes: usize) -> Self {
        let layout = layout(bytes);
        // SAFETY: the layout is not empty, see `layout`.
        let start = unsafe { MiMalloc.alloc(layout) };
        Self::kept(start, layout)
    }

    /// Zeroed memory.
    pub(super) fn zeroed(bytes: usize) -> Self {
        let layout = layout(bytes);
        // SAFETY: the layout is not empty, see `layout`.
        let start = unsafe { MiMalloc.alloc_zeroed(layout) };
        Self::kept(start, layout)
    }

    fn kept(start: *mut u8, layout: Layout) -> Self {
        assert!(!start.is_null(), "out of memory");
        Self { start, layout }
    }

    /// Writes to the start of it, as much as fits.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        let count = bytes.len().min(self.layout.size());
        // SAFETY: the block is `layout.size()` bytes, is ours alone, and does not overlap `bytes`.
        unsafe { self.start.copy_from_nonoverlapping(bytes.as_ptr(), count) }
    }

    /// A byte that was written, or zeroed.
    pub(super) fn byte(&self, at: usize) -> u8 {
        assert!(at < self.layout.size(), "a byte behind the block");
        // SAFETY: `at` is within the block, and the caller asks only for defined bytes.
        let place = unsafe { self.start.add(at) };
        // SAFETY: the block is readable for as long as it is there.
        unsafe { place.read() }
    }

    /// Writes a byte to every page.
    pub(super) fn touch(&mut self, byte: u8) {
        for at in (0..self.layout.size()).step_by(4_096) {
            // SAFETY: `at` is within the block.
            let place = unsafe { self.start.add(at) };
            // SAFETY: the block is ours alone and writable.
            unsafe { place.write_volatile(byte) }
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: the block came from mimalloc with this layout and is given back once.
        unsafe { MiMalloc.dealloc(self.start, self.layout) }
    }
}

fn layout(bytes: usize) -> Layout {
    Layout::array::<u8>(bytes.max(1)).expect("a block below 2^63 bytes")
}
