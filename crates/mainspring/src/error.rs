//! What can go wrong in a runtime or a session.

use std::fmt;

/// What can go wrong. Each variant keeps its cause.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The session log or a blob could not be read or written.
    Store(mainspring_mmap_store::Error),
    /// A checkpoint could not be written or restored.
    Snapshot(mainspring_delta_snapshot::Error),
    /// A message, or a context, is not what it should be.
    Context(mainspring_compressor::Error),
    /// The tools or the result cache could not be set up, or failed.
    Part {
        /// `tools` or `result cache`.
        part: &'static str,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A step of the start-up failed, and with it the start: the steps before were undone.
    Start {
        /// The step, as [`Runtime::phases`](crate::Runtime::phases) names them.
        phase: &'static str,
        /// What it was about; empty when it is about no file.
        path: std::path::PathBuf,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What the log says of a session does not hold together.
    Damaged {
        /// The session.
        session: String,
        /// The message's number, from 0.
        message: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// No session can have this name: it is empty, longer than 504 bytes, or has U+001F in it.
    Name(String),
    /// Nothing is known of a session of that name.
    NoSession(String),
    /// Another handle of this session is open in this runtime.
    SessionOpen(String),
    /// There is a session of this name already.
    SessionExists(String),
}

impl Error {
    /// True when another process (or another runtime of this one) has the folder open for writing:
    /// close that one, or join it with [`Config::read_only`](crate::Config::read_only).
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        use mainspring_mmap_store::Error as StoreError;
        match self {
            Self::Start { source, .. } => {
                matches!(source.downcast_ref(), Some(StoreError::Locked))
            }
            Self::Store(error) => matches!(error, StoreError::Locked),
            _ => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => write!(f, "session log: {error}"),
            Self::Snapshot(error) => write!(f, "checkpoints: {error}"),
            Self::Context(error) => write!(f, "context: {error}"),
            Self::Part { part, source } => write!(f, "{part}: {source}"),
            Self::Start {
                phase,
                path,
                source,
            } => {
                write!(f, "start-up failed at `{phase}`")?;
                if path.as_os_str().is_empty() {
                    write!(f, ": {source}")?;
                } else {
                    write!(f, " ({}): {source}", path.display())?;
                }
                match self.is_in_use() {
                    true => f.write_str("; close that one, or join it with `read_only`"),
                    false => Ok(()),
                }
            }
            Self::Damaged {
                session,
                message,
                what,
            } => write!(
                f,
                "session `{session}`, message {message}: {what}; `verify` on the session store names the file and offset"
            ),
            Self::Name(name) => write!(
                f,
                "a session cannot be called {:?} ({} bytes); take 1 to 504 bytes without U+001F",
                name.chars().take(40).collect::<String>(),
                name.len()
            ),
            Self::NoSession(name) => {
                write!(
                    f,
                    "no session is called `{name}`; `Runtime::session` begins one"
                )
            }
            Self::SessionOpen(name) => write!(
                f,
                "session `{name}` is open already in this runtime; drop that handle first"
            ),
            Self::SessionExists(name) => {
                write!(f, "there is a session `{name}` already; take another name")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Store(error) => Some(error),
            Self::Snapshot(error) => Some(error),
            Self::Context(error) => Some(error),
            Self::Part { source, .. } | Self::Start { source, .. } => Some(&**source),
            Self::Damaged { .. }
            | Self::Name(_)
            | Self::NoSession(_)
            | Self::SessionOpen(_)
            | Self::SessionExists(_) => None,
        }
    }
}

impl From<mainspring_mmap_store::Error> for Error {
    fn from(error: mainspring_mmap_store::Error) -> Self {
        Self::Store(error)
    }
}

impl From<mainspring_delta_snapshot::Error> for Error {
    fn from(error: mainspring_delta_snapshot::Error) -> Self {
        Self::Snapshot(error)
    }
}

impl From<mainspring_compressor::Error> for Error {
    fn from(error: mainspring_compressor::Error) -> Self {
        Self::Context(error)
    }
}

impl From<mainspring_scheduler::BuildError> for Error {
    fn from(error: mainspring_scheduler::BuildError) -> Self {
        Self::Part {
            part: "tools",
            source: error.into(),
        }
    }
}
