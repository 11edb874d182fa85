use crate::{
    atomic_block::AtomicBlock,
    block::{self, BLOCK_BYTES, index_of, low_half},
    builder::BloomBuilder,
    error::{BuildError, Error},
    filter::{BloomFilter, same_shape},
    format::{Header, Kind},
    kernel::Kernel,
    key::{BloomKey, KeyHash},
    measure, sizing,
    stats::Stats,
    storage::{collected, filled},
    sync::Ordering,
};

/// A split-block Bloom filter that any thread may insert into through `&self`.
///
/// The bits are those of [`BloomFilter`]. An insert loads four words; when a bit is missing, it sets
/// the key's bits with four atomic instructions, otherwise it writes nothing. A look-up is four plain
/// loads. Nothing ever blocks.
///
/// Two threads that insert one new key at once may **both** be told it is new, since a key's bits lie
/// in several words. Where exactly one may win, take a [`ClaimFilter`](crate::ClaimFilter).
///
/// A key inserted by another thread is found as soon as anything orders the two threads (a join, a
/// channel, a lock); without such an order it is found soon.
///
/// ```
/// use mainspring_bloom::SharedBloomFilter;
///
/// let seen = SharedBloomFilter::with_capacity_and_fpr(10_000, 0.01)?;
/// std::thread::scope(|scope| {
///     for worker in 0..4_u64 {
///         let seen = &seen;
///         scope.spawn(move || (0..1_000_u64).for_each(|i| { seen.insert(&(worker * 1_000 + i)); }));
///     }
/// });
/// assert!((0..4_000_u64).all(|key| seen.contains(&key)));
/// let frozen = seen.freeze();
/// assert!(frozen.contains(&3_999_u64));
/// # Ok::<(), mainspring_bloom::BuildError>(())
/// ```
pub struct SharedBloomFilter {
    blocks: Vec<AtomicBlock>,
    kernel: Kernel,
    /// What the filter was built from; its `inserted` is zero, since nothing is counted.
    header: Header,
}

impl SharedBloomFilter {
    /// A filter that reports at most `fpr` of absent keys as present once it holds `capacity` keys.
    ///
    /// # Errors
    /// As [`BloomFilter::with_capacity_and_fpr`].
    pub fn with_capacity_and_fpr(capacity: usize, fpr: f64) -> Result<Self, BuildError> {
        BloomBuilder::new(capacity).fpr(fpr).build_shared()
    }

    pub(crate) fn from_settings(settings: &BloomBuilder) -> Result<Self, BuildError> {
        settings.check(sizing::MIN_FPR)?;
        let units = sizing::blocks_for(settings.capacity, settings.fpr);
        let count = settings.fit(units, BLOCK_BYTES)?;
        let blocks =
            filled(count, AtomicBlock::empty).map_err(|bytes| BuildError::OutOfMemory { bytes })?;
        let header = Header {
            kind: Kind::SplitBlock,
            hash: settings.hash,
            bits_per_key: 8,
            units,
            inserted: 0,
            capacity: settings.capacity as u64,
            fpr: settings.fpr,
        };
        Ok(Self {
            blocks,
            kernel: settings.kernel(),
            header,
        })
    }

    /// Inserts a key; true when this call found one of its bits clear.
    #[inline]
    pub fn insert<K: BloomKey + ?Sized>(&self, key: &K) -> bool {
        self.insert_hash(self.header.hash.hash(key))
    }

    /// False when the key was certainly not inserted; true when it was, or by chance.
    #[inline]
    #[must_use]
    pub fn contains<K: BloomKey + ?Sized>(&self, key: &K) -> bool {
        self.contains_hash(self.header.hash.hash(key))
    }

    /// As [`insert`](Self::insert) with a hash made by [`key_hash`](Self::key_hash).
    #[inline]
    pub fn insert_hash(&self, hash: u64) -> bool {
        self.kernel
            .insert_atomic(self.block_of(hash), low_half(hash))
    }

    /// As [`contains`](Self::contains), with a hash made by [`key_hash`](Self::key_hash).
    #[inline]
    #[must_use]
    pub fn contains_hash(&self, hash: u64) -> bool {
        self.kernel
            .contains_atomic(self.block_of(hash), low_half(hash))
    }

    #[inline(always)]
    fn block_of(&self, hash: u64) -> &AtomicBlock {
        &self.blocks[index_of(hash, self.blocks.len())]
    }

