//! What a thread holds, counted where memory is given: Rust's and, with glibc, that of zstd's C code, too.
#![allow(unsafe_code)]

use std::cell::Cell;

thread_local! {
    static HELD: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

fn add(bytes: usize) {
    let _ = HELD.try_with(|held| {
        let (now, peak) = held.get();
        let now = now.wrapping_add(bytes);
        // Below zero when something from before is given back.
        let peak = if now > usize::MAX / 2 {
            peak
        } else {
            peak.max(now)
        };
        held.set((now, peak));
    });
}

/// Stands before glibc's allocator: the functions that a program defines itself are the ones that all of it calls,
/// and glibc has its own under second names. Memory of a larger alignment than usual is not counted when it is given.
/// A program that is linked statically cannot have both.
#[cfg(all(
    target_os = "linux",
    target_env = "gnu",
    not(target_feature = "crt-static"),
    not(miri)
))]
mod allocator {
    use std::ffi::c_void;

    use super::add;

    /// Whether it sees C code, too.
    pub(super) const ALL: bool = true;

    unsafe extern "C" {
        fn __libc_malloc(size: usize) -> *mut c_void;
        fn __libc_calloc(count: usize, size: usize) -> *mut c_void;
        fn __libc_realloc(pointer: *mut c_void, size: usize) -> *mut c_void;
        fn __libc_free(pointer: *mut c_void);
        fn malloc_usable_size(pointer: *mut c_void) -> usize;
    }

    fn size_of(pointer: *mut c_void) -> usize {
        // SAFETY: null, or a pointer that the allocator has just given or is about to take back.
        unsafe { malloc_usable_size(pointer) }
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn malloc(size: usize) -> *mut c_void {
        // SAFETY: any size will do.
        let pointer = unsafe { __libc_malloc(size) };
        add(size_of(pointer));
        pointer
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
        // SAFETY: any count and size will do.
        let pointer = unsafe { __libc_calloc(count, size) };
        add(size_of(pointer));
        pointer
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn realloc(pointer: *mut c_void, size: usize) -> *mut c_void {
        let before = size_of(pointer);
        // SAFETY: the caller keeps the contract of `realloc`.
        let pointer = unsafe { __libc_realloc(pointer, size) };
        add(size_of(pointer).wrapping_sub(before));
        pointer
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn free(pointer: *mut c_void) {
        add(size_of(pointer).wrapping_neg());
        // SAFETY: the caller keeps the contract of `free`.
        unsafe { __libc_free(pointer) }
    }
}

#[cfg(not(all(
    target_os = "linux",
    target_env = "gnu",
    not(target_feature = "crt-static"),
    not(miri)
)))]
mod allocator {
    use std::alloc::{GlobalAlloc, Layout, System};

    use super::add;

    pub(super) const ALL: bool = false;

    struct Counting;

    // SAFETY: everything is handed to the system's allocator as it came.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            add(layout.size());
            // SAFETY: the caller keeps the contract of `alloc`.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
            add(layout.size().wrapping_neg());
            // SAFETY: the caller keeps the contract of `dealloc`.
            unsafe { System.dealloc(pointer, layout) }
        }

        unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            add(size.wrapping_sub(layout.size()));
            // SAFETY: the caller keeps the contract of `realloc`.
            unsafe { System.realloc(pointer, layout, size) }
        }
    }

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;
}

/// What `act` held at most on this thread, beyond what was there before.
pub(crate) fn peak_of<T>(act: impl FnOnce() -> T) -> (usize, T) {
    HELD.with(|held| held.set((0, 0)));
    let result = act();
    (HELD.with(|held| held.get().1), result)
}

#[test]
fn memory_of_zstd_is_counted_too() {
    let (peak, context) = peak_of(zstd_safe::CCtx::create);
    drop(context);
    assert!(peak > 1_000 || !allocator::ALL, "{peak}");
}
