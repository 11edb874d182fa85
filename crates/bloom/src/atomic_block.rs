//! The operations on a block that several threads write, once the key's bits are known.

use crate::sync::{AtomicU64, Ordering};

/// A block's four 64-bit words.
pub(crate) type AtomicWords = [AtomicU64; 4];

#[inline(always)]
pub(crate) fn load(words: &AtomicWords) -> [u64; 4] {
    std::array::from_fn(|i| words[i].load(Ordering::Relaxed))
}

#[inline(always)]
pub(crate) fn contains(words: &AtomicWords, mask: [u64; 4]) -> bool {
    let words = load(words);
    (0..4).fold(0, |missing, i| missing | (mask[i] & !words[i])) == 0
}

/// Sets the bits and says whether it found one of them clear. A word that has its bits already costs
/// a load and no atomic instruction; the result of the atomic one is not asked for, since a plain
/// `lock or` is cheaper than the compare-and-swap loop that would return it.
#[inline(always)]
pub(crate) fn insert(words: &AtomicWords, mask: [u64; 4]) -> bool {
    let mut new = false;
    for (word, mask) in words.iter().zip(mask) {
        if word.load(Ordering::Relaxed) & mask != mask {
            word.fetch_or(mask, Ordering::Relaxed);
            new = true;
        }
    }
    new
}
