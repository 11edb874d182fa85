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
use zstd::bulk::{Compressor, Decompressor};

/// A second tier in memory: values compressed with zstd, so that more of them fit. Feature `zstd`.
///
/// Bounded in bytes, what is stored compressed and its bookkeeping together; evicts by the same policy as
/// [`Cache`]. Values below 64 bytes and those that shrink by less than an eighth are stored as they are.
/// [`train`](Self::train) makes a dictionary from values seen lately, which pays where many small values look
/// alike.
pub struct CompressedTier {
    entries: Cache<Key, Packed>,
    coder: RwLock<Arc<Coder>>,
    samples: Mutex<Samples>,
    tally: Arc<Tally>,
}

/// Bytes of the values resident now, uncompressed, and entries evicted to make room.
#[derive(Debug, Default)]
struct Tally {
    raw: AtomicU64,
    evictions: AtomicU64,
}

#[derive(Clone)]
struct Packed(Arc<Body>);

struct Body {
    /// The entry without its value.
    entry: TierEntry,
    bytes: Bytes,
    raw: usize,
    /// What the bytes were compressed with; `None` where they are as they came.
    coder: Option<Arc<Coder>>,
}

impl Body {
    fn unpack(&self) -> Result<TierEntry, Error> {
        let value = match &self.coder {
            None => self.bytes.clone(),
            Some(coder) => coder.unpack(&self.bytes, self.raw)?,
        };
        Ok(TierEntry {
            value,
            ..self.entry.clone()
        })
    }

    fn weight(&self, key: &Key) -> u32 {
        let fixed = size_of::<Self>() + size_of::<Key>() + 64;
        let size = fixed
            + self.bytes.len()
            + self.entry.labels.len() * 8
            + key.bytes().len()
            + key.scope().as_str().len();
        u32::try_from(size).unwrap_or(u32::MAX)
    }
}

/// Values seen lately, to learn from.
#[derive(Debug, Default)]
struct Samples {
    bytes: Vec<u8>,
    sizes: Vec<usize>,
    passed: u32,
}

const SMALLEST: usize = 64;
const SAMPLE_BYTES: usize = 512 << 10;
const LONGEST_SAMPLE: usize = 16 << 10;
const FEWEST_SAMPLES: usize = 16;
const DICTIONARY: usize = 16 << 10;
/// Contexts kept for later, per dictionary and direction.
const CONTEXTS: usize = 4;

impl Samples {
    /// Takes the beginning of every value until there is enough, and starts over after 10,000 more.
    fn take(&mut self, value: &[u8]) {
        if self.bytes.len() >= SAMPLE_BYTES {
            self.passed += 1;
            if self.passed < 10_000 {
                return;
            }
            *self = Self::default();
        }
        let sample = &value[..value.len().min(LONGEST_SAMPLE)];
        self.bytes.extend_from_slice(sample);
        self.sizes.push(sample.len());
    }

    fn each(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.bytes.as_slice();
        self.sizes.iter().map(move |size| {
            let (sample, after) = rest.split_at(*size);
            rest = after;
            sample
        })
    }
}

/// Compression with one dictionary, or with none.
struct Coder {
    level: i32,
    dictionary: Vec<u8>,
    packers: Mutex<Vec<Compressor<'static>>>,
    unpackers: Mutex<Vec<Decompressor<'static>>>,
}

impl Coder {
    fn new(level: i32, dictionary: Vec<u8>) -> Self {
        Self {
            level,
            dictionary,
            packers: Mutex::new(Vec::new()),
            unpackers: Mutex::new(Vec::new()),
        }
    }

    fn pack(&self, value: &[u8]) -> Result<Vec<u8>, Error> {
        let kept = self.packers.lock().pop();
        let mut packer = match kept {
            Some(packer) => packer,
            None => {
                Compressor::with_dictionary(self.level, &self.dictionary).map_err(Error::codec)?
            }
        };
        let packed = packer.compress(value).map_err(Error::codec);
        let mut packers = self.packers.lock();
        if packers.len() < CONTEXTS {
            packers.push(packer);
        }
        packed
    }

    fn unpack(&self, bytes: &[u8], raw: usize) -> Result<Bytes, Error> {
        let kept = self.unpackers.lock().pop();
        let mut unpacker = match kept {
            Some(unpacker) => unpacker,
            None => Decompressor::with_dictionary(&self.dictionary).map_err(Error::codec)?,
        };
        let unpacked = unpacker.decompress(bytes, raw).map_err(Error::codec);
        let mut unpackers = self.unpackers.lock();
        if unpackers.len() < CONTEXTS {
            unpackers.push(unpacker);
        }
        unpacked.map(Bytes::from)
    }
}

impl CompressedTier {
    /// A tier of at most `capacity` bytes, at zstd's level 3.
    #[must_use]
    pub fn new(capacity: u64) -> Self {
        Self::with_level(capacity, 3)
    }

