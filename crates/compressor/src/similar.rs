//! Near-duplicates by shingles and MinHash (Broder, 1997), found by banding.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

const ROWS: usize = 4;
const BANDS: usize = 16;
const HASHES: usize = ROWS * BANDS;
/// Words of a shingle.
const SHINGLE: usize = 4;

/// The least of several hashes over all shingles of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signature([u32; HASHES]);

impl Signature {
    pub(crate) fn of(text: &str) -> Self {
        let mut least = [u32::MAX; HASHES];
        let words: Vec<u64> = words(text).map(|w| xxh3_64(w.as_bytes())).collect();
        let size = SHINGLE.min(words.len().max(1));
        for shingle in words.windows(size) {
            let hash = shingle.iter().fold(0u64, |hash, word| {
                hash.rotate_left(13).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ word
            });
            let (mut value, step) = (hash, (hash >> 32 | 1).wrapping_mul(0xD6E8_FEB8_6659_FD93));
            for slot in &mut least {
                value = value.wrapping_add(step);
                let mixed = (value ^ value >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                *slot = (*slot).min((mixed >> 32) as u32);
            }
        }
        Self(least)
    }

    /// Estimated share of common shingles.
    pub(crate) fn similarity(&self, other: &Self) -> f64 {
        let same = self.0.iter().zip(&other.0).filter(|(a, b)| a == b).count();
        same as f64 / HASHES as f64
    }

    /// Keys under which similar texts meet.
    pub(crate) fn bands(&self) -> impl Iterator<Item = (usize, u64)> {
        self.0.chunks_exact(ROWS).enumerate().map(|(band, rows)| {
            let mut bytes = [0u8; ROWS * 4];
            for (out, row) in bytes.chunks_exact_mut(4).zip(rows) {
                out.copy_from_slice(&row.to_le_bytes());
            }
            (band, xxh3_64_with_seed(&bytes, band as u64))
        })
    }
}

/// Words of a text: letters, digits and underscores.
pub(crate) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_texts_meet_and_different_ones_do_not() {
        let words: Vec<String> = (0..400).map(|n| format!("word{n}")).collect();
        let base = words.join(" ");
        let close = base.replace("word77 ", "other ");
        let far: String = (1000..1400).map(|n| format!("word{n} ")).collect();
        let (a, b, c) = (
            Signature::of(&base),
            Signature::of(&close),
            Signature::of(&far),
        );
        assert!(a.similarity(&b) > 0.85);
        assert!(a.similarity(&c) < 0.1);
        assert!(a.bands().any(|band| b.bands().any(|other| other == band)));
    }
}
