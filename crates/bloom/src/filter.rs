use std::io;

use crate::{
    block::{BLOCK_BYTES, Block, BlockBytes},
    builder::BloomBuilder,
    error::{BuildError, Error},
    format::{self, Header, Kind},
    kernel::Kernel,
    key::{BloomKey, KeyHash},
    measure, simd, sizing,
    stats::Stats,
    storage::{collected, empty_blocks},
    view::BloomView,
};

/// A split-block Bloom filter with one writer: inserts take `&mut self`, look-ups `&self`.
///
/// A key costs one hash and one 32-byte block, so at most one cache miss. A key that was inserted
/// is always found; a key that was not is found with at most the rate the filter was sized for, as
/// long as no more than the capacity went in. Frozen behind an `Arc` it serves any number of threads.
///
/// From 32 MiB on it asks Linux for large pages, as all filters here do that own their bits.
///
/// ```
/// use mainspring_bloom::BloomFilter;
///
/// let mut seen = BloomFilter::with_capacity_and_fpr(10_000, 0.001)?;
/// assert!(seen.insert("call-1"));
/// assert!(!seen.insert("call-1"));
/// assert!(seen.contains("call-1"));
/// assert!(!seen.contains("call-2"));
/// # Ok::<(), mainspring_bloom::BuildError>(())
/// ```
pub struct BloomFilter {
    blocks: Vec<Block>,
    kernel: Kernel,
    hash: KeyHash,
    capacity: u64,
    fpr: f64,
}

impl BloomFilter {
    /// A filter that reports at most `fpr` of absent keys as present once it holds `capacity` keys.
    ///
    /// # Errors
    /// [`BuildError`] when the capacity is zero, the rate outside 0.000001..=0.5, or the filter
    /// larger than 1 GiB (see [`BloomBuilder::max_bytes`]).
    pub fn with_capacity_and_fpr(capacity: usize, fpr: f64) -> Result<Self, BuildError> {
        BloomBuilder::new(capacity).fpr(fpr).build()
    }

    pub(crate) fn from_settings(settings: &BloomBuilder) -> Result<Self, BuildError> {
        settings.check(sizing::MIN_FPR)?;
        Self::sized(settings, settings.capacity, settings.fpr)
    }

    /// A filter whose rate has been checked by the caller.
    pub(crate) fn sized(
        settings: &BloomBuilder,
        capacity: usize,
        fpr: f64,
    ) -> Result<Self, BuildError> {
        let count = settings.fit(sizing::blocks_for(capacity, fpr), BLOCK_BYTES)?;
        let blocks = empty_blocks(count).map_err(|bytes| BuildError::OutOfMemory { bytes })?;
        Ok(Self {
            blocks,
            kernel: settings.kernel(),
            hash: settings.hash,
            capacity: capacity as u64,
            fpr,
        })
    }

    pub(crate) fn from_parts(blocks: Vec<Block>, kernel: Kernel, header: &Header) -> Self {
        Self {
            blocks,
            kernel,
            hash: header.hash,
            capacity: header.capacity,
            fpr: header.fpr,
        }
    }

    /// The bitset of a Parquet Bloom filter (the bytes behind its Thrift header), hashed as Parquet does.
    ///
    /// Linear in the bytes, which are copied. The capacity is what the size holds at a rate of 0.01.
    ///
    /// # Errors
    /// [`Error::Damaged`] when the length is zero or no multiple of 32.
    pub fn from_parquet_bitset(bitset: &[u8]) -> Result<Self, Error> {
        let (chunks, rest) = bitset.as_chunks::<BLOCK_BYTES>();
        if chunks.is_empty() || !rest.is_empty() || chunks.len() > u32::MAX as usize {
            return Err(Error::Damaged {
                offset: bitset.len() as u64,
                what: "a bitset is a positive number of 32-byte blocks",
            });
        }
        let mut blocks =
            empty_blocks(chunks.len()).map_err(|bytes| Error::OutOfMemory { bytes })?;
        simd::arrays_of_mut(&mut blocks).copy_from_slice(chunks);
        Ok(Self {
            kernel: Kernel::detect(),
            hash: KeyHash::PARQUET,
            capacity: (blocks.len() as f64 * 24.3) as u64,
            fpr: 0.01,
            blocks,
        })
    }

    /// Inserts a key; true when it was certainly not there before.
    #[inline]
    pub fn insert<K: BloomKey + ?Sized>(&mut self, key: &K) -> bool {
        let blocks = simd::arrays_of_mut(&mut self.blocks);
        self.kernel.insert_key(blocks, self.hash, key)
    }

