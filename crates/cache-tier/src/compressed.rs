//! A tier in memory that keeps its values compressed.

use crate::cache::Cache;
use crate::entry::TierEntry;
use crate::error::Error;
use crate::key::Key;
use crate::label::Label;
use crate::stats::EvictionCause;
use crate::sync::{Arc, AtomicU64, Mutex, Ordering, RwLock};
use crate::tier::{Marks, Tier, TierFuture, TierUsage};
use bytes::Bytes;
use std::fmt;

mod coder;
mod packed;

use coder::{Coder, Samples, with_buffer};
use packed::Packed;

/// A second tier in memory: values compressed with zstd, so that more of them fit. Feature `zstd`.
///
/// Bounded in bytes, what is stored compressed and its bookkeeping together; evicts by the same policy as
/// [`Cache`]. Values below 64 bytes, and what shrinks by less than an eighth, are stored as they are.
/// [`train`](Self::train) makes a dictionary from values seen lately, which pays where many small values look
/// alike.
///
/// **Cost.** An entry takes some 100 bytes beside its scope, key and value, compressed together, and 8 bytes a label.
/// Outside the bound there are, per process, up to four contexts in each direction (some 100 KiB each, made when as many
/// threads use them at once), and per tier a dictionary (twice 32 KiB, and tables of 80 KiB at level 1) and until it was
/// trained up to 256 KiB of values to learn from: below a megabyte of values that is more than is saved. A hit copies what
/// is compressed, and decompresses it into the buffer that is handed out.
pub struct CompressedTier {
    /// By half of the key's digest; the entry has the key.
    entries: Cache<u64, Packed>,
    coders: Arc<Coders>,
    samples: Mutex<Samples>,
    tally: Arc<Tally>,
}

/// Bytes of the values resident now, uncompressed, and entries evicted to make room.
#[derive(Debug, Default)]
struct Tally {
    raw: AtomicU64,
    evictions: AtomicU64,
}

/// The coder for what comes, last, and before it those that entries still need.
struct Coders(RwLock<Vec<Arc<Coder>>>);

impl Coders {
    fn current(&self) -> Arc<Coder> {
        let coders = self.0.read();
        Arc::clone(&coders[coders.len() - 1])
    }

    fn numbered(&self, number: u32) -> Option<Arc<Coder>> {
        let coders = self.0.read();
        let found = coders.iter().rev().find(|coder| coder.number == number);
        found.cloned()
    }

    fn replace(&self, coder: Coder) {
        let mut coders = self.0.write();
        coders.push(Arc::new(coder));
        self.tidy(&mut coders);
    }

    /// Drops the coders that nobody needs. One that is held outside the list is about to be.
    fn tidy(&self, coders: &mut Vec<Arc<Coder>>) {
        let current = coders[coders.len() - 1].number;
        coders.retain(|coder| {
            let needed = coder.entries.load(Ordering::Acquire) > 0 || Arc::strong_count(coder) > 1;
            coder.number == current || needed
        });
    }

    /// An entry is gone that was compressed with this one.
    fn release(&self, number: u32) {
        if number == 0 {
            return;
        }
        let last = self
            .numbered(number)
            .is_some_and(|coder| coder.entries.fetch_sub(1, Ordering::AcqRel) == 1);
        if last {
            self.tidy(&mut self.0.write());
        }
    }
}

const SMALLEST: usize = 64;
const FEWEST_SAMPLES: usize = 16;
const DICTIONARY: usize = 32 << 10;

impl CompressedTier {
    /// A tier of at most `capacity` bytes, at zstd's level 1.
    #[must_use]
    pub fn new(capacity: u64) -> Self {
        Self::with_level(capacity, 1)
    }

