//! Compression with one dictionary, or with none, and what all share for it.

use crate::error::Error;
use crate::sync::{AtomicU64, Mutex};
use bytes::Bytes;
use zstd::zstd_safe::{CCtx, CDict, DCtx, DDict, compress_bound, get_error_name};

/// Contexts kept for later in each direction, for all tiers of the process together.
const CONTEXTS: usize = 4;
/// The most memory that a kept buffer holds.
const BUFFER: usize = 64 << 10;

/// A context with a buffer to compress into.
type Packer = (CCtx<'static>, Vec<u8>);

static PACKERS: Mutex<Vec<Packer>> = Mutex::new(Vec::new());
static UNPACKERS: Mutex<Vec<DCtx<'static>>> = Mutex::new(Vec::new());
/// Buffers for what goes into a context or comes from the cache.
static BUFFERS: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Lends an empty buffer.
pub(super) fn with_buffer<T>(use_it: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let mut buffer = BUFFERS.lock().pop().unwrap_or_default();
    let used = use_it(&mut buffer);
    buffer.clear();
    buffer.shrink_to(BUFFER);
    let mut buffers = BUFFERS.lock();
    if buffers.len() < CONTEXTS {
        buffers.push(buffer);
    }
    used
}

pub(super) struct Coder {
    /// By which entries say what they were compressed with.
    pub(super) number: u32,
    pub(super) level: i32,
    dictionary: Option<(CDict<'static>, DDict<'static>)>,
    /// Entries that were compressed with it.
    pub(super) entries: AtomicU64,
}

impl Coder {
    pub(super) fn new(number: u32, level: i32, dictionary: Option<&[u8]>) -> Self {
        let dictionary = dictionary.map(|bytes| {
            let bytes = nameless(bytes);
            (CDict::create(&bytes, level), DDict::create(&bytes))
        });
        Self {
            number,
            level,
            dictionary,
            entries: AtomicU64::new(0),
        }
    }

    /// Hands the compressed value to `then`.
    pub(super) fn pack<T>(&self, value: &[u8], then: impl FnOnce(&[u8]) -> T) -> Result<T, Error> {
        let kept = PACKERS.lock().pop();
        let (mut context, mut buffer) = kept.unwrap_or_else(|| (CCtx::create(), Vec::new()));
        buffer.clear();
        buffer.reserve(compress_bound(value.len()));
        let packed = match &self.dictionary {
            Some((dictionary, _)) => context.compress_using_cdict(&mut buffer, value, dictionary),
            None => context.compress(&mut buffer, value, self.level),
        };
        let packed = packed.map(|_| then(&buffer)).map_err(failure);
        buffer.clear();
        buffer.shrink_to(BUFFER);
        let mut packers = PACKERS.lock();
        if packers.len() < CONTEXTS {
            packers.push((context, buffer));
        }
        packed
    }

    /// The value of so many bytes.
    pub(super) fn unpack(&self, bytes: &[u8], raw: usize) -> Result<Bytes, Error> {
        let kept = UNPACKERS.lock().pop();
        let mut context = kept.unwrap_or_else(DCtx::create);
        let mut value = Vec::with_capacity(raw);
        let unpacked = match &self.dictionary {
            Some((_, dictionary)) => context.decompress_using_ddict(&mut value, bytes, dictionary),
            None => context.decompress(&mut value, bytes),
        };
        let mut unpackers = UNPACKERS.lock();
        if unpackers.len() < CONTEXTS {
            unpackers.push(context);
        }
        drop(unpackers);
        unpacked.map_err(failure)?;
        Ok(Bytes::from(value))
    }
}

/// The dictionary without its number, which would take four bytes of every value: entries have the coder's.
fn nameless(dictionary: &[u8]) -> Vec<u8> {
    let mut bytes = dictionary.to_vec();
    if let Some(name) = bytes.get_mut(4..8) {
        name.fill(0);
    }
    bytes
}

fn failure(code: usize) -> Error {
    Error::codec(get_error_name(code))
}

/// Values seen lately, to learn from.
#[derive(Debug, Default)]
pub(super) struct Samples {
    pub(super) bytes: Vec<u8>,
    pub(super) sizes: Vec<usize>,
    /// Values to pass over before any is taken.
    pass: u32,
}

const SAMPLE_BYTES: usize = 256 << 10;
const LONGEST_SAMPLE: usize = 16 << 10;
/// Values passed over once there is enough, or once they were learnt from.
const PASS: u32 = 10_000;

impl Samples {
    /// Takes the beginning of every value until there is enough, and starts over after 10,000 more.
    pub(super) fn take(&mut self, value: &[u8]) {
        if self.pass > 0 {
            self.pass -= 1;
            return;
        }
        if self.bytes.len() >= SAMPLE_BYTES {
            *self = Self::default();
        }
        let sample = &value[..value.len().min(LONGEST_SAMPLE)];
        self.bytes.extend_from_slice(sample);
        self.sizes.push(sample.len());
        if self.bytes.len() >= SAMPLE_BYTES {
            self.pass = PASS;
        }
    }

    /// All of them, to learn from; none is taken for a while.
    pub(super) fn hand_over(&mut self) -> Self {
        let rest = Self {
            pass: PASS,
            ..Self::default()
        };
        std::mem::replace(self, rest)
    }

    pub(super) fn each(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.bytes.as_slice();
        self.sizes.iter().map(move |size| {
            let (sample, after) = rest.split_at(*size);
            rest = after;
            sample
        })
    }
}
