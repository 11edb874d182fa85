//! The choice between the vector and the portable form of the block operations, made once per filter.

#[cfg(target_arch = "x86_64")]
use crate::simd::Avx2;
use crate::{
    atomic_block::AtomicBlock,
    batch,
    block::{self, BlockBytes},
    key::{BloomKey, KeyHash},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kernel {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
}

macro_rules! dispatch {
    ($self:ident, $operation:ident($($argument:expr),*), $portable:expr) => {
        match $self {
            Self::Portable => $portable,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(avx2) => avx2.$operation($($argument),*),
        }
    };
}

impl Kernel {
    /// The fastest one that this processor has.
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(avx2) = Avx2::detect() {
            return Self::Avx2(avx2);
        }
        Self::Portable
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
        }
    }

    #[inline(always)]
    pub(crate) fn contains_atomic(self, block: &AtomicBlock, low: u32) -> bool {
        dispatch!(self, contains_atomic(block, low), block.contains_low(low))
    }

    #[inline(always)]
    pub(crate) fn insert_atomic(self, block: &AtomicBlock, low: u32) -> bool {
        dispatch!(self, insert_atomic(block, low), block.insert_low(low))
    }

    /// Looks many keys up in blocks that others write.
    pub(crate) fn contains_atomic_many(
        self,
        blocks: &[AtomicBlock],
        hashes: impl Iterator<Item = u64>,
        found: &mut Vec<bool>,
    ) {
        dispatch!(
            self,
            contains_atomic_many(blocks, hashes, found),
            batch::contains(blocks, hashes, found, AtomicBlock::contains_low)
        );
    }

    /// Inserts many keys into blocks that others write, and counts the keys that were new.
    pub(crate) fn insert_atomic_many(
        self,
        blocks: &[AtomicBlock],
        hashes: impl Iterator<Item = u64>,
    ) -> usize {
        dispatch!(
            self,
            insert_atomic_many(blocks, hashes),
            batch::insert_shared(blocks, hashes, AtomicBlock::insert_low)
        )
    }

    /// Looks a key up. Vector code that hashes by itself leaves its caller one call with few
    /// arguments; the other ways are apart, so that a loop around this one keeps its registers.
    #[inline(always)]
    pub(crate) fn contains_key<K: BloomKey + ?Sized>(
        self,
        blocks: &[BlockBytes],
        hash: KeyHash,
        key: &K,
    ) -> bool {
        #[cfg(target_arch = "x86_64")]
        if let Self::Avx2(avx2) = self
            && hash.is_default()
        {
            return avx2.contains_key(blocks, key);
        }
        self.contains_apart(blocks, hash, key)
    }

    /// Inserts a key as `contains_key` looks one up.
    #[inline(always)]
    pub(crate) fn insert_key<K: BloomKey + ?Sized>(
        self,
        blocks: &mut [BlockBytes],
        hash: KeyHash,
        key: &K,
    ) -> bool {
        #[cfg(target_arch = "x86_64")]
        if let Self::Avx2(avx2) = self
            && hash.is_default()
        {
            return avx2.insert_key(blocks, key);
        }
        self.insert_apart(blocks, hash, key)
    }

    #[cfg_attr(target_arch = "x86_64", inline(never))]
    #[cfg_attr(not(target_arch = "x86_64"), inline)]
    fn contains_apart<K: BloomKey + ?Sized>(
        self,
        blocks: &[BlockBytes],
        hash: KeyHash,
        key: &K,
    ) -> bool {
        self.contains(blocks, hash.hash(key))
    }

    #[cfg_attr(target_arch = "x86_64", inline(never))]
    #[cfg_attr(not(target_arch = "x86_64"), inline)]
    fn insert_apart<K: BloomKey + ?Sized>(
        self,
        blocks: &mut [BlockBytes],
        hash: KeyHash,
        key: &K,
    ) -> bool {
        self.insert(blocks, hash.hash(key))
    }

    #[inline(always)]
    pub(crate) fn contains(self, blocks: &[BlockBytes], hash: u64) -> bool {
        dispatch!(
            self,
            contains(blocks, hash),
            block::contains_in(blocks, hash)
        )
    }

    #[inline(always)]
    pub(crate) fn insert(self, blocks: &mut [BlockBytes], hash: u64) -> bool {
        dispatch!(self, insert(blocks, hash), block::insert_in(blocks, hash))
    }

    /// Looks many keys up.
    pub(crate) fn contains_many(
        self,
        blocks: &[BlockBytes],
        hashes: impl Iterator<Item = u64>,
        found: &mut Vec<bool>,
    ) {
        dispatch!(
            self,
            contains_many(blocks, hashes, found),
            batch::contains(blocks, hashes, found, block::contains)
        );
    }

    /// Inserts many keys and counts the keys that were new.
    pub(crate) fn insert_many(
        self,
        blocks: &mut [BlockBytes],
        hashes: impl Iterator<Item = u64>,
    ) -> usize {
        dispatch!(
            self,
            insert_many(blocks, hashes),
            batch::insert(blocks, hashes, block::insert)
        )
    }
}
