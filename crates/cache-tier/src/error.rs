//! What can go wrong while the cache is used.

use crate::builder::BuildError;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// An error that callers share: several may wait for one load.
pub type SharedError = Arc<dyn StdError + Send + Sync>;

/// What can go wrong. Cloning shares the cause.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The caller's loader failed.
    Load(SharedError),
    /// A tier failed; `tier` is its name. Only operations on that tier alone report it: lookups and
    /// writes through the cache go on without the tier and count the failure.
    Tier {
        /// The tier's name.
        tier: Arc<str>,
        /// What it said.
        source: SharedError,
    },
    /// Stored bytes are not what was written there.
    Damaged {
        /// Where in the stored bytes.
        offset: u64,
        /// What was found.
        what: &'static str,
    },
    /// A value could not be turned into bytes or back.
    Codec(SharedError),
    /// The input is larger than a tier accepts.
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size in bytes.
        size: u64,
        /// The most that is accepted.
        limit: u64,
    },
    /// The operating system refused; `what` says the operation.
    Io {
        /// What was being done.
        what: &'static str,
        /// The cause.
        source: Arc<std::io::Error>,
    },
    /// Settings that make no cache.
    Build(BuildError),
    /// The tier does not answer at the moment and is not asked.
    Unavailable {
        /// Why.
        what: &'static str,
    },
}

impl Error {
    /// The error of a loader.
    pub fn load(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Load(Arc::from(error.into()))
    }

    /// An error of the tier called `tier`, for implementations of the trait outside this crate.
    pub fn tier(tier: &str, error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Tier {
            tier: Arc::from(tier),
            source: Arc::from(error.into()),
        }
    }

    /// An error of a codec.
    pub fn codec(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Codec(Arc::from(error.into()))
    }

    pub(crate) fn io(what: &'static str, source: std::io::Error) -> Self {
        Self::Io {
            what,
            source: Arc::new(source),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(cause) => write!(f, "the loader failed: {cause}"),
            Self::Tier { tier, source } => write!(f, "cache tier {tier} failed: {source}"),
            Self::Damaged { offset, what } => {
                write!(
                    f,
                    "cached bytes are damaged at offset {offset}: {what}; the entry is a miss"
                )
            }
            Self::Codec(cause) => write!(f, "a cached value could not be converted: {cause}"),
            Self::TooLarge { what, size, limit } => {
                write!(
                    f,
                    "{what} has {size} bytes, more than the {limit} that the tier accepts"
                )
            }
            Self::Io { what, source } => write!(f, "could not {what}: {source}"),
            Self::Build(cause) => write!(f, "no cache can be made: {cause}"),
            Self::Unavailable { what } => write!(f, "the tier is not asked at the moment: {what}"),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Load(cause) | Self::Codec(cause) | Self::Tier { source: cause, .. } => {
                Some(&**cause)
            }
            Self::Io { source, .. } => Some(&**source),
            Self::Build(cause) => Some(cause),
            _ => None,
        }
    }
}
