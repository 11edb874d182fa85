//! All of the crate's unsafe code: AVX2 kernels behind a token, blocks seen as bytes, and a hint about pages.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use crate::block::{BLOCK_BYTES, Block, BlockBytes};

/// The blocks as one run of bytes.
pub(crate) fn bytes_of(blocks: &[Block]) -> &[u8] {
    // SAFETY: `Block` is `repr(C)` over 32 bytes with size 32, so it has no padding, and every
    // byte of it is initialised; the lifetime is that of the borrow.
    unsafe { std::slice::from_raw_parts(blocks.as_ptr().cast(), blocks.len() * BLOCK_BYTES) }
}

/// The blocks as arrays of 32 bytes, the form that a mapped file has.
#[inline(always)]
pub(crate) fn arrays_of(blocks: &[Block]) -> &[BlockBytes] {
    // SAFETY: `Block` is `repr(C)` over exactly this array, and only its alignment is stricter.
    unsafe { std::slice::from_raw_parts(blocks.as_ptr().cast(), blocks.len()) }
}

/// The blocks as writable arrays of 32 bytes.
#[inline(always)]
pub(crate) fn arrays_of_mut(blocks: &mut [Block]) -> &mut [BlockBytes] {
    // SAFETY: as in `arrays_of`; every value of the array is a valid block, and the exclusive
    // borrow is passed on.
    unsafe { std::slice::from_raw_parts_mut(blocks.as_mut_ptr().cast(), blocks.len()) }
}

/// Asks the system for large pages under the whole ones that lie in `memory`; a hint, which changes no byte
/// and may be refused.
pub(crate) fn prefer_large_pages<T>(memory: &mut [MaybeUninit<T>]) {
    #[cfg(all(target_os = "linux", not(miri)))]
    {
        let start = memory.as_mut_ptr().cast::<libc::c_void>();
        let skipped = start.align_offset(LARGE_PAGE);
        let whole = size_of_val(memory).saturating_sub(skipped) / LARGE_PAGE * LARGE_PAGE;
        if whole > 0 {
            // SAFETY: the range lies inside of the exclusively borrowed memory, and the advice neither
            // reads nor changes what is in it.
            unsafe { libc::madvise(start.wrapping_byte_add(skipped), whole, libc::MADV_HUGEPAGE) };
        }
    }
    #[cfg(not(all(target_os = "linux", not(miri))))]
    let _ = memory;
}

