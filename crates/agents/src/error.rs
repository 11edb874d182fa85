use std::{error::Error as StdError, fmt, io, path::PathBuf, sync::Arc, time::Duration};

/// What went wrong with a definition, a component, or a provider.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Error {
    /// A file or directory could not be read or written.
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// A definition cannot be understood.
    Definition {
        /// The file; empty for text that came from no file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What does not hold there.
        what: String,
    },
    /// There is no such thing.
    NotFound {
        /// The kind of thing: an agent, a component, a recorded answer.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A bound was reached.
    LimitExceeded {
        /// Which one.
        what: &'static str,
        /// Its value.
        limit: u64,
    },
    /// Stored bytes are damaged.
    Damaged {
        /// Byte offset at which the contradiction was found.
        offset: u64,
        /// What does not hold there.
        what: &'static str,
    },
    /// A component could not be loaded. The next caller tries again.
    Load {
        /// The component.
        component: String,
        /// Why, as its loader said.
        source: Arc<dyn StdError + Send + Sync>,
    },
    /// The provider wants fewer calls.
    RateLimited {
        /// How long it asked to wait, if it said.
        retry_after: Option<Duration>,
    },
    /// The provider refused the request.
    Refused {
        /// The HTTP status, or 0 where there was none.
        status: u16,
        /// What it said, shortened.
        message: String,
    },
    /// The provider could not be reached, or broke off.
    Transport {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        source: Arc<dyn StdError + Send + Sync>,
    },
    /// The provider took too long.
    Timeout {
        /// What was being waited for.
        what: &'static str,
        /// The time that was allowed.
        allowed: Duration,
    },
}

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io {
            path: path.into(),
            source: Arc::new(source),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Definition { path, line, what } if path.as_os_str().is_empty() => {
                write!(f, "line {line} of the definition: {what}")
            }
            Self::Definition { path, line, what } => write!(f, "{}:{line}: {what}", path.display()),
            Self::NotFound { kind, name } => {
                write!(f, "no {kind} named `{name}`; check the name or scan again")
            }
            Self::LimitExceeded { what, limit } => write!(
                f,
                "{what} exceeds the limit of {limit}; raise it or split the input"
            ),
            Self::Damaged { offset, what } => write!(f, "damaged at byte {offset}: {what}"),
            Self::Load { component, source } => {
                write!(
                    f,
                    "`{component}` could not be loaded: {source}; the next use tries again"
                )
            }
            Self::RateLimited {
                retry_after: Some(wait),
            } => {
                write!(
                    f,
                    "the provider asks to wait {:.1} s before the next call",
                    wait.as_secs_f64()
                )
            }
            Self::RateLimited { retry_after: None } => {
                f.write_str("the provider asks for fewer calls; back off")
            }
            Self::Refused { status, message } => {
                write!(f, "the provider refused the request ({status}): {message}")
            }
            Self::Transport { what, source } => {
                write!(f, "{what} failed: {source}; the call may be retried")
            }
            Self::Timeout { what, allowed } => {
                write!(
                    f,
                    "{what} took longer than {:.1} s; retry or allow more",
                    allowed.as_secs_f64()
                )
            }
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Io { source, .. } => Some(&**source),
            Self::Load { source, .. } | Self::Transport { source, .. } => Some(&**source),
            _ => None,
        }
    }
}

/// Why a provider could not be built from its settings.
#[cfg(feature = "openai")]
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// The base address is no absolute `http` or `https` one.
    Address {
        /// The address as given.
        address: String,
    },
    /// The address is an `https` one, and the connector at hand speaks no TLS.
    NeedsTls,
    /// The key has characters that a header cannot have.
    Key,
}

#[cfg(feature = "openai")]
impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { address } => {
                write!(
                    f,
                    "`{address}` is no absolute http or https address, such as http://localhost:8080/v1"
                )
            }
            Self::NeedsTls => {
                f.write_str("an https address needs a connector with TLS; give one to `build_with`")
            }
            Self::Key => f.write_str(
                "the key has characters that a header cannot have; check how it was read",
            ),
        }
    }
}

#[cfg(feature = "openai")]
impl StdError for BuildError {}
