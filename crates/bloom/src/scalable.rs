use crate::{
    builder::BloomBuilder,
    error::{BuildError, Error},
    filter::BloomFilter,
    format::{self, Header, Kind},
    key::{BloomKey, KeyHash},
    sizing,
    stats::Stats,
};

/// Smallest rate that a growing filter is built for: later layers must be stricter still.
const MIN_FPR: f64 = 1e-5;
/// Most layers; the last one is 2^19 times as large as the first.
const MAX_LAYERS: usize = 20;
/// Keys that are hashed before the first layer is asked for them.
const BATCH: usize = 256;

/// A Bloom filter for a number of keys that nobody knows beforehand.
///
/// It begins with one layer of the given capacity; when that is full, a layer of twice the capacity and
/// half the rate follows, so the rates of all layers add up to the one asked for (Almeida, Baquero,
/// Preguiça, Hutchison, "Scalable Bloom Filters", 2007). A look-up asks the layers from the largest
/// down: at most one cache miss per layer, and layers grow with the logarithm of the keys. There are at
/// most 20, a million times the first capacity together, so do not start with a handful.
///
/// ```
/// use mainspring_bloom::ScalableBloomFilter;
///
/// let mut seen = ScalableBloomFilter::with_capacity_and_fpr(100, 0.01)?;
/// for id in 0..10_000_u64 {
///     seen.insert(&id)?;
/// }
/// assert!((0..10_000_u64).all(|id| seen.contains(&id)));
/// assert!(seen.stats().layers > 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct ScalableBloomFilter {
    /// Smallest first; never empty.
    layers: Vec<Layer>,
    settings: BloomBuilder,
    bytes: usize,
}

/// A filter and the number of keys that were new to it: by that number, not by an estimate that reads
/// every bit, the next layer's turn comes.
#[derive(Debug, Clone)]
struct Layer {
    filter: BloomFilter,
    inserted: u64,
}

impl Layer {
    const fn empty(filter: BloomFilter) -> Self {
        Self {
            filter,
            inserted: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.inserted >= self.filter.capacity()
    }

    fn insert_hash(&mut self, hash: u64) -> bool {
        let new = self.filter.insert_hash(hash);
        self.inserted = self.inserted.saturating_add(u64::from(new));
        new
    }

    fn union(&mut self, other: &Self) -> Result<(), Error> {
        self.filter.union(&other.filter)?;
        self.inserted = self.filter.estimated_count();
        Ok(())
    }

    fn clear(&mut self) {
        self.filter.clear();
        self.inserted = 0;
    }
}

impl ScalableBloomFilter {
    /// A filter whose first layer holds `capacity` keys, with at most `fpr` false positives in all.
    ///
    /// # Errors
    /// [`BuildError`] when the capacity is zero, the rate outside 0.00001..=0.5, or the first layer
    /// larger than 1 GiB.
    pub fn with_capacity_and_fpr(capacity: usize, fpr: f64) -> Result<Self, BuildError> {
        BloomBuilder::new(capacity).fpr(fpr).build_scalable()
    }

    pub(crate) fn from_settings(settings: BloomBuilder) -> Result<Self, BuildError> {
        settings.check(MIN_FPR)?;
        let first = BloomFilter::sized(&settings, settings.capacity, layer_rate(settings.fpr, 0))?;
        Ok(Self {
            bytes: first.byte_len(),
            layers: vec![Layer::empty(first)],
            settings,
        })
    }

    /// Inserts a key; true when it was certainly not there before. May add a layer.
    ///
    /// # Errors
    /// [`Error::Full`] when a layer is needed that the bound in bytes or the limit of 20 layers does not
    /// allow, and [`Error::OutOfMemory`]; the key was not added, and look-ups go on as before.
    pub fn insert<K: BloomKey + ?Sized>(&mut self, key: &K) -> Result<bool, Error> {
        self.insert_hash(self.key_hash().hash(key))
    }

    /// As [`insert`](Self::insert) with a hash made by [`key_hash`](Self::key_hash).
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn insert_hash(&mut self, hash: u64) -> Result<bool, Error> {
        if self.contains_hash(hash) {
            return Ok(false);
        }
        if self.newest().is_full() {
            self.grow()?;
        }
        let newest = self.layers.len() - 1;
        Ok(self.layers[newest].insert_hash(hash))
    }

