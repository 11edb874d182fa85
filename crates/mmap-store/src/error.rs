use std::fmt;
use std::io;
use std::sync::Arc;

/// The result of an operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong. Cheap to clone: the members of one group commit share one cause.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Error {
    /// The system refused an operation. [`Error::is_full`] tells a full disk from the rest.
    Io {
        /// What was being done.
        action: &'static str,
        /// The file (or directory) it was done to.
        file: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// Bytes on disk are not what was written.
    Damaged {
        /// The file inside the store's directory.
        file: String,
        /// Where the damage begins, in bytes from the start of the file.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// The directory holds a file of ours by name that is not of ours by content. Nothing was touched.
    Unrecognised {
        /// The file.
        file: String,
    },
    /// The file was written by a newer version of this crate. Nothing was touched.
    Newer {
        /// The file.
        file: String,
        /// The format version that it declares.
        found: u32,
        /// The newest format version that this crate reads.
        supported: u32,
    },
    /// Another process (or another handle of this one) holds the store open for writing.
    Locked,
    /// There is no store here, and [`Options::create`](crate::Options::create) was not asked for.
    Missing,
    /// A write was asked of a store that was opened read-only.
    ReadOnly,
    /// The store was closed by [`Store::close`](crate::Store::close) through another handle.
    Closed,
    /// An earlier write or sync failed, so what is on disk is unknown: this handle takes no more
    /// writes. Reads go on. Close it and open the store again.
    Poisoned {
        /// The failure that poisoned the handle.
        cause: Arc<io::Error>,
    },
    /// A key or a value is longer than the format can hold.
    TooLarge {
        /// `"key"`, `"value"`, `"batch"`, …
        what: &'static str,
        /// Its length in bytes.
        len: u64,
        /// The longest allowed.
        limit: u64,
    },
}

impl Error {
    /// True if the cause is a full disk or an exhausted quota: everything acknowledged stays
    /// readable, and writing works again once there is space. (Where it was a sync that reported the
    /// full disk, with another handle: what is on disk is unknown then, and this one is poisoned.)
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Error::Io { source, .. } if is_full(source))
    }

    pub(crate) fn io(action: &'static str, file: impl Into<String>, source: io::Error) -> Self {
        Error::Io {
            action,
            file: file.into(),
            source: Arc::new(source),
        }
    }

    pub(crate) fn damaged(file: impl Into<String>, offset: u64, what: &'static str) -> Self {
        Error::Damaged {
            file: file.into(),
            offset,
            what,
        }
    }
}

pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io {
                action,
                file,
                source,
            } => write!(f, "could not {action} {file}: {source}"),
            Error::Damaged { file, offset, what } => write!(
                f,
                "{file} is damaged at byte {offset}: {what}; run verify for a full list, repair to set it aside"
            ),
            Error::Unrecognised { file } => write!(
                f,
                "{file} is not a file of this store; it was left untouched, choose another directory"
            ),
            Error::Newer {
                file,
                found,
                supported,
            } => write!(
                f,
                "{file} has format version {found}, this build reads up to {supported}; it was left untouched, use a newer build"
            ),
            Error::Locked => {
                f.write_str("the store is open for writing elsewhere; open it read-only or wait")
            }
            Error::Missing => {
                f.write_str("there is no store in this directory; set Options::create to make one")
            }
            Error::ReadOnly => f.write_str("the store is open read-only"),
            Error::Closed => f.write_str("the store was closed; open it again"),
            Error::Poisoned { cause } => write!(
                f,
                "an earlier write failed ({cause}), so this handle takes no more writes; open the store again"
            ),
            Error::TooLarge { what, len, limit } => {
                write!(
                    f,
                    "a {what} of {len} bytes is longer than the limit of {limit}"
                )
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(&**source),
            Error::Poisoned { cause } => Some(&**cause),
            _ => None,
        }
    }
}
