//! zstd, with trained dictionaries and a level by size.

use super::{bounded, damaged};
use crate::Error;
use ::zstd::{bulk::Compressor, dict, stream::read::Decoder};
use bytes::Bytes;
use std::fmt;

/// A zstd codec, with a dictionary when it was trained for one.
///
/// The level follows the size, as long as none is set: 12 up to 16 KiB, 6 up to 1 MiB, else 3.
///
/// ```
/// # #[cfg(feature = "zstd")] {
/// use mainspring_compressor::Zstd;
///
/// let codec = Zstd::new();
/// let packed = codec.compress(&[7; 10_000]).unwrap();
/// assert_eq!(codec.decompress(&packed, 1 << 20).unwrap(), vec![7; 10_000]);
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Zstd {
    level: Option<i32>,
    dictionary: Vec<u8>,
}

impl fmt::Debug for Zstd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zstd")
            .field("level", &self.level)
            .field("dictionary_bytes", &self.dictionary.len())
            .finish()
    }
}

impl Zstd {
    /// Without a dictionary, the level by size.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A fixed level, from 1 to 22.
    #[must_use]
    pub fn with_level(mut self, level: i32) -> Self {
        self.level = Some(level.clamp(1, 22));
        self
    }

    /// With a dictionary that [`Zstd::train`] made. What it compresses needs it again.
    #[must_use]
    pub fn with_dictionary(mut self, dictionary: impl Into<Vec<u8>>) -> Self {
        self.dictionary = dictionary.into();
        self
    }

    /// Makes a dictionary of at most `size` bytes from samples of what will be compressed.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] when the samples are too few or too small to learn from.
    pub fn train<S: AsRef<[u8]>>(samples: &[S], size: usize) -> Result<Vec<u8>, Error> {
        dict::from_samples(samples, size).map_err(|error| damaged("training", &error))
    }

    fn level(&self, size: usize) -> i32 {
        self.level.unwrap_or(match size {
            0..=16_384 => 12,
            16_385..=1_048_576 => 6,
            _ => 3,
        })
    }

    /// Compresses; the frame carries size and checksum.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] when the dictionary is none.
    pub fn compress(&self, data: &[u8]) -> Result<Bytes, Error> {
        let run = || {
            let level = self.level(data.len());
            let mut compressor = Compressor::with_dictionary(level, &self.dictionary)?;
            compressor.include_checksum(true)?;
            compressor.compress(data)
        };
        run()
            .map(Bytes::from)
            .map_err(|error| damaged("zstd", &error))
    }

    /// Decompresses at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] when it is damaged or needs another dictionary, [`Error::Limit`] when
    /// it holds more than the limit.
    pub fn decompress(&self, packed: &[u8], limit: usize) -> Result<Bytes, Error> {
        let decoder = Decoder::with_dictionary(packed, &self.dictionary)
            .map_err(|error| damaged("zstd", &error))?;
        bounded(decoder, limit, "zstd")
    }
}