    /// Inserts many keys and returns how many were new.
    ///
    /// # Errors
    /// As [`insert`](Self::insert); the keys before the failing one stay.
    pub fn insert_many<K: BloomKey>(
        &mut self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<usize, Error> {
        keys.into_iter()
            .try_fold(0, |new, key| Ok(new + usize::from(self.insert(&key)?)))
    }

    /// False when the key was certainly never inserted; true when it was, or by chance.
    #[must_use]
    pub fn contains<K: BloomKey + ?Sized>(&self, key: &K) -> bool {
        self.contains_hash(self.key_hash().hash(key))
    }

    /// As [`contains`](Self::contains), with a hash made by [`key_hash`](Self::key_hash).
    #[must_use]
    pub fn contains_hash(&self, hash: u64) -> bool {
        self.filters().rev().any(|layer| layer.contains_hash(hash))
    }

    /// Looks many keys up: `found` is cleared, then gets one answer per key in their order. Each
    /// layer is asked in prefetched batches.
    pub fn contains_many<K: BloomKey>(
        &self,
        keys: impl IntoIterator<Item = K>,
        found: &mut Vec<bool>,
    ) {
        found.clear();
        let hash = self.key_hash();
        let mut answers = Vec::new();
        in_batches(keys.into_iter().map(|key| hash.hash(&key)), |batch| {
            let start = found.len();
            found.resize(start + batch.len(), false);
            for layer in self.filters() {
                answers.clear();
                layer
                    .kernel()
                    .contains_many(layer.arrays(), batch.iter().copied(), &mut answers);
                found[start..]
                    .iter_mut()
                    .zip(&answers)
                    .for_each(|(all, one)| *all |= one);
            }
        });
    }

    /// The number of distinct keys, estimated from the bits of all layers. Linear in the size.
    #[must_use]
    pub fn estimated_count(&self) -> u64 {
        self.filters()
            .map(BloomFilter::estimated_count)
            .fold(0, u64::saturating_add)
    }

    /// Share of bits that are set over all layers, 0 to 1. Linear in the size.
    #[must_use]
    pub fn fill(&self) -> f64 {
        self.filters()
            .map(|layer| layer.fill() * layer.byte_len() as f64)
            .sum::<f64>()
            / self.bytes as f64
    }

    /// An upper bound of the share of absent keys that are reported present now. Linear in the size.
    #[must_use]
    pub fn estimated_fpr(&self) -> f64 {
        1.0 - self
            .filters()
            .map(|layer| 1.0 - layer.estimated_fpr())
            .product::<f64>()
    }

    /// Adds every key of `other`, layer by layer. Linear in the size.
    ///
    /// Layers that both have filled hold twice their keys afterwards, and the rate rises beyond the one
    /// asked for; [`estimated_fpr`](Self::estimated_fpr) tells. Growth goes on with a fresh layer.
    ///
    /// # Errors
    /// [`Error::Incompatible`] when first capacity, rate, hash or seed differ, and [`Error::Full`] when
    /// the other has layers that the bound in bytes does not allow; nothing has changed then.
    pub fn union(&mut self, other: &Self) -> Result<(), Error> {
        let (mine, theirs) = (&self.settings, &other.settings);
        if mine.capacity != theirs.capacity || mine.fpr.to_bits() != theirs.fpr.to_bits() {
            return Err(Error::Incompatible {
                what: "first capacity or rate",
            });
        }
        if mine.hash != theirs.hash {
            return Err(Error::Incompatible {
                what: "hash or seed",
            });
        }
        if other.bytes > self.settings.max_bytes {
            return Err(Error::Full {
                max_bytes: self.settings.max_bytes,
            });
        }
        let differ = |(a, b): (&BloomFilter, &BloomFilter)| a.byte_len() != b.byte_len();
        if self.filters().zip(other.filters()).any(differ) {
            return Err(Error::Incompatible {
                what: "size of a layer",
            });
        }
        for (layer, more) in self.layers.iter_mut().zip(&other.layers) {
            layer.union(more)?;
        }
        let common = self.layers.len();
        self.layers
            .extend(other.layers.iter().skip(common).cloned());
        self.bytes = self.filters().map(BloomFilter::byte_len).sum();
        Ok(())
    }

    /// Forgets every key and all layers but the first.
    pub fn clear(&mut self) {
        self.layers.truncate(1);
        self.layers[0].clear();
        self.bytes = self.layers[0].filter.byte_len();
    }

    /// The hash and its seed.
    #[must_use]
    pub const fn key_hash(&self) -> KeyHash {
        self.settings.hash
    }

    /// A cheap snapshot of its figures; the capacity is that of all layers at hand, and `inserted` the exact
    /// number of keys that were new, an estimate only for layers that were joined.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            bytes: self.bytes,
            capacity: self
                .filters()
                .map(BloomFilter::capacity)
                .fold(0, u64::saturating_add),
            target_fpr: self.settings.fpr,
            inserted: Some(self.inserted()),
            layers: self.layers.len(),
            kernel: self.newest().filter.kernel().name(),
        }
    }

