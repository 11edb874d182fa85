use crate::{
    block::{BLOCK_BYTES, BlockBytes},
    error::Error,
    filter::BloomFilter,
    format::{self, Header, Kind},
    kernel::Kernel,
    key::{BloomKey, KeyHash},
    measure, simd,
    stats::Stats,
    storage::empty_blocks,
};

/// A filter that is read where it lies: in a mapped file, a network buffer, a static.
///
/// Opening costs 96 bytes however large the filter is; only blocks that are asked for are touched.
/// The bytes need no alignment. They must not change while the view exists, which the borrow
/// ensures for memory; whoever maps a file answers for the file.
///
/// ```
/// use mainspring_bloom::{BloomFilter, BloomView};
///
/// let mut filter = BloomFilter::with_capacity_and_fpr(1_000, 0.01)?;
/// filter.insert("kept");
/// let stored = filter.to_bytes();
///
/// let view = BloomView::new(&stored)?;
/// assert!(view.contains("kept"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct BloomView<'a> {
    blocks: &'a [BlockBytes],
    kernel: Kernel,
    header: Header,
    /// The checksum the header promises for the bits; `None` when there was no header.
    checksum: Option<u64>,
}

impl<'a> BloomView<'a> {
    /// A view over stored bytes: the header is checked, with its own checksum and against the
    /// length, the bits are not (see [`verify`](Self::verify)). Constant cost.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::UnsupportedVersion`] or [`Error::WrongKind`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, Error> {
        let (header, checksum, body) = format::decode(bytes, Kind::SplitBlock)?;
        let blocks = body.as_chunks::<BLOCK_BYTES>().0;
        Ok(Self {
            blocks,
            kernel: Kernel::detect(),
            header,
            checksum: Some(checksum),
        })
    }

    pub(crate) fn over(blocks: &'a [BlockBytes], kernel: Kernel, header: Header) -> Self {
        Self {
            blocks,
            kernel,
            header,
            checksum: None,
        }
    }

    /// The number of keys that the header says.
    pub(crate) fn stored_count(&self) -> u64 {
        self.header.inserted
    }

    /// Reads every bit and compares the checksum.
    ///
    /// # Errors
    /// [`Error::Damaged`] when they differ.
    pub fn verify(&self) -> Result<(), Error> {
        match self.checksum {
            Some(expected) => format::check_body(self.blocks.as_flattened(), expected),
            None => Ok(()),
        }
    }

    /// False when the key was certainly never inserted; true when it was, or by chance.
    #[inline]
    #[must_use]
    pub fn contains<K: BloomKey + ?Sized>(&self, key: &K) -> bool {
        self.kernel.contains_key(self.blocks, self.header.hash, key)
    }

    /// As [`contains`](Self::contains), with a hash made by [`key_hash`](Self::key_hash).
    #[inline]
    #[must_use]
    pub fn contains_hash(&self, hash: u64) -> bool {
        self.kernel.contains(self.blocks, hash)
    }

    /// Looks many keys up, as [`BloomFilter::contains_many`]: in a mapped file the prefetch hides
    /// memory, not the disk.
    pub fn contains_many<K: BloomKey>(
        &self,
        keys: impl IntoIterator<Item = K>,
        found: &mut Vec<bool>,
    ) {
        found.clear();
        let hash = self.header.hash;
        let hashes = keys.into_iter().map(|key| hash.hash(&key));
        self.kernel.contains_many(self.blocks, hashes, found);
    }

    /// The number of distinct keys, estimated from the share of set bits as
    /// [`BloomFilter::estimated_count`] does, with the same error. Reads every bit.
    #[must_use]
    pub fn estimated_count(&self) -> u64 {
        measure::estimated_count(self.blocks)
    }

    /// Share of bits that are set, 0 to 1. Reads every bit.
    #[must_use]
    pub fn fill(&self) -> f64 {
        measure::fill(self.blocks)
    }

    /// The share of absent keys that are reported present now. Reads every bit.
    #[must_use]
    pub fn estimated_fpr(&self) -> f64 {
        measure::estimated_fpr(self.blocks)
    }

    /// The hash and its seed, as stored.
    #[must_use]
    pub const fn key_hash(&self) -> KeyHash {
        self.header.hash
    }

    /// The bit array.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.blocks.as_flattened()
    }

    /// A cheap snapshot of its figures; `inserted` is what the stored header says, and `None` for a view
    /// of a filter in memory, which has none.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            bytes: self.blocks.len() * BLOCK_BYTES,
            capacity: self.header.capacity,
            target_fpr: self.header.fpr,
            // A header with a checksum was read, one without was made up for this view.
            inserted: self.checksum.map(|_| self.header.inserted),
            layers: 1,
            kernel: self.kernel.name(),
        }
    }

    /// A filter of its own with these bits. Linear in the size; the bits are not verified.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn to_filter(&self) -> Result<BloomFilter, Error> {
        let mut blocks =
            empty_blocks(self.blocks.len()).map_err(|bytes| Error::OutOfMemory { bytes })?;
        simd::arrays_of_mut(&mut blocks).copy_from_slice(self.blocks);
        Ok(BloomFilter::from_parts(blocks, self.kernel, &self.header))
    }
}

impl std::fmt::Debug for BloomView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BloomView")
            .field("stats", &self.stats())
            .field("hash", &self.header.hash)
            .finish()
    }
}
