use std::fmt;

/// What went wrong while reading, joining or growing a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are not a filter of this format, or they are damaged.
    Damaged {
        /// Byte offset at which the contradiction was found.
        offset: u64,
        /// What does not hold there.
        what: &'static str,
    },
    /// The bytes were written by a newer version of the format.
    UnsupportedVersion {
        /// The version that the header names.
        found: u16,
        /// The newest version that this crate reads.
        supported: u16,
    },
    /// The bytes hold another kind of filter than the one asked for.
    WrongKind {
        /// The kind that the header names.
        found: &'static str,
        /// The kind that was asked for.
        wanted: &'static str,
    },
    /// Two filters cannot be joined because their shapes or hashes differ.
    Incompatible {
        /// The property that differs.
        what: &'static str,
    },
    /// A growing filter has reached its bound in bytes or in layers; the key was not added.
    Full {
        /// The bound, in bytes.
        max_bytes: usize,
    },
    /// The memory for the filter could not be had.
    OutOfMemory {
        /// Bytes asked for.
        bytes: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged { offset, what } => {
                write!(
                    f,
                    "not an intact filter: {what} (at byte {offset}); rebuild it from its source"
                )
            }
            Self::UnsupportedVersion { found, supported } => write!(
                f,
                "filter format version {found} is newer than {supported}; read it with a newer release"
            ),
            Self::WrongKind { found, wanted } => {
                write!(
                    f,
                    "the bytes hold a {found} filter, not a {wanted} one; open them as such"
                )
            }
            Self::Incompatible { what } => {
                write!(
                    f,
                    "the filters differ in {what}; join only filters built with the same settings"
                )
            }
            Self::Full { max_bytes } => write!(
                f,
                "the filter may not grow past {max_bytes} bytes or 20 layers; raise `max_bytes` or start a new one with a larger first capacity"
            ),
            Self::OutOfMemory { bytes } => {
                write!(
                    f,
                    "no memory for a filter of {bytes} bytes; lower the capacity or raise the rate"
                )
            }
        }
    }
}

impl std::error::Error for Error {}

/// Why a filter could not be built from its settings.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum BuildError {
    /// The capacity is zero.
    ZeroCapacity,
    /// The false positive rate is outside what the filter can keep.
    RateOutOfRange {
        /// The rate asked for.
        fpr: f64,
        /// Smallest rate that can be kept.
        min: f64,
        /// Largest rate that makes sense.
        max: f64,
    },
    /// The filter would be larger than its bound.
    TooLarge {
        /// Bytes that the settings need (saturated at `u64::MAX`).
        needed: u64,
        /// The bound, in bytes.
        max_bytes: usize,
    },
    /// The memory could not be had.
    OutOfMemory {
        /// Bytes asked for.
        bytes: usize,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZeroCapacity => {
                f.write_str("the capacity is zero; give the number of keys you expect")
            }
            Self::RateOutOfRange { fpr, min, max } => write!(
                f,
                "a false positive rate of {fpr} cannot be kept; choose one from {min} to {max}"
            ),
            Self::TooLarge { needed, max_bytes } => write!(
                f,
                "the filter needs {needed} bytes but may have {max_bytes}; lower the capacity or raise `max_bytes`"
            ),
            Self::OutOfMemory { bytes } => write!(
                f,
                "no memory for a filter of {bytes} bytes; lower the capacity"
            ),
        }
    }
}

impl std::error::Error for BuildError {}