    /// The filter as checked, versioned bytes (format page `bloom-v1`).
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let len = self.filters().map(BloomFilter::stored_len).sum::<usize>();
        let mut bytes = Vec::with_capacity(format::HEADER_BYTES + len);
        bytes.resize(format::HEADER_BYTES, 0);
        for layer in &self.layers {
            layer.filter.append_to(&mut bytes, layer.inserted);
        }
        let header = Header {
            kind: Kind::Scalable,
            hash: self.settings.hash,
            bits_per_key: 8,
            units: self.layers.len() as u64,
            inserted: self.inserted(),
            capacity: self.settings.capacity as u64,
            fpr: self.settings.fpr,
        }
        .encode(&bytes[format::HEADER_BYTES..]);
        bytes[..format::HEADER_BYTES].copy_from_slice(&header);
        bytes
    }

    /// Reads a filter back; every byte is checked. Its bound in bytes is 1 GiB again, or what the bytes
    /// hold if that is more.
    ///
    /// # Errors
    /// As [`BloomFilter::from_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let (header, checksum, mut body) = format::decode(bytes, Kind::Scalable)?;
        format::check_body(body, checksum)?;
        let capacity = check_growing(&header)?;
        let mut layers = Vec::with_capacity(header.units as usize);
        for _ in 0..header.units {
            let at = bytes.len() - body.len();
            let (layer, rest) =
                split_layer(body, header.hash).map_err(|error| from_there(error, at))?;
            layers.push(layer);
            body = rest;
        }
        if !body.is_empty() {
            return Err(format::damaged(
                bytes.len() - body.len(),
                "bytes behind the last layer",
            ));
        }
        let held = layers.iter().map(|layer| layer.filter.byte_len()).sum();
        let mut settings = BloomBuilder::new(capacity)
            .fpr(header.fpr)
            .key_hash(header.hash);
        settings.max_bytes = settings.max_bytes.max(held);
        Ok(Self {
            layers,
            settings,
            bytes: held,
        })
    }

    fn newest(&self) -> &Layer {
        &self.layers[self.layers.len() - 1]
    }

    fn filters(&self) -> impl DoubleEndedIterator<Item = &BloomFilter> {
        self.layers.iter().map(|layer| &layer.filter)
    }

    /// Keys that were new, over all layers.
    fn inserted(&self) -> u64 {
        self.layers
            .iter()
            .map(|layer| layer.inserted)
            .fold(0, u64::saturating_add)
    }

    fn grow(&mut self) -> Result<(), Error> {
        let full = Error::Full {
            max_bytes: self.settings.max_bytes,
        };
        let number = self.layers.len();
        let capacity = self
            .settings
            .capacity
            .checked_mul(1 << number)
            .filter(|_| number < MAX_LAYERS);
        let mut settings = self.settings.clone();
        settings.max_bytes = settings.max_bytes.saturating_sub(self.bytes);
        let Some(capacity) = capacity else {
            return Err(full);
        };
        let layer = match BloomFilter::sized(&settings, capacity, layer_rate(settings.fpr, number))
        {
            Ok(layer) => layer,
            Err(BuildError::OutOfMemory { bytes }) => return Err(Error::OutOfMemory { bytes }),
            Err(_) => return Err(full),
        };
        self.bytes += layer.byte_len();
        self.layers.push(Layer::empty(layer));
        Ok(())
    }
}

/// Hands the hashes on in runs of at most `BATCH`.
fn in_batches(hashes: impl Iterator<Item = u64>, mut run: impl FnMut(&[u64])) {
    let mut batch = [0; BATCH];
    let mut len = 0;
    for hash in hashes {
        batch[len] = hash;
        len += 1;
        if len == BATCH {
            run(&batch);
            len = 0;
        }
    }
    run(&batch[..len]);
}

/// The rates halve, so that they add up to at most `fpr`.
fn layer_rate(fpr: f64, number: usize) -> f64 {
    (fpr * 0.5_f64.powi(number as i32 + 1)).max(sizing::MIN_LAYER_FPR)
}

/// What a growing filter's header must keep beyond what every header does; its first capacity.
fn check_growing(header: &Header) -> Result<usize, Error> {
    if header.units > MAX_LAYERS as u64 {
        return Err(format::damaged(
            format::AT_UNITS,
            "more layers than a growing filter has",
        ));
    }
    if !(MIN_FPR..=sizing::MAX_FPR).contains(&header.fpr) {
        return Err(format::damaged(
            format::AT_FPR,
            "the rate is none that a growing filter has",
        ));
    }
    usize::try_from(header.capacity)
        .map_err(|_| format::damaged(format::AT_CAPACITY, "the capacity is impossible"))
}

/// The damage of a layer, counted from the start of the whole.
fn from_there(error: Error, at: usize) -> Error {
    match error {
        Error::Damaged { offset, what } => Error::Damaged {
            offset: offset + at as u64,
            what,
        },
        Error::OutOfMemory { .. } => error,
        _ => format::damaged(at, "a layer is no split-block filter of this version"),
    }
}

fn split_layer(body: &[u8], hash: KeyHash) -> Result<(Layer, &[u8]), Error> {
    let len = format::stored_len(body).filter(|&len| len <= body.len());
    let (layer, rest) = body.split_at(len.ok_or(format::damaged(0, "a layer is cut short"))?);
    let (filter, inserted) = BloomFilter::read(layer)?;
    if filter.key_hash() != hash {
        return Err(format::damaged(
            0,
            "a layer has another hash than its filter",
        ));
    }
    Ok((Layer { filter, inserted }, rest))
}