/// Bytes of a large page where small ones have 4 KiB.
#[cfg(all(target_os = "linux", not(miri)))]
const LARGE_PAGE: usize = 2 << 20;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use xxhash_rust::xxh3::xxh3_64;

    use crate::{
        atomic_block::AtomicBlock,
        batch,
        block::{BlockBytes, SALT, index_of, low_half},
        key::BloomKey,
    };

    /// Proof that this processor has AVX2 and BMI2: only `detect` makes one, so whoever holds it may
    /// call the kernels below.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct Avx2(());

    impl Avx2 {
        pub(crate) fn detect() -> Option<Self> {
            let both = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi2");
            both.then_some(Self(()))
        }

        #[inline(always)]
        pub(crate) fn contains_atomic(self, block: &AtomicBlock, low: u32) -> bool {
            // SAFETY: the token proves AVX2.
            unsafe { contains_atomic(block, low) }
        }

        #[inline(always)]
        pub(crate) fn insert_atomic(self, block: &AtomicBlock, low: u32) -> bool {
            // SAFETY: the token proves AVX2.
            unsafe { insert_atomic(block, low) }
        }

        pub(crate) fn contains_atomic_many(
            self,
            blocks: &[AtomicBlock],
            hashes: impl Iterator<Item = u64>,
            found: &mut Vec<bool>,
        ) {
            // SAFETY: the token proves AVX2.
            unsafe { contains_atomic_many(blocks, hashes, found) }
        }

        pub(crate) fn insert_atomic_many(
            self,
            blocks: &[AtomicBlock],
            hashes: impl Iterator<Item = u64>,
        ) -> usize {
            // SAFETY: the token proves AVX2.
            unsafe { insert_atomic_many(blocks, hashes) }
        }

        #[inline(always)]
        pub(crate) fn contains(self, blocks: &[BlockBytes], hash: u64) -> bool {
            // SAFETY: the token proves AVX2.
            unsafe { contains_in(blocks, hash) }
        }

        #[inline(always)]
        pub(crate) fn insert(self, blocks: &mut [BlockBytes], hash: u64) -> bool {
            // SAFETY: the token proves AVX2.
            unsafe { insert_in(blocks, hash) }
        }

        #[inline(always)]
        pub(crate) fn contains_key<K: BloomKey + ?Sized>(
            self,
            blocks: &[BlockBytes],
            key: &K,
        ) -> bool {
            // SAFETY: the token proves AVX2 and BMI2.
            unsafe { contains_key(blocks, key) }
        }

        #[inline(always)]
        pub(crate) fn insert_key<K: BloomKey + ?Sized>(
            self,
            blocks: &mut [BlockBytes],
            key: &K,
        ) -> bool {
            // SAFETY: the token proves AVX2 and BMI2.
            unsafe { insert_key(blocks, key) }
        }

        pub(crate) fn contains_many(
            self,
            blocks: &[BlockBytes],
            hashes: impl Iterator<Item = u64>,
            found: &mut Vec<bool>,
        ) {
            // SAFETY: the token proves AVX2.
            unsafe { contains_many(blocks, hashes, found) }
        }

        pub(crate) fn insert_many(
            self,
            blocks: &mut [BlockBytes],
            hashes: impl Iterator<Item = u64>,
        ) -> usize {
            // SAFETY: the token proves AVX2.
            unsafe { insert_many(blocks, hashes) }
        }
    }

    /// Asks the processor to bring the line of `place` near; a hint, never a fault.
    #[inline(always)]
    pub(crate) fn prefetch<T>(place: &T) {
        // SAFETY: a prefetch does not access memory as far as the program can tell, and SSE is
        // part of every x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(place).cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn mask(low: u32) -> __m256i {
        let salt = _mm256_setr_epi32(
            SALT[0].cast_signed(),
            SALT[1].cast_signed(),
            SALT[2].cast_signed(),
            SALT[3].cast_signed(),
            SALT[4].cast_signed(),
            SALT[5].cast_signed(),
            SALT[6].cast_signed(),
            SALT[7].cast_signed(),
        );
        let product = _mm256_mullo_epi32(_mm256_set1_epi32(low.cast_signed()), salt);
        _mm256_sllv_epi32(_mm256_set1_epi32(1), _mm256_srli_epi32::<27>(product))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(block: &BlockBytes) -> __m256i {
        // SAFETY: the reference covers 32 readable bytes; the load needs no alignment.
        unsafe { _mm256_loadu_si256(block.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn store(block: &mut BlockBytes, value: __m256i) {
        // SAFETY: the exclusive reference covers 32 writable bytes; the store needs no alignment.
        unsafe { _mm256_storeu_si256(block.as_mut_ptr().cast(), value) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn mask_words(low: u32) -> [u64; 4] {
        let mask = mask(low);
        [
            _mm256_extract_epi64::<0>(mask).cast_unsigned(),
            _mm256_extract_epi64::<1>(mask).cast_unsigned(),
            _mm256_extract_epi64::<2>(mask).cast_unsigned(),
            _mm256_extract_epi64::<3>(mask).cast_unsigned(),
        ]
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn contains(block: &BlockBytes, low: u32) -> bool {
        _mm256_testc_si256(load(block), mask(low)) != 0
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn insert(block: &mut BlockBytes, low: u32) -> bool {
        let old = load(block);
        let mask = mask(low);
        store(block, _mm256_or_si256(old, mask));
        _mm256_testc_si256(old, mask) == 0
    }

    // The index is always in range; `get` instead of `[]` keeps a loop around these free of a panic,
    // so that the compiler may keep the fields of the filter in registers.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn contains_in(blocks: &[BlockBytes], hash: u64) -> bool {
        match blocks.get(index_of(hash, blocks.len())) {
            Some(block) => contains(block, low_half(hash)),
            None => true,
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn insert_in(blocks: &mut [BlockBytes], hash: u64) -> bool {
        let index = index_of(hash, blocks.len());
        match blocks.get_mut(index) {
            Some(block) => insert(block, low_half(hash)),
            None => false,
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,bmi2")]
    fn contains_key<K: BloomKey + ?Sized>(blocks: &[BlockBytes], key: &K) -> bool {
        contains_in(blocks, key.with_bytes(xxh3_64))
    }

    #[inline]
    #[target_feature(enable = "avx2,bmi2")]
    fn insert_key<K: BloomKey + ?Sized>(blocks: &mut [BlockBytes], key: &K) -> bool {
        insert_in(blocks, key.with_bytes(xxh3_64))
    }

    // Words that other threads write are loaded one by one: a vector load would be a data race.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn contains_atomic(block: &AtomicBlock, low: u32) -> bool {
        block.contains(mask_words(low))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn insert_atomic(block: &AtomicBlock, low: u32) -> bool {
        block.insert(mask_words(low))
    }

    #[target_feature(enable = "avx2")]
    fn contains_atomic_many(
        blocks: &[AtomicBlock],
        hashes: impl Iterator<Item = u64>,
        found: &mut Vec<bool>,
    ) {
        batch::contains(blocks, hashes, found, |block, low| {
            contains_atomic(block, low)
        });
    }

    #[target_feature(enable = "avx2")]
    fn insert_atomic_many(blocks: &[AtomicBlock], hashes: impl Iterator<Item = u64>) -> usize {
        batch::insert_shared(blocks, hashes, |block, low| insert_atomic(block, low))
    }

    #[target_feature(enable = "avx2")]
    fn contains_many(
        blocks: &[BlockBytes],
        hashes: impl Iterator<Item = u64>,
        found: &mut Vec<bool>,
    ) {
        batch::contains(blocks, hashes, found, |block, low| contains(block, low));
    }

    #[target_feature(enable = "avx2")]
    fn insert_many(blocks: &mut [BlockBytes], hashes: impl Iterator<Item = u64>) -> usize {
        batch::insert(blocks, hashes, |block, low| insert(block, low))
    }
}

/// Asks the processor to bring the line of `place` near, where the platform has such a hint.
#[inline(always)]
pub(crate) fn prefetch<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    avx2::prefetch(place);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}
