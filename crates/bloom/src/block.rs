//! The split-block layout: 32 bytes, eight little-endian 32-bit words, one bit of each per key.
//!
//! Source: Putze, Sanders, Singler, "Cache-, Hash- and Space-Efficient Bloom Filters" (2007), in
//! the concrete form of the Parquet format's `BloomFilter.md`.

/// Bytes of a block.
pub(crate) const BLOCK_BYTES: usize = 32;

/// A block as plain bytes: what is stored is what is mapped.
pub(crate) type BlockBytes = [u8; BLOCK_BYTES];

/// The odd multipliers of the Parquet specification, one for each word.
pub(crate) const SALT: [u32; 8] = [
    0x47b6_137b,
    0x4497_4d91,
    0x8824_ad5b,
    0xa2b7_289d,
    0x7054_95c7,
    0x2df1_424b,
    0x9efc_4947,
    0x5c6b_fb31,
];

/// A block that never straddles a cache line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(32))]
pub(crate) struct Block(pub(crate) BlockBytes);

impl Block {
    pub(crate) const EMPTY: Self = Self([0; BLOCK_BYTES]);
}

/// Which of `blocks` a hash belongs to: its upper half, scaled.
#[inline(always)]
pub(crate) fn index_of(hash: u64, blocks: usize) -> usize {
    (((hash >> 32) * blocks as u64) >> 32) as usize
}

/// The half of the hash that chooses the bits inside the block.
#[inline(always)]
pub(crate) fn low_half(hash: u64) -> u32 {
    hash as u32
}

#[inline(always)]
fn bit(low: u32, word: usize) -> u32 {
    1 << (low.wrapping_mul(SALT[word]) >> 27)
}

/// The eight bits of a key as four 64-bit words (two block words each, the lower one first).
#[inline]
pub(crate) fn mask(low: u32) -> [u64; 4] {
    std::array::from_fn(|pair| {
        u64::from(bit(low, 2 * pair)) | u64::from(bit(low, 2 * pair + 1)) << 32
    })
}

/// The portable look-up among all blocks; apart from its caller where that has a faster one.
#[cfg_attr(target_arch = "x86_64", cold, inline(never))]
#[cfg_attr(not(target_arch = "x86_64"), inline)]
pub(crate) fn contains_in(blocks: &[BlockBytes], hash: u64) -> bool {
    contains(&blocks[index_of(hash, blocks.len())], low_half(hash))
}

/// The portable insert among all blocks, apart like [`contains_in`].
#[cfg_attr(target_arch = "x86_64", cold, inline(never))]
#[cfg_attr(not(target_arch = "x86_64"), inline)]
pub(crate) fn insert_in(blocks: &mut [BlockBytes], hash: u64) -> bool {
    let index = index_of(hash, blocks.len());
    insert(&mut blocks[index], low_half(hash))
}

/// Whether a block has all of a key's bits.
#[inline]
pub(crate) fn contains(block: &BlockBytes, low: u32) -> bool {
    let mask = mask(low);
    let words = words(block);
    (0..4).fold(0, |missing, i| missing | (mask[i] & !words[i])) == 0
}

/// Sets the key's bits and says whether one of them was clear.
#[inline]
pub(crate) fn insert(block: &mut BlockBytes, low: u32) -> bool {
    let mask = mask(low);
    let words = words(block);
    let mut missing = 0;
    for (i, chunk) in block.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        missing |= mask[i] & !words[i];
        *chunk = (words[i] | mask[i]).to_le_bytes();
    }
    missing != 0
}

/// A block's four 64-bit words.
#[inline(always)]
pub(crate) fn words(block: &BlockBytes) -> [u64; 4] {
    let chunks = block.as_chunks::<8>().0;
    std::array::from_fn(|i| u64::from_le_bytes(chunks[i]))
}

/// The block that has these four words.
pub(crate) fn from_words(words: [u64; 4]) -> Block {
    let mut block = Block::EMPTY;
    for (chunk, word) in block.0.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *chunk = word.to_le_bytes();
    }
    block
}
