//! Blocks that several threads write: four 64-bit words, each read and written by itself.

use crate::{
    block::{self, Block},
    sync::{AtomicU64, Ordering},
};

/// Four atomic words that never straddle a cache line.
#[repr(align(32))]
pub(crate) struct AtomicBlock(pub(crate) [AtomicU64; 4]);

impl AtomicBlock {
    pub(crate) fn empty() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }

    pub(crate) fn from_block(block: Block) -> Self {
        Self(block::words(&block.0).map(AtomicU64::new))
    }

    #[inline(always)]
    pub(crate) fn words(&self) -> [u64; 4] {
        std::array::from_fn(|i| self.0[i].load(Ordering::Relaxed))
    }

    /// The portable look-up; apart from its caller where that has a faster one.
    #[cfg_attr(target_arch = "x86_64", inline(never))]
    #[cfg_attr(not(target_arch = "x86_64"), inline)]
    pub(crate) fn contains_low(&self, low: u32) -> bool {
        self.contains(block::mask(low))
    }

    /// The portable insert; apart from its caller where that has a faster one.
    #[cfg_attr(target_arch = "x86_64", inline(never))]
    #[cfg_attr(not(target_arch = "x86_64"), inline)]
    pub(crate) fn insert_low(&self, low: u32) -> bool {
        self.insert(block::mask(low))
    }

    #[inline(always)]
    pub(crate) fn contains(&self, mask: [u64; 4]) -> bool {
        let words = self.words();
        (0..4).fold(0, |missing, i| missing | (mask[i] & !words[i])) == 0
    }

    /// Sets the bits and says whether it found one of them clear. Bits that are all there cost loads
    /// and no atomic instruction. Otherwise every word gets one: to skip the words that have their bits
    /// would save a few of them, and lose more to branches that nobody can predict. The results of the
    /// atomics are not asked for, since a plain `lock or` is cheaper than the loop that returns them.
    #[inline(always)]
    pub(crate) fn insert(&self, mask: [u64; 4]) -> bool {
        if self.contains(mask) {
            return false;
        }
        for (word, mask) in self.0.iter().zip(mask) {
            word.fetch_or(mask, Ordering::Relaxed);
        }
        true
    }
}
