//! The hook of an allocator.

use std::alloc::{GlobalAlloc, Layout, System};

use crate::heap;

/// An allocator that counts what it hands out and samples where it was asked for.
///
/// It passes every request on to the allocator inside. Counting costs some nanoseconds a call;
/// stacks are taken only while [`heap_sampling`](crate::heap_sampling) is on.
///
/// ```
/// use mainspring_monitor::{HeapProfiler, heap_stats};
///
/// #[global_allocator]
/// static ALLOCATOR: HeapProfiler = HeapProfiler::system();
///
/// let before = heap_stats().in_use_bytes;
/// let kept = vec![0u8; 1 << 20];
/// assert!(heap_stats().in_use_bytes >= before + (1 << 20));
/// drop(kept);
/// ```
#[derive(Debug, Default)]
pub struct HeapProfiler<A = System> {
    inner: A,
}

impl HeapProfiler {
    /// Around the system's allocator.
    #[must_use]
    pub const fn system() -> Self {
        Self { inner: System }
    }
}

impl<A> HeapProfiler<A> {
    /// Around another allocator.
    #[must_use]
    pub const fn new(inner: A) -> Self {
        Self { inner }
    }
}

// SAFETY: every request goes unchanged to the allocator inside, whose answer is returned unchanged;
// what is noted besides takes addresses as numbers and never follows them. It does not unwind.
unsafe impl<A: GlobalAlloc> GlobalAlloc for HeapProfiler<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises about `layout` are those that `inner` asks for.
        let block = unsafe { self.inner.alloc(layout) };
        if !block.is_null() {
            heap::allocated(block.addr(), layout.size());
        }
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        let block = unsafe { self.inner.alloc_zeroed(layout) };
        if !block.is_null() {
            heap::allocated(block.addr(), layout.size());
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // Before the block is given back, when another thread can get the same address.
        heap::freed(block.addr(), layout.size());
        // SAFETY: the caller got `block` from us with this layout, and so we from `inner`.
        unsafe { self.inner.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        heap::freed(block.addr(), layout.size());
        // SAFETY: as for `dealloc`; the promises about `new_size` are the caller's.
        let moved = unsafe { self.inner.realloc(block, layout, new_size) };
        if moved.is_null() {
            // It failed: the old block is still there.
            heap::allocated(block.addr(), layout.size());
        } else {
            heap::allocated(moved.addr(), new_size);
        }
        moved
    }
}