    /// A tier of at most `capacity` bytes. `level`: zstd's, 1 (fast) to 19 (small). Level 3 makes values with a dictionary
    /// smaller by up to a tenth, and its tables larger by 350 KiB: it pays from some 15 MB of values.
    #[must_use]
    pub fn with_level(capacity: u64, level: i32) -> Self {
        let tally = Arc::new(Tally::default());
        let plain = Coder::new(1, level.clamp(1, 19), None);
        let coders = Arc::new(Coders(RwLock::new(vec![Arc::new(plain)])));
        let (told, released) = (Arc::clone(&tally), Arc::clone(&coders));
        let entries = Cache::builder(capacity)
            .ttl(None)
            .weigher(|_: &u64, packed: &Packed| packed.weight())
            .on_evict(move |_, packed: &Packed, cause| {
                if cause == EvictionCause::Capacity {
                    told.evictions.fetch_add(1, Ordering::Relaxed);
                }
                told.raw.fetch_sub(packed.raw() as u64, Ordering::Relaxed);
                released.release(packed.coder());
            })
            .shards(1)
            .assemble(foldhash::fast::RandomState::default());
        Self {
            entries,
            coders,
            samples: Mutex::new(Samples::default()),
            tally,
        }
    }

    /// Learns a dictionary (32 KiB) from up to 256 KiB of values seen so far and uses it from now on, when it
    /// makes them smaller by at least a twentieth; entries stored before keep theirs. True when it did. The values are
    /// dropped then, and 10,000 more pass before any is kept again.
    /// Takes some ten milliseconds: call it off the asynchronous path, after a few hundred values.
    ///
    /// # Errors
    /// [`Error::Codec`] when zstd fails on the values.
    pub fn train(&self) -> Result<bool, Error> {
        let samples = {
            let mut samples = self.samples.lock();
            if samples.sizes.len() < FEWEST_SAMPLES {
                return Ok(false);
            }
            samples.hand_over()
        };
        let before = self.coders.current();
        // Too little or too random to learn from is no error: there is just no dictionary then.
        let Ok(dictionary) =
            zstd::dict::from_continuous(&samples.bytes, &samples.sizes, DICTIONARY)
        else {
            return Ok(false);
        };
        // Zero says that there is none.
        let number = before.number.wrapping_add(1).max(1);
        let after = Coder::new(number, before.level, Some(&dictionary));
        let size = |coder: &Coder| -> Result<usize, Error> {
            samples
                .each()
                .map(|sample| coder.pack(sample, <[u8]>::len))
                .sum()
        };
        let (old, new) = (size(&before)?, size(&after)?);
        drop(before);
        let pays = new + old / 20 < old;
        if pays {
            self.coders.replace(after);
        }
        Ok(pays)
    }

    fn pack(&self, key: &Key, entry: &TierEntry) -> Result<Packed, Error> {
        with_buffer(|content| {
            packed::content(key, entry, content);
            if entry.value.len() < SMALLEST {
                return Packed::new(key, entry, 0, content);
            }
            self.samples.lock().take(content);
            let coder = self.coders.current();
            let packed = coder.pack(content, |packed| {
                let small = packed.len() < content.len() - content.len() / 8;
                small.then(|| Packed::new(key, entry, coder.number, packed))
            })?;
            let Some(packed) = packed else {
                return Packed::new(key, entry, 0, content);
            };
            let packed = packed?;
            // While the coder is held it is not dropped.
            coder.entries.fetch_add(1, Ordering::AcqRel);
            Ok(packed)
        })
    }

    fn store(&self, key: &Key, entry: &TierEntry) -> Result<(), Error> {
        let packed = self.pack(key, entry)?;
        self.tally
            .raw
            .fetch_add(packed.raw() as u64, Ordering::Relaxed);
        if let Some(old) = self.entries.insert(half(key), packed) {
            self.tally
                .raw
                .fetch_sub(old.raw() as u64, Ordering::Relaxed);
            self.coders.release(old.coder());
        }
        Ok(())
    }

    fn find(&self, key: &Key) -> Result<Option<TierEntry>, Error> {
        with_buffer(|buffer| {
            let copied = |packed: &Packed| buffer.extend_from_slice(packed.as_slice());
            if self.entries.get_with(&half(key), copied).is_none() {
                return Ok(None);
            }
            packed::entry(buffer, key, |number, bytes, length| {
                if number == 0 {
                    return Ok(Some(Bytes::copy_from_slice(bytes)));
                }
                match self.coders.numbered(number) {
                    Some(coder) => coder.unpack(bytes, length).map(Some),
                    // It was dropped with the entry, which left meanwhile.
                    None => Ok(None),
                }
            })
        })
    }
}

