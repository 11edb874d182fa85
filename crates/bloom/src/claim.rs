use std::fmt;

use crate::{
    builder::BloomBuilder,
    error::{BuildError, Error},
    format::{self, Header, Kind},
    key::{BloomKey, KeyHash},
    sizing,
    stats::Stats,
    storage::filled,
    sync::{AtomicU64, Ordering},
};

/// Bytes of a word.
const WORD_BYTES: usize = 8;
/// Spreads the hash over the bit positions independently of the word it chose.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A filter that hands each key to **at most one** of any number of racing callers.
///
/// All bits of a key lie in one 64-bit word, which one atomic instruction changes: the first caller
/// finds a bit clear and is told the key is new, every later one finds them all set.
///
/// **A false positive suppresses a fresh item**: with the filter's rate (at capacity; it rises beyond)
/// a key that nobody has claimed is refused as if somebody had. Use it where skipping a rare fresh item
/// is harmless or caught elsewhere (deduplicating work that will be offered again), or ask the
/// authority on a refusal, as the example `claims` does. It never lets a key through twice.
///
/// A claim that returns true happens before every claim of the same key that returns false.
///
/// ```
/// use mainspring_bloom::ClaimFilter;
///
/// let calls = ClaimFilter::with_capacity_and_fpr(10_000, 0.001)?;
/// assert!(calls.claim("call-17"));
/// assert!(!calls.claim("call-17"));
/// # Ok::<(), mainspring_bloom::BuildError>(())
/// ```
pub struct ClaimFilter {
    words: Vec<AtomicU64>,
    header: Header,
}

impl ClaimFilter {
    /// A filter that wrongly refuses at most `fpr` of fresh keys once it holds `capacity` keys.
    ///
    /// # Errors
    /// As [`BloomFilter::with_capacity_and_fpr`](crate::BloomFilter::with_capacity_and_fpr).
    pub fn with_capacity_and_fpr(capacity: usize, fpr: f64) -> Result<Self, BuildError> {
        BloomBuilder::new(capacity).fpr(fpr).build_claim()
    }

    pub(crate) fn from_settings(settings: &BloomBuilder) -> Result<Self, BuildError> {
        settings.check(sizing::MIN_FPR)?;
        let (words, bits) = sizing::words_for(settings.capacity, settings.fpr);
        let count = settings.fit(words, WORD_BYTES)?;
        let header = Header {
            kind: Kind::Claim,
            hash: settings.hash,
            bits_per_key: bits as u8,
            units: words,
            inserted: 0,
            capacity: settings.capacity as u64,
            fpr: settings.fpr,
        };
        let words = zeros(count).map_err(|bytes| BuildError::OutOfMemory { bytes })?;
        Ok(Self { words, header })
    }

    /// Claims a key: true for at most one caller ever, false for everybody else.
    #[inline]
    pub fn claim<K: BloomKey + ?Sized>(&self, key: &K) -> bool {
        self.claim_hash(self.header.hash.hash(key))
    }

    /// As [`claim`](Self::claim) with a hash made by [`key_hash`](Self::key_hash).
    #[inline]
    pub fn claim_hash(&self, hash: u64) -> bool {
        let (word, mask) = (self.word_of(hash), self.mask_of(hash));
        word.load(Ordering::Acquire) & mask != mask
            && word.fetch_or(mask, Ordering::AcqRel) & mask != mask
    }

    /// Whether a claim of this key would be refused now.
    #[inline]
    #[must_use]
    pub fn is_claimed<K: BloomKey + ?Sized>(&self, key: &K) -> bool {
        let hash = self.header.hash.hash(key);
        let mask = self.mask_of(hash);
        self.word_of(hash).load(Ordering::Acquire) & mask == mask
    }

    #[inline(always)]
    fn word_of(&self, hash: u64) -> &AtomicU64 {
        &self.words[crate::block::index_of(hash, self.words.len())]
    }

    #[inline(always)]
    fn mask_of(&self, hash: u64) -> u64 {
        let mut draws = hash.wrapping_mul(SPREAD);
        let mut mask = 0;
        for _ in 0..self.header.bits_per_key {
            mask |= 1 << (draws >> 58);
            draws <<= 6;
        }
        mask
    }

    /// The number of distinct keys, estimated from the share of set bits. Linear in the size.
    #[must_use]
    pub fn estimated_count(&self) -> u64 {
        sizing::keys_from_fill(
            self.fill(),
            self.words.len(),
            sizing::claim_hit(self.header.bits_per_key),
        )
    }

    /// Share of bits that are set, 0 to 1. Linear in the size.
    #[must_use]
    pub fn fill(&self) -> f64 {
        let set: u64 = self
            .snapshot()
            .map(|word| u64::from(word.count_ones()))
            .sum();
        set as f64 / (self.words.len() as f64 * 64.0)
    }

    /// The share of fresh keys that would be refused now, from the bits. Linear in the size. Watch it:
    /// beyond the capacity it rises until every claim is refused.
    #[must_use]
    pub fn estimated_fpr(&self) -> f64 {
        let bits = i32::from(self.header.bits_per_key);
        let rate = |word: u64| (f64::from(word.count_ones()) / 64.0).powi(bits);
        self.snapshot().map(rate).sum::<f64>() / self.words.len() as f64
    }

    fn snapshot(&self) -> impl Iterator<Item = u64> {
        self.words.iter().map(|word| word.load(Ordering::Acquire))
    }

    /// The hash and its seed.
    #[must_use]
    pub const fn key_hash(&self) -> KeyHash {
        self.header.hash
    }

    /// A cheap snapshot of its figures.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            bytes: self.words.len() * WORD_BYTES,
            capacity: self.header.capacity,
            target_fpr: self.header.fpr,
            inserted: None,
            layers: 1,
            kernel: "atomic",
        }
    }

    /// The filter as checked, versioned bytes (format page `bloom-v1`). Others may go on claiming:
    /// the bytes have every claim that happened before the call, and each claim whole or not at all.
    ///
    /// What is claimed later is not in them: a filter read back hands such a key out once more. Where a
    /// restart must not do that, let the authority on what was done answer first.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; format::HEADER_BYTES];
        bytes.reserve_exact(self.words.len() * WORD_BYTES);
        bytes.extend(self.snapshot().flat_map(u64::to_le_bytes));
        let header = Header {
            inserted: self.estimated_count(),
            ..self.header
        }
        .encode(&bytes[format::HEADER_BYTES..]);
        bytes[..format::HEADER_BYTES].copy_from_slice(&header);
        bytes
    }

    /// Reads a filter back; every byte is checked before memory is taken.
    ///
    /// # Errors
    /// As [`BloomFilter::from_bytes`](crate::BloomFilter::from_bytes).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let (header, checksum, body) = format::decode(bytes, Kind::Claim)?;
        format::check_body(body, checksum)?;
        let chunks = body.as_chunks::<WORD_BYTES>().0;
        let words = zeros(chunks.len()).map_err(|bytes| Error::OutOfMemory { bytes })?;
        for (word, chunk) in words.iter().zip(chunks) {
            word.store(u64::from_le_bytes(*chunk), Ordering::Release);
        }
        Ok(Self { words, header })
    }
}

fn zeros(count: usize) -> Result<Vec<AtomicU64>, usize> {
    filled(count, || AtomicU64::new(0))
}

impl fmt::Debug for ClaimFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClaimFilter")
            .field("stats", &self.stats())
            .field("hash", &self.header.hash)
            .finish()
    }
}
