//! What the allocator has lent out.

#![allow(
    unsafe_code,
    reason = "the C library is the one who knows, and a counting allocator would slow every row"
)]

/// Bytes in use, in all arenas and mappings; `None` where the C library does not tell.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) fn in_use() -> Option<usize> {
    // SAFETY: the call takes nothing, and returns a plain structure by value.
    let info = unsafe { libc::mallinfo2() };
    Some(info.uordblks + info.hblkhd)
}

/// Bytes in use, in all arenas and mappings; `None` where the C library does not tell.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn in_use() -> Option<usize> {
    None
}
