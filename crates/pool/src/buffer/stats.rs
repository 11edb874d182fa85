//! What a buffer pool reports.

use super::class::class_of;
use crate::pressure::Reclaimed;

/// A snapshot of a [`BufferPool`](super::BufferPool).
///
/// Checkouts by other threads lag by at most 1,023 for each size and thread; the calling thread's own
/// are exact.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BufferStats {
    /// One entry per size class: 1, 4, 16 and 64 KiB.
    pub classes: [ClassStats; 4],
    /// Requests by size: entry `i` counts those of at most `2^i` bytes (and more than `2^(i-1)`);
    /// the last one counts everything larger.
    pub by_requested_size: [u64; 24],
    /// Buffers allocated outside the pool: oversize, or the budget was used up. They are freed on return.
    pub direct_allocations: u64,
    /// Buffers dropped on return because the caller had grown them out of their class.
    pub outgrown: u64,
    /// Bytes that the pool holds or has lent out, by the capacity that buffers were lent with.
    pub bytes: usize,
    /// The most it may hold.
    pub budget: usize,
    /// Reclaim passes over what was allocated in bursts.
    pub young_passes: u64,
    /// Reclaim passes over everything idle.
    pub full_passes: u64,
    /// What the last young pass took out.
    pub last_young_pass: Reclaimed,
    /// What the last full pass took out.
    pub last_full_pass: Reclaimed,
    /// Buffers freed by reclaim passes and trims, and to make room within the budget.
    pub reclaimed: u64,
    /// Checkouts by tag; see [`BufferPool::get_with_tag`](super::BufferPool::get_with_tag).
    pub tags: Vec<TagStats>,
}

/// One size class of a [`BufferStats`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClassStats {
    /// Capacity of a buffer, in bytes.
    pub capacity: usize,
    /// Checkouts.
    pub acquired: u64,
    /// Checkouts that had to allocate.
    pub allocated: u64,
    /// Buffers that exist: idle, kept by a thread, or in use.
    pub total: usize,
    /// Buffers on the shared list (those that threads keep for themselves are not counted).
    pub idle: usize,
}

/// Checkouts under one tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TagStats {
    /// The tag; `"(other)"` collects those beyond the first 64.
    pub tag: &'static str,
    /// Checkouts.
    pub acquired: u64,
    /// Bytes asked for.
    pub bytes: u64,
}

impl BufferStats {
    /// Checkouts of a class: those of the sizes that it serves.
    pub(crate) fn acquired(&self, class: usize) -> u64 {
        let sizes = self.by_requested_size.iter().enumerate();
        sizes
            .filter(|(bucket, _)| class_of(*bucket) == Some(class))
            .map(|(_, count)| count)
            .sum()
    }
}
