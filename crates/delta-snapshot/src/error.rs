use std::{fmt, io};

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What is being done when a value is read.
pub(crate) const GET: &str = "get";

/// Everything that can go wrong. No input, stored or given, makes this crate panic.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The backing store failed; the state before the call is kept, and the call may be repeated. When it is a `get`
    /// and the cause of kind [`io::ErrorKind::InvalidData`], the backing's own checks found the value damaged: see
    /// [`is_damage`](Self::is_damage); where, the cause says.
    Io {
        /// What was being done, e.g. `append`.
        action: &'static str,
        /// Key in the backing store.
        key: String,
        /// The cause.
        source: io::Error,
    },
    /// Stored bytes are not what was written.
    Damaged {
        /// Key in the backing store.
        key: String,
        /// Byte offset inside the value of that key.
        offset: u64,
        /// What does not fit.
        what: &'static str,
    },
    /// No such version, thread, path or block.
    NotFound {
        /// `version`, `path`, `block`, ...
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// Somebody else committed first: the expected parent is not the head any more.
    Conflict {
        /// What the caller expected the head to be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A value given is not one valid JSON text.
    InvalidJson {
        /// Byte offset of the first byte that does not fit.
        offset: usize,
        /// What was expected.
        what: &'static str,
    },
    /// The operation does not fit the state: a path into a scalar, an index past the end, bytes into JSON.
    InvalidOperation {
        /// JSON pointer or range that was asked for.
        path: String,
        /// Why it does not fit.
        what: &'static str,
    },
    /// Something is larger than the limit in [`Options`](crate::Options).
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The limit, in bytes or entries.
        limit: u64,
        /// The size that was met.
        found: u64,
    },
    /// Another process holds the store, or the name is taken.
    InUse {
        /// What is taken.
        what: String,
    },
    /// The encryption hook refused to open or to seal a record.
    Cipher {
        /// Key in the backing store.
        key: String,
        /// The hook's own words.
        what: String,
    },
}

impl Error {
    pub(crate) fn damaged(key: &str, offset: usize, what: &'static str) -> Self {
        Self::Damaged {
            key: key.to_owned(),
            offset: offset as u64,
            what,
        }
    }

    pub(crate) fn missing(what: &'static str, name: impl Into<String>) -> Self {
        Self::NotFound {
            what,
            name: name.into(),
        }
    }

    pub(crate) fn operation(path: &str, what: &'static str) -> Self {
        Self::InvalidOperation {
            path: path.to_owned(),
            what,
        }
    }

    pub(crate) fn io(action: &'static str, key: &str) -> impl FnOnce(io::Error) -> Self {
        let key = key.to_owned();
        move |source| Self::Io {
            action,
            key,
            source,
        }
    }

    /// True when stored data is at fault, not the caller: [`Damaged`](Self::Damaged), or a value that the backing's
    /// own checks refuse to give.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } => true,
            Self::Io { action, source, .. } => {
                *action == GET && source.kind() == io::ErrorKind::InvalidData
            }
            _ => false,
        }
    }

    /// The backing fails, whatever it is asked for: no reason to go on with the next thread.
    pub(crate) fn is_outage(&self) -> bool {
        matches!(self, Self::Io { .. }) && !self.is_damage()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io {
                action,
                key,
                source,
            } => {
                let then = match self.is_damage() {
                    true => "run verify() for the versions it affects",
                    false => "nothing was changed, try again",
                };
                write!(f, "cannot {action} {key:?}: {source}; {then}")
            }
            Self::Damaged { key, offset, what } => write!(
                f,
                "damaged data in {key:?} at byte {offset}: {what}; run verify() for the versions it affects"
            ),
            Self::NotFound { what, name } => write!(f, "no such {what}: {name}"),
            Self::Conflict { expected, found } => write!(
                f,
                "the head is {found}, not {expected}: load it, apply the change again and commit"
            ),
            Self::InvalidJson { offset, what } => {
                write!(f, "not valid JSON at byte {offset}: expected {what}")
            }
            Self::InvalidOperation { path, what } => {
                write!(f, "operation does not fit the state at {path:?}: {what}")
            }
            Self::TooLarge { what, limit, found } => write!(
                f,
                "{what} is {found}, above the limit of {limit}; raise the limit in Options if that is intended"
            ),
            Self::InUse { what } => write!(f, "{what} is in use"),
            Self::Cipher { key, what } => write!(f, "the cipher refused {key:?}: {what}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
