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
        for hash in hashes(text) {
            // Each slot mixes the hash with numbers of its own, in halves of a word: those go side by side.
            let (low, high) = (hash as u32, (hash >> 32) as u32 | 1);
            for (slot, number) in least.iter_mut().zip(1u32..) {
                let value = low.wrapping_add(high.wrapping_mul(number));
                let mixed = (value ^ value >> 15).wrapping_mul(0x2C1B_3C6D);
                *slot = (*slot).min(mixed ^ mixed >> 12);
            }
        }
        Self(least)
    }

    /// Estimated share of common shingles.
    pub(crate) fn similarity(&self, other: &Self) -> f64 {
        let same = self.0.iter().zip(&other.0).filter(|(a, b)| a == b).count();
        same as f64 / HASHES as f64
    }

    /// Whether the texts may share more than `least` of their shingles: false only when the estimate
    /// is four of its standard deviations below. Computing it is dearer.
    pub(crate) fn may_exceed(&self, other: &Self, least: f64) -> bool {
        let spread = (least * (1.0 - least) / HASHES as f64).sqrt();
        self.similarity(other) >= least - 4.0 * spread
    }

    /// Those of the others that may share more than `least`, the most similar first.
    pub(crate) fn nearest<'a>(
        &self,
        others: impl Iterator<Item = (usize, &'a Self)>,
        least: f64,
    ) -> Vec<usize> {
        let others = others.filter(|(_, other)| self.may_exceed(other, least));
        let mut near: Vec<(usize, f64)> = others
            .map(|(at, other)| (at, self.similarity(other)))
            .collect();
        near.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        near.into_iter().map(|(at, _)| at).collect()
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

/// The hashes of all shingles of a text, with those that repeat.
fn hashes(text: &str) -> Vec<u64> {
    let words: Vec<u64> = words(text).map(|w| xxh3_64(w.as_bytes())).collect();
    let size = SHINGLE.min(words.len().max(1));
    let shingles = words.windows(size).map(|shingle| {
        shingle.iter().fold(0u64, |hash, word| {
            hash.rotate_left(13).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ word
        })
    });
    shingles.collect()
}

/// The share of common shingles of two texts (Jaccard), counted and not estimated.
pub(crate) fn similarity(a: &str, b: &str) -> f64 {
    let sorted = |text: &str| {
        let mut hashes = hashes(text);
        hashes.sort_unstable();
        hashes.dedup();
        hashes
    };
    let (a, b) = (sorted(a), sorted(b));
    let (mut i, mut j, mut common) = (0, 0, 0usize);
    while i < a.len() && j < b.len() {
        match a[i].cmp(&b[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => (i, j, common) = (i + 1, j + 1, common + 1),
        }
    }
    let all = a.len() + b.len() - common;
    if all == 0 {
        return 1.0;
    }
    common as f64 / all as f64
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
        assert!(a.may_exceed(&b, 0.85) && !a.may_exceed(&c, 0.85));
        // Four of 397 shingles hold the word that differs.
        assert!((similarity(&base, &close) - 393.0 / 401.0).abs() < 1e-9);
        assert!(similarity(&base, &far) < 1e-9);
        assert!((similarity("", "") - 1.0).abs() < 1e-9);
        assert!(a.similarity(&c) < 0.1);
        assert!(a.bands().any(|band| b.bands().any(|other| other == band)));
    }
}