    /// False when the key was certainly never inserted; true when it was, or by chance.
    #[inline]
    #[must_use]
    pub fn contains<K: BloomKey + ?Sized>(&self, key: &K) -> bool {
        self.kernel.contains_key(self.arrays(), self.hash, key)
    }

    /// As [`insert`](Self::insert) with a hash made by [`key_hash`](Self::key_hash), or by any
    /// good 64-bit hash when no other entry point is used on this filter.
    #[inline]
    pub fn insert_hash(&mut self, hash: u64) -> bool {
        self.kernel
            .insert(simd::arrays_of_mut(&mut self.blocks), hash)
    }

    /// As [`contains`](Self::contains), with a hash as in [`insert_hash`](Self::insert_hash).
    #[inline]
    #[must_use]
    pub fn contains_hash(&self, hash: u64) -> bool {
        self.kernel.contains(self.arrays(), hash)
    }

    /// Inserts many keys and returns how many were new. Blocks are prefetched ahead of their turn, which
    /// pays on filters larger than the caches.
    pub fn insert_many<K: BloomKey>(&mut self, keys: impl IntoIterator<Item = K>) -> usize {
        let hash = self.hash;
        let hashes = keys.into_iter().map(|key| hash.hash(&key));
        let blocks = simd::arrays_of_mut(&mut self.blocks);
        self.kernel.insert_many(blocks, hashes)
    }

    /// Looks many keys up: `found` is cleared, then gets one answer per key in their order. Blocks
    /// are prefetched ahead of their turn, which pays on filters larger than the caches.
    ///
    /// ```
    /// # let mut seen = mainspring_bloom::BloomFilter::with_capacity_and_fpr(1_000, 0.001)?;
    /// seen.insert_many(["a", "b"]);
    /// let mut found = Vec::new();
    /// seen.contains_many(["a", "x", "b"], &mut found);
    /// assert_eq!(found, [true, false, true]);
    /// # Ok::<(), mainspring_bloom::BuildError>(())
    /// ```
    pub fn contains_many<K: BloomKey>(
        &self,
        keys: impl IntoIterator<Item = K>,
        found: &mut Vec<bool>,
    ) {
        found.clear();
        let hash = self.hash;
        let hashes = keys.into_iter().map(|key| hash.hash(&key));
        self.kernel.contains_many(self.arrays(), hashes, found);
    }

    /// Adds every key of `other`. Linear in the size. The rate is kept as long as the two together hold
    /// no more keys than the capacity; [`estimated_fpr`](Self::estimated_fpr) tells.
    ///
    /// # Errors
    /// [`Error::Incompatible`] when size, hash or seed differ; nothing has changed then.
    pub fn union(&mut self, other: &Self) -> Result<(), Error> {
        same_shape(self.blocks.len(), other.blocks.len(), self.hash, other.hash)?;
        for (mine, theirs) in self.blocks.iter_mut().zip(&other.blocks) {
            for (a, b) in mine.0.iter_mut().zip(theirs.0) {
                *a |= b;
            }
        }
        Ok(())
    }

    /// Forgets every key; keeps the memory.
    pub fn clear(&mut self) {
        self.blocks.fill(Block::EMPTY);
    }

    /// The number of distinct keys, estimated from the share of set bits. Linear in the size; an insert
    /// pays for no counter. Whoever needs the exact number of keys that were told to be new adds up what
    /// [`insert`](Self::insert) and [`insert_many`](Self::insert_many) return; the false positives among
    /// the keys are missing from that sum, not from this estimate.
    ///
    /// With `B` blocks of which the share `f` of all bits is set, it is `-32 B ln(1 - f)`: each key sets
    /// one of 32 bits in each word of its block, and keys spread over the blocks at random, so `n` keys
    /// leave a bit clear with probability `exp(-n / 32 B)`. (Swamidass and Baldi, "Mathematical Correction
    /// for Fingerprint Similarity Measures to Improve Chemical Retrieval", 2007, carried over to split
    /// blocks; a sum of estimates block by block would be 2 % too high.)
    ///
    /// At a rate of 0.01 or less and up to one and a half times the capacity, the estimate's standard
    /// deviation is below 6 % divided by the square root of `B`: 0.1 % at a capacity of 100,000. At
    /// `t = n / 32 B` it is `sqrt(B (4 (e^t - 1 - t) + 896 (e^(t/32) - 1 - t/32)))` keys, so it grows where
    /// few bits are left clear. 0 when empty, `u64::MAX` when every bit is set.
    #[must_use]
    pub fn estimated_count(&self) -> u64 {
        measure::estimated_count(self.arrays())
    }

    /// Share of bits that are set, 0 to 1. Linear in the size.
    #[must_use]
    pub fn fill(&self) -> f64 {
        measure::fill(self.arrays())
    }

