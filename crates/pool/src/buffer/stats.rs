//! What a buffer pool reports.

/// A snapshot of a [`BufferPool`](super::BufferPool).
///
/// Counters of other threads lag by at most the operations they did since they last met the shared
/// lists (at most 1,024 each); the calling thread's own are exact.
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
    /// Bytes that the pool holds or has lent out.
    pub bytes: usize,
    /// The most it may hold.
    pub budget: usize,
    /// Reclaim passes over what was allocated in bursts.
    pub young_passes: u64,
    /// Reclaim passes over everything idle.
    pub full_passes: u64,
    /// Buffers freed by reclaim passes and trims.
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

/// Number of size buckets.
pub(crate) const SIZES: usize = 24;

/// The plain counters that each thread keeps and folds into the pool now and then.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counters {
    pub(crate) acquired: [u64; 4],
    pub(crate) by_size: [u64; SIZES],
    pub(crate) pending: u32,
}

impl Counters {
    #[inline]
    pub(crate) fn record(&mut self, class: usize, len: usize) {
        self.acquired[class] += 1;
        self.by_size[size_bucket(len)] += 1;
        self.pending += 1;
    }

    pub(crate) fn absorb(&mut self, other: &mut Counters) {
        for (mine, theirs) in self.acquired.iter_mut().zip(&other.acquired) {
            *mine += theirs;
        }
        for (mine, theirs) in self.by_size.iter_mut().zip(&other.by_size) {
            *mine += theirs;
        }
        *other = Counters::default();
    }
}

/// The bucket of a request of `len` bytes: the power of two that holds it.
#[inline]
pub(crate) fn size_bucket(len: usize) -> usize {
    let bits = usize::BITS - len.saturating_sub(1).leading_zeros();
    (bits as usize).min(SIZES - 1)
}