fn half(key: &Key) -> u64 {
    key.digest() as u64
}

impl fmt::Debug for CompressedTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompressedTier")
            .field("usage", &self.usage())
            .finish_non_exhaustive()
    }
}

impl Tier for CompressedTier {
    fn name(&self) -> &str {
        "compressed"
    }

    fn get<'a>(&'a self, key: &'a Key) -> TierFuture<'a, Option<TierEntry>> {
        Box::pin(async move { self.find(key) })
    }

    fn put<'a>(&'a self, key: &'a Key, entry: &'a TierEntry) -> TierFuture<'a, ()> {
        Box::pin(async move { self.store(key, entry) })
    }

    fn remove<'a>(&'a self, key: &'a Key) -> TierFuture<'a, ()> {
        Box::pin(async move {
            self.entries.remove(&half(key));
            Ok(())
        })
    }

    fn mark<'a>(&'a self, _labels: &'a [Label], epoch: u64) -> TierFuture<'a, u64> {
        Box::pin(async move { Ok(epoch) })
    }

    fn marks(&self) -> TierFuture<'_, Marks> {
        Box::pin(async { Ok(Marks::default()) })
    }

    fn clear(&self) -> TierFuture<'_, ()> {
        Box::pin(async {
            self.entries.clear();
            Ok(())
        })
    }

    fn usage(&self) -> TierUsage {
        let stats = self.entries.stats();
        TierUsage {
            entries: stats.entries,
            bytes: stats.weight,
            peak_bytes: stats.peak_weight,
            raw_bytes: self.tally.raw.load(Ordering::Relaxed),
            evictions: self.tally.evictions.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(value: String) -> TierEntry {
        TierEntry {
            value: Bytes::from(value),
            birth: 1,
            expires_at: 0,
            soft_at: 0,
            signature: None,
            labels: Vec::new(),
        }
    }

    #[test]
    fn a_dictionary_lives_as_long_as_entries_need_it() {
        let tier = CompressedTier::new(64 << 20);
        for n in 0..500_u64 {
            let value = format!(
                r#"{{"type":"function","name":"read_file","line":{n},"status":"completed"}}"#
            )
            .repeat(3);
            let entry = entry(value);
            tier.store(&Key::new("s", n.to_string()), &entry).unwrap();
        }
        assert!(tier.train().unwrap());
        let numbers = || -> Vec<u32> {
            let coders = tier.coders.0.read();
            coders.iter().map(|coder| coder.number).collect()
        };
        assert_eq!(numbers(), [1, 2], "the values are still compressed without");
        assert_eq!(tier.samples.lock().bytes.capacity(), 0);
        for n in 0..500 {
            let key = Key::new("s", n.to_string());
            let entry = tier.find(&key).unwrap().unwrap();
            tier.store(&key, &entry).unwrap();
        }
        assert_eq!(numbers(), [2]);
        assert!(!tier.train().unwrap(), "nothing is left to learn from");
    }

    #[test]
    fn a_key_whose_half_digest_is_another_keys_is_a_miss() {
        let tier = CompressedTier::new(1 << 20);
        let here = Key::new("scope", "key 1");
        let others = [
            Key::new("scope", "key 2"),
            Key::new("scopf", "key 1"),
            Key::new("scopek", "ey 1"),
            Key::new("scope", "key 1 "),
        ];
        for (value, compressed) in [("short".to_owned(), false), ("long ".repeat(99), true)] {
            let entry = entry(value);
            let packed = tier.pack(&here, &entry).unwrap();
            assert_eq!(packed.coder() != 0, compressed);
            tier.store(&here, &entry).unwrap();
            for other in &others {
                // Where it would lie if the halves of the two digests were the same.
                tier.entries.insert(half(other), packed.clone());
                assert_eq!(tier.find(other).unwrap(), None, "{other:?}");
            }
            assert_eq!(tier.find(&here).unwrap(), Some(entry));
        }
    }
}