    /// The share of absent keys that are reported present now, from the bits. Linear in the size.
    #[must_use]
    pub fn estimated_fpr(&self) -> f64 {
        measure::estimated_fpr(self.arrays())
    }

    /// The hash and its seed.
    #[must_use]
    pub const fn key_hash(&self) -> KeyHash {
        self.hash
    }

    /// Bytes of the bit array.
    #[must_use]
    pub const fn byte_len(&self) -> usize {
        self.blocks.len() * BLOCK_BYTES
    }

    /// The bit array, byte for byte what Parquet stores behind its header.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        simd::bytes_of(&self.blocks)
    }

    /// A borrowed view of this filter.
    #[must_use]
    pub fn view(&self) -> BloomView<'_> {
        BloomView::over(self.arrays(), self.kernel, self.header(0))
    }

    /// A cheap snapshot of its figures; `inserted` is `None`, since nothing is counted
    /// ([`estimated_count`](Self::estimated_count) reads it off the bits).
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            bytes: self.byte_len(),
            capacity: self.capacity,
            target_fpr: self.fpr,
            inserted: None,
            layers: 1,
            kernel: self.kernel.name(),
        }
    }

    /// The filter as checked, versioned bytes (format page `bloom-v1`): 96 bytes and the bit array. The
    /// number of keys in the header is [`estimated_count`](Self::estimated_count).
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.stored_len());
        self.append_to(&mut bytes, self.estimated_count());
        bytes
    }

    /// Bytes of the stored form.
    pub(crate) fn stored_len(&self) -> usize {
        format::HEADER_BYTES + self.byte_len()
    }

    /// Appends the stored form with this number of keys in its header.
    pub(crate) fn append_to(&self, bytes: &mut Vec<u8>, inserted: u64) {
        bytes.extend_from_slice(&self.header(inserted).encode(self.as_bytes()));
        bytes.extend_from_slice(self.as_bytes());
    }

    /// Writes what [`to_bytes`](Self::to_bytes) returns, without building it in memory.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_to(&self, mut to: impl io::Write) -> io::Result<()> {
        let header = self.header(self.estimated_count());
        to.write_all(&header.encode(self.as_bytes()))?;
        to.write_all(self.as_bytes())
    }

    /// Reads a filter back; every byte is checked. Linear in the size, which is allocated only
    /// after the length has been compared with the header.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::UnsupportedVersion`], [`Error::WrongKind`] or
    /// [`Error::OutOfMemory`]. Trailing bytes count as damage.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        Self::read(bytes).map(|(filter, _)| filter)
    }

    /// As `from_bytes`, and the number of keys that the header says.
    pub(crate) fn read(bytes: &[u8]) -> Result<(Self, u64), Error> {
        let view = BloomView::new(bytes)?;
        view.verify()?;
        Ok((view.to_filter()?, view.stored_count()))
    }

    /// Its header with this number of keys, which only the stored form shows.
    pub(crate) fn header(&self, inserted: u64) -> Header {
        Header {
            kind: Kind::SplitBlock,
            hash: self.hash,
            bits_per_key: 8,
            units: self.blocks.len() as u64,
            inserted,
            capacity: self.capacity,
            fpr: self.fpr,
        }
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(crate) fn kernel(&self) -> Kernel {
        self.kernel
    }

    pub(crate) fn into_blocks(self) -> Vec<Block> {
        self.blocks
    }

    #[inline(always)]
    pub(crate) fn arrays(&self) -> &[BlockBytes] {
        simd::arrays_of(&self.blocks)
    }
}

impl Clone for BloomFilter {
    /// Linear in the size; aborts where memory lacks.
    fn clone(&self) -> Self {
        Self {
            blocks: collected(self.blocks.iter().copied()),
            ..*self
        }
    }
}

/// Refuses to join filters of different size or hash.
pub(crate) fn same_shape(
    a: usize,
    b: usize,
    hash_a: KeyHash,
    hash_b: KeyHash,
) -> Result<(), Error> {
    if a != b {
        return Err(Error::Incompatible { what: "size" });
    }
    if hash_a != hash_b {
        return Err(Error::Incompatible {
            what: "hash or seed",
        });
    }
    Ok(())
}

impl std::fmt::Debug for BloomFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BloomFilter")
            .field("stats", &self.stats())
            .field("hash", &self.hash)
            .finish()
    }
}

impl PartialEq for BloomFilter {
    /// Equal bits under the same hash: the two answer every question alike.
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.blocks == other.blocks
    }
}

impl Eq for BloomFilter {}

impl<K: BloomKey> Extend<K> for BloomFilter {
    fn extend<I: IntoIterator<Item = K>>(&mut self, keys: I) {
        self.insert_many(keys);
    }
}
