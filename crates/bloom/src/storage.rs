//! Memory for blocks and words: taken at once, and on large pages where there is much of it.

use crate::{block::Block, simd};

/// From this size on, memory is asked for on large pages: in so much of it, on pages of 4 KiB, a random
/// access also misses the processor's table of pages. And a piece of this size is mapped by itself by the
/// C library's allocator whatever went before, so that the advice ends with the filter.
const LARGE: usize = 32 << 20;

/// `count` empty blocks, or the number of bytes that could not be had.
pub(crate) fn empty_blocks(count: usize) -> Result<Vec<Block>, usize> {
    filled(count, || Block::EMPTY)
}

/// `count` times what `empty` makes, or the number of bytes that could not be had.
pub(crate) fn filled<T>(count: usize, empty: impl FnMut() -> T) -> Result<Vec<T>, usize> {
    let mut units = Vec::new();
    units
        .try_reserve_exact(count)
        .map_err(|_| count.saturating_mul(size_of::<T>()))?;
    advise(&mut units);
    units.resize_with(count, empty);
    Ok(units)
}

/// The items in memory of their own.
///
/// # Panics
/// Aborts where memory lacks, as a clone does.
pub(crate) fn collected<T>(items: impl ExactSizeIterator<Item = T>) -> Vec<T> {
    let mut units = Vec::with_capacity(items.len());
    advise(&mut units);
    units.extend(items);
    units
}

/// Before the first touch, so that the pages come large instead of being joined later.
fn advise<T>(empty: &mut Vec<T>) {
    let spare = empty.spare_capacity_mut();
    if size_of_val(spare) >= LARGE {
        simd::prefer_large_pages(spare);
    }
}