    /// A tier of at most `capacity` bytes. `level`: zstd's, 1 (fast) to 19 (small).
    #[must_use]
    pub fn with_level(capacity: u64, level: i32) -> Self {
        let tally = Arc::new(Tally::default());
        let told = Arc::clone(&tally);
        let entries = Cache::builder(capacity)
            .ttl(None)
            .weigher(|key: &Key, packed: &Packed| packed.0.weight(key))
            .on_evict(move |_, packed: &Packed, cause| {
                if cause == EvictionCause::Capacity {
                    told.evictions.fetch_add(1, Ordering::Relaxed);
                }
                told.raw.fetch_sub(packed.0.raw as u64, Ordering::Relaxed);
            })
            .shards(1)
            .assemble(foldhash::fast::RandomState::default());
        Self {
            entries,
            coder: RwLock::new(Arc::new(Coder::new(level.clamp(1, 19), Vec::new()))),
            samples: Mutex::new(Samples::default()),
            tally,
        }
    }

    /// Learns a dictionary (16 KiB) from up to 512 KiB of values seen so far and uses it from now on, when it
    /// makes them smaller by at least a twentieth; entries stored before keep theirs. True when it did.
    /// Takes some ten milliseconds: call it off the asynchronous path, after a few hundred values.
    ///
    /// # Errors
    /// [`Error::Codec`] when zstd fails on the values.
    pub fn train(&self) -> Result<bool, Error> {
        let samples = {
            let samples = self.samples.lock();
            Samples {
                bytes: samples.bytes.clone(),
                sizes: samples.sizes.clone(),
                passed: 0,
            }
        };
        if samples.sizes.len() < FEWEST_SAMPLES {
            return Ok(false);
        }
        let before = Arc::clone(&self.coder.read());
        // Too little or too random to learn from is no error: there is just no dictionary then.
        let Ok(dictionary) =
            zstd::dict::from_continuous(&samples.bytes, &samples.sizes, DICTIONARY)
        else {
            return Ok(false);
        };
        let after = Coder::new(before.level, dictionary);
        let size = |coder: &Coder| -> Result<usize, Error> {
            samples
                .each()
                .map(|sample| Ok(coder.pack(sample)?.len()))
                .sum()
        };
        let (old, new) = (size(&before)?, size(&after)?);
        let pays = new + old / 20 < old;
        if pays {
            *self.coder.write() = Arc::new(after);
            // Entries keep their dictionary, for reading: its contexts for writing are large and done with.
            before.packers.lock().clear();
        }
        Ok(pays)
    }

    fn pack(&self, entry: &TierEntry) -> Result<Packed, Error> {
        let raw = entry.value.len();
        let bare = TierEntry {
            value: Bytes::new(),
            ..entry.clone()
        };
        if raw >= SMALLEST {
            self.samples.lock().take(&entry.value);
            let coder = Arc::clone(&self.coder.read());
            let packed = coder.pack(&entry.value)?;
            if packed.len() < raw - raw / 8 {
                let bytes = Bytes::from(packed.into_boxed_slice());
                return Ok(Packed(Arc::new(Body {
                    entry: bare,
                    bytes,
                    raw,
                    coder: Some(coder),
                })));
            }
        }
        // A copy of its own: the value may be a small part of something large.
        let bytes = Bytes::copy_from_slice(&entry.value);
        Ok(Packed(Arc::new(Body {
            entry: bare,
            bytes,
            raw,
            coder: None,
        })))
    }

    fn store(&self, key: &Key, entry: &TierEntry) -> Result<(), Error> {
        let packed = self.pack(entry)?;
        self.tally
            .raw
            .fetch_add(entry.value.len() as u64, Ordering::Relaxed);
        if let Some(old) = self.entries.insert(key.clone(), packed) {
            self.tally
                .raw
                .fetch_sub(old.0.raw as u64, Ordering::Relaxed);
        }
        Ok(())
    }
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
        Box::pin(async move {
            match self.entries.get(key) {
                Some(packed) => packed.0.unpack().map(Some),
                None => Ok(None),
            }
        })
    }

    fn put<'a>(&'a self, key: &'a Key, entry: &'a TierEntry) -> TierFuture<'a, ()> {
        Box::pin(async move { self.store(key, entry) })
    }

    fn remove<'a>(&'a self, key: &'a Key) -> TierFuture<'a, ()> {
        Box::pin(async move {
            self.entries.remove(key);
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

    #[test]
    fn a_dictionary_that_was_replaced_keeps_no_contexts_for_writing() {
        let tier = CompressedTier::new(64 << 20);
        for n in 0..500_u64 {
            let value = format!(
                r#"{{"type":"function","name":"read_file","line":{n},"status":"completed"}}"#
            );
            let entry = TierEntry {
                value: Bytes::from(value),
                birth: 1,
                expires_at: 0,
                soft_at: 0,
                signature: None,
                labels: Vec::new(),
            };
            tier.store(&Key::new("s", n.to_string()), &entry).unwrap();
        }
        let before = Arc::clone(&tier.coder.read());
        assert!(tier.train().unwrap());
        assert!(before.packers.lock().is_empty());
    }
}
