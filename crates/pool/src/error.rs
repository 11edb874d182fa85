//! What can go wrong at a checkout, and when a pool is built.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// An error of a [`Manager`](crate::Manager), shared by all callers that it concerns.
pub type Source = Arc<dyn std::error::Error + Send + Sync>;

/// Why a checkout failed. Cheap to clone.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Error {
    /// Nothing came in time.
    Timeout {
        /// What the caller was waiting for when the time was up.
        stage: Stage,
        /// How long it had waited.
        waited: Duration,
        /// The last error of a connect or check, if the pool was having trouble.
        last: Option<Source>,
    },
    /// Connecting failed as often as allowed, and no resource is left that could come home.
    Connect {
        /// Attempts that failed in a row.
        attempts: u32,
        /// The last failure.
        source: Source,
    },
    /// As many callers as allowed are waiting already.
    QueueFull {
        /// The limit.
        limit: usize,
    },
    /// As many keys as allowed are in use already.
    TooManyKeys {
        /// The limit.
        limit: usize,
    },
    /// The pool is closed.
    Closed,
    /// The runtime dropped the pool's tasks, so nothing can be connected or checked.
    RuntimeGone,
}

/// What a caller was waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// A resource to be returned.
    Wait,
    /// A new resource to be connected.
    Connect,
    /// A long-idle resource to be checked.
    Check,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Wait => "a resource to be returned",
            Stage::Connect => "a new resource to connect",
            Stage::Check => "an idle resource to pass its check",
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Timeout {
                stage,
                waited,
                last,
            } => {
                write!(
                    f,
                    "pool checkout timed out after {waited:?}, waiting for {stage}"
                )?;
                match (last, stage) {
                    (Some(last), _) => write!(f, "; the last failure was: {last}"),
                    (None, Stage::Wait) => {
                        f.write_str("; all are in use: return them sooner or raise `max`")
                    }
                    (None, _) => Ok(()),
                }
            }
            Error::Connect { attempts, source } => {
                write!(f, "connecting failed {attempts} times in a row: {source}")
            }
            Error::QueueFull { limit } => write!(
                f,
                "{limit} callers wait for the pool already; shed load or raise `max_waiters`"
            ),
            Error::TooManyKeys { limit } => write!(
                f,
                "all {limit} keys of the pool are in use; return some or raise `max_keys`"
            ),
            Error::Closed => f.write_str("the pool is closed"),
            Error::RuntimeGone => f.write_str(
                "the pool's tasks were dropped with their runtime; use the pool from a live one",
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Timeout { last, .. } => last.as_ref().map(|e| e as _),
            Error::Connect { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Settings that make no pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// `max` is 0.
    NoCapacity,
    /// `min` or `min_idle` is above `max`.
    MinAboveMax {
        /// The larger of `min` and `min_idle`.
        min: usize,
        /// `max`.
        max: usize,
    },
    /// The growth factor is not a finite number above 1, or the shrink threshold not within 0 to 1.
    BadRatio,
    /// `build` was called outside of a tokio runtime; enter one, or use `build_with`.
    NoRuntime,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::NoCapacity => f.write_str("a pool needs room: `max` is 0"),
            BuildError::MinAboveMax { min, max } => {
                write!(f, "`min` or `min_idle` ({min}) is above `max` ({max})")
            }
            BuildError::BadRatio => {
                f.write_str("`growth` must be above 1 and finite, `shrink_below` within 0 to 1")
            }
            BuildError::NoRuntime => {
                f.write_str("no tokio runtime here: build inside of one, or use `build_with`")
            }
        }
    }
}

impl std::error::Error for BuildError {}
