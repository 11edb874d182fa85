use crate::{
    claim::ClaimFilter,
    error::BuildError,
    filter::BloomFilter,
    kernel::Kernel,
    key::{HashKind, KeyHash},
    scalable::ScalableBloomFilter,
    shared::SharedBloomFilter,
    sizing,
};

/// Settings of a filter; the same for every kind.
///
/// ```
/// use mainspring_bloom::BloomBuilder;
///
/// let filter = BloomBuilder::new(100_000).fpr(0.001).seed(42).build()?;
/// assert!(filter.byte_len() < 220_000);
/// # Ok::<(), mainspring_bloom::BuildError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "settings do nothing until one of the build methods is called"]
pub struct BloomBuilder {
    pub(crate) capacity: usize,
    pub(crate) fpr: f64,
    pub(crate) hash: KeyHash,
    pub(crate) portable: bool,
    pub(crate) max_bytes: usize,
}

impl BloomBuilder {
    /// Settings for `capacity` distinct keys: the number at which the filter has its rate. For a
    /// [`ScalableBloomFilter`], the size of the first layer.
    pub const fn new(capacity: usize) -> Self {
        Self {
            capacity,
            fpr: 0.01,
            hash: KeyHash::new(HashKind::Xxh3, 0),
            portable: false,
            max_bytes: 1 << 30,
        }
    }

    /// The share of absent keys that may be reported present once the filter is full.
    ///
    /// Default 0.01; from 0.000001 to 0.5. Bits per key: 10.5 at 0.01, 16.9 at 0.001 for split
    /// blocks; 12.1 and 24.0 for a [`ClaimFilter`].
    pub const fn fpr(mut self, fpr: f64) -> Self {
        self.fpr = fpr;
        self
    }

    /// The seed of the hash. Default 0. Filters are joined only under the same seed.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.hash = KeyHash::new(self.hash.kind(), seed);
        self
    }

    /// The hash and its seed. Default XXH3 with seed 0; [`KeyHash::PARQUET`] for Parquet's bits.
    pub const fn key_hash(mut self, hash: KeyHash) -> Self {
        self.hash = hash;
        self
    }

    /// Keeps to the portable code even where the processor has AVX2 and BMI2. Default off. The bits are the
    /// same either way; this is for comparing.
    pub const fn portable(mut self, portable: bool) -> Self {
        self.portable = portable;
        self
    }

    /// The largest size in bytes. Default 1 GiB. A larger filter is refused; a
    /// [`ScalableBloomFilter`] stops growing there.
    pub const fn max_bytes(mut self, max_bytes: usize) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    /// An exclusive filter. Its memory is taken and zeroed now.
    ///
    /// # Errors
    /// [`BuildError`] for settings that cannot be kept, or when the memory is not to be had.
    pub fn build(self) -> Result<BloomFilter, BuildError> {
        BloomFilter::from_settings(&self)
    }

    /// A filter with inserts through `&self`.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_shared(self) -> Result<SharedBloomFilter, BuildError> {
        SharedBloomFilter::from_settings(&self)
    }

    /// A filter that tells at most one of racing callers that a key is new.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_claim(self) -> Result<ClaimFilter, BuildError> {
        ClaimFilter::from_settings(&self)
    }

    /// A filter that grows by layers.
    ///
    /// # Errors
    /// As [`build`](Self::build); the rate must be at least 0.00001.
    pub fn build_scalable(self) -> Result<ScalableBloomFilter, BuildError> {
        ScalableBloomFilter::from_settings(self)
    }

    pub(crate) fn kernel(&self) -> Kernel {
        if self.portable {
            Kernel::Portable
        } else {
            Kernel::detect()
        }
    }

    pub(crate) fn check(&self, min_fpr: f64) -> Result<(), BuildError> {
        if self.capacity == 0 {
            return Err(BuildError::ZeroCapacity);
        }
        if !(self.fpr >= min_fpr && self.fpr <= sizing::MAX_FPR) {
            return Err(BuildError::RateOutOfRange {
                fpr: self.fpr,
                min: min_fpr,
                max: sizing::MAX_FPR,
            });
        }
        Ok(())
    }

    /// `units` of `size` bytes as a count, if they fit the bound and 32 bits of index.
    pub(crate) fn fit(&self, units: u64, size: usize) -> Result<usize, BuildError> {
        let needed = units.saturating_mul(size as u64);
        if needed > self.max_bytes as u64 || units > u64::from(u32::MAX) {
            return Err(BuildError::TooLarge {
                needed,
                max_bytes: self.max_bytes,
            });
        }
        Ok(units as usize)
    }
}
