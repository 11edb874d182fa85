use bloomfilter::Bloom;

use crate::{
    error::{BuildError, Error},
    membership::MembershipFilter,
    sizing::{MAX_FPR, MIN_FPR},
};

/// The textbook filter, one bit array and k hashes, from the `bloomfilter` crate.
///
/// Smaller than a split-block filter at the same rate (9.6 against 10.5 bits per key at 0.01) and
/// slower, since every hash is a cache miss of its own. Its bits are those of that crate: they are no
/// part of this crate's format or stable-hash promise.
#[derive(Debug)]
pub struct ClassicFilter {
    bloom: Bloom<[u8]>,
}

impl ClassicFilter {
    /// A filter that reports at most `fpr` of absent keys as present once it holds `capacity` keys.
    /// Its SipHash keys are derived from `seed`.
    ///
    /// # Errors
    /// [`BuildError`] when the capacity is zero, the rate outside 0.000001..=0.5, or the bits too many.
    pub fn new(capacity: usize, fpr: f64, seed: u64) -> Result<Self, BuildError> {
        const MAX_BYTES: usize = 1 << 30;
        if capacity == 0 {
            return Err(BuildError::ZeroCapacity);
        }
        if !(MIN_FPR..=MAX_FPR).contains(&fpr) {
            return Err(BuildError::RateOutOfRange {
                fpr,
                min: MIN_FPR,
                max: MAX_FPR,
            });
        }
        let needed =
            (-(capacity as f64) * fpr.ln() / std::f64::consts::LN_2.powi(2) / 8.0).ceil() as u64;
        let too_large = BuildError::TooLarge {
            needed,
            max_bytes: MAX_BYTES,
        };
        if needed > MAX_BYTES as u64 {
            return Err(too_large);
        }
        let bloom = Bloom::new_for_fp_rate_with_seed(capacity, fpr, &sip_keys(seed))
            .map_err(|_| too_large)?;
        Ok(Self { bloom })
    }
}

/// The two SipHash keys in 32 bytes. They must differ: all hashes of a key are mixed from its hash under
/// the one and under the other, and equal keys would make the first two the same and the rest multiples of it.
fn sip_keys(seed: u64) -> [u8; 32] {
    let mut keys = [0; 32];
    for (number, part) in keys.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        *part = xxhash_rust::xxh3::xxh3_64_with_seed(&[number as u8], seed).to_le_bytes();
    }
    keys
}

impl MembershipFilter for ClassicFilter {
    fn insert_bytes(&mut self, key: &[u8]) -> Result<bool, Error> {
        Ok(!self.bloom.check_and_set(key))
    }

    fn contains_bytes(&self, key: &[u8]) -> bool {
        self.bloom.check(key)
    }

    fn bytes_held(&self) -> usize {
        (self.bloom.len() / 8) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::sip_keys;

    #[test]
    fn the_two_keys_differ_whatever_the_seed() {
        for seed in (0..10_000).chain([u64::MAX, 1 << 63, 0x5555_5555_5555_5555]) {
            let keys = sip_keys(seed);
            assert_ne!(keys[..16], keys[16..], "seed {seed}");
            assert_ne!(keys, sip_keys(seed ^ 1), "seed {seed}");
        }
    }
}