    /// Inserts many keys and returns how many were new. Blocks are prefetched ahead of their turn.
    pub fn insert_many<K: BloomKey>(&self, keys: impl IntoIterator<Item = K>) -> usize {
        let hash = self.header.hash;
        let hashes = keys.into_iter().map(|key| hash.hash(&key));
        self.kernel.insert_atomic_many(&self.blocks, hashes)
    }

    /// Looks many keys up: `found` is cleared, then gets one answer per key in their order. Blocks are
    /// prefetched ahead of their turn.
    pub fn contains_many<K: BloomKey>(
        &self,
        keys: impl IntoIterator<Item = K>,
        found: &mut Vec<bool>,
    ) {
        found.clear();
        let hash = self.header.hash;
        let hashes = keys.into_iter().map(|key| hash.hash(&key));
        self.kernel
            .contains_atomic_many(&self.blocks, hashes, found);
    }

    /// Adds every key of `other`. Linear in the size. The rate is kept as long as the two together hold
    /// no more keys than the capacity; [`estimated_fpr`](Self::estimated_fpr) tells.
    ///
    /// # Errors
    /// [`Error::Incompatible`] when size, hash or seed differ; nothing has changed then.
    pub fn union(&self, other: &BloomFilter) -> Result<(), Error> {
        same_shape(
            self.blocks.len(),
            other.arrays().len(),
            self.header.hash,
            other.key_hash(),
        )?;
        for (mine, theirs) in self.blocks.iter().zip(other.arrays()) {
            for (word, bits) in mine.0.iter().zip(block::words(theirs)) {
                if bits != 0 {
                    word.fetch_or(bits, Ordering::Relaxed);
                }
            }
        }
        Ok(())
    }

    /// The exclusive filter with these bits. Linear in the size; the memory is taken over.
    #[must_use]
    pub fn freeze(self) -> BloomFilter {
        let blocks = self
            .blocks
            .into_iter()
            .map(|block| block::from_words(block.words()))
            .collect();
        BloomFilter::from_parts(blocks, self.kernel, &self.header)
    }

    /// A copy of the bits as they are now, while others may go on inserting: it has every key whose
    /// insert happened before the call. Linear in the size.
    #[must_use]
    pub fn snapshot(&self) -> BloomFilter {
        let blocks = self.blocks.iter();
        let blocks = collected(blocks.map(|block| block::from_words(block.words())));
        BloomFilter::from_parts(blocks, self.kernel, &self.header)
    }

    /// The number of distinct keys, estimated from the share of set bits as
    /// [`BloomFilter::estimated_count`] does, with the same error. Linear in the size.
    #[must_use]
    pub fn estimated_count(&self) -> u64 {
        sizing::keys_from_fill(self.fill(), self.blocks.len(), sizing::SPLIT_BLOCK_HIT)
    }

    /// Share of bits that are set, 0 to 1. Linear in the size.
    #[must_use]
    pub fn fill(&self) -> f64 {
        let words = self.blocks.iter().flat_map(AtomicBlock::words);
        words.map(|word| u64::from(word.count_ones())).sum::<u64>() as f64
            / (self.byte_len() as f64 * 8.0)
    }

    /// The share of absent keys that are reported present now, from the bits. Linear in the size.
    #[must_use]
    pub fn estimated_fpr(&self) -> f64 {
        let rates = self.blocks.iter().map(|block| measure::rate(block.words()));
        rates.sum::<f64>() / self.blocks.len() as f64
    }

    /// The hash and its seed.
    #[must_use]
    pub const fn key_hash(&self) -> KeyHash {
        self.header.hash
    }

    /// Bytes of the bit array.
    #[must_use]
    pub const fn byte_len(&self) -> usize {
        self.blocks.len() * BLOCK_BYTES
    }

    /// A cheap snapshot of its figures.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            bytes: self.byte_len(),
            capacity: self.header.capacity,
            target_fpr: self.header.fpr,
            inserted: None,
            layers: 1,
            kernel: self.kernel.name(),
        }
    }
}

impl From<BloomFilter> for SharedBloomFilter {
    /// Opens a filter for shared inserts. Linear in the size; the memory is taken over.
    fn from(filter: BloomFilter) -> Self {
        let (kernel, header) = (filter.kernel(), filter.header(0));
        let blocks = filter
            .into_blocks()
            .into_iter()
            .map(AtomicBlock::from_block)
            .collect();
        Self {
            blocks,
            kernel,
            header,
        }
    }
}

impl std::fmt::Debug for SharedBloomFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedBloomFilter")
            .field("stats", &self.stats())
            .field("hash", &self.header.hash)
            .finish()
    }
}
