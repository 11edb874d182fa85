//! What can go wrong, apart from the errors of single calls (see [`CallError`](crate::CallError)).

use std::fmt;
use std::time::Duration;

use crate::Stop;

/// Why the machine does not take a task in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// As many tasks as allowed are unfinished.
    Full {
        /// The bound.
        limit: usize,
    },
    /// The scheduler was closed, or the runtime that ran it is gone.
    Closed,
    /// A dependency is unknown or over.
    UnknownDependency {
        /// Its position among the dependencies named.
        position: usize,
    },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { limit } => {
                write!(
                    f,
                    "{limit} tasks are unfinished already; wait for some, or raise max_queued"
                )
            }
            Self::Closed => f.write_str("the scheduler is closed"),
            Self::UnknownDependency { position } => {
                write!(
                    f,
                    "dependency {position} is not an unfinished task of this scheduler"
                )
            }
        }
    }
}

impl std::error::Error for Refused {}

/// The error of this crate.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// The task was not taken in.
    Refused(Refused),
    /// The task was stopped before its own end.
    Stopped(Stop),
    /// The task panicked; the panic ended there.
    Panicked {
        /// The panic's message.
        message: String,
    },
    /// No tokio runtime is entered on this thread.
    NoRuntime,
    /// The reservation does not fit into what is left.
    OverBudget {
        /// Asked for.
        needed: u64,
        /// Left in the tightest budget of the chain.
        available: u64,
        /// The name of that budget.
        budget: String,
    },
    /// The rate limit would make the caller wait for longer than it allows.
    RateLimited {
        /// How long until it could go.
        retry_after: Duration,
    },
    /// Every executor is ejected for the moment.
    NoExecutor {
        /// How long until one may be tried again; zero when there is none at all.
        retry_after: Duration,
    },
    /// The dependencies run in a circle.
    Cycle {
        /// The nodes of the circle, the first one again at the end.
        path: Vec<String>,
    },
    /// No queue is registered for this type.
    UnknownType {
        /// The type asked for.
        name: String,
    },
    /// The work itself failed.
    Failed {
        /// What it said.
        message: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => write!(f, "task refused: {why}"),
            Self::Stopped(why) => write!(f, "task stopped: {why}"),
            Self::Panicked { message } => write!(f, "task panicked: {message}"),
            Self::NoRuntime => f.write_str("no tokio runtime here; call this inside one"),
            Self::OverBudget {
                needed,
                available,
                budget,
            } => {
                write!(f, "budget {budget:?} has {available} left, {needed} needed")
            }
            Self::RateLimited { retry_after } => {
                write!(
                    f,
                    "rate limited; could go in {:.3} s",
                    retry_after.as_secs_f64()
                )
            }
            Self::NoExecutor { retry_after } => {
                write!(
                    f,
                    "no executor is well; next try in {:.3} s",
                    retry_after.as_secs_f64()
                )
            }
            Self::Cycle { path } => write!(f, "dependencies form a cycle: {}", path.join(" -> ")),
            Self::UnknownType { name } => {
                write!(f, "no queue for type {name:?}; register it first")
            }
            Self::Failed { message } => f.write_str(message),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused(why) => Some(why),
            _ => None,
        }
    }
}

impl From<Refused> for Error {
    fn from(why: Refused) -> Self {
        Self::Refused(why)
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cancelled => "cancelled by its owner",
            Self::Deadline => "its deadline passed",
            Self::Timeout => "it ran longer than its timeout",
            Self::Dependency(_) => "a task it depends on did not succeed",
            Self::Closed => "the scheduler was closed",
        })
    }
}

/// A setting or a registered tool that cannot work.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// A setting is out of range.
    Setting {
        /// Its name.
        name: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// Two tools have one name.
    DuplicateTool {
        /// The name.
        name: String,
    },
    /// A tool's schema cannot be used.
    Schema {
        /// The tool.
        tool: String,
        /// Where in the schema, as a JSON pointer.
        at: String,
        /// What is wrong there, and what to do.
        what: String,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting { name, what } => write!(f, "setting {name}: {what}"),
            Self::DuplicateTool { name } => write!(f, "two tools are called {name:?}"),
            Self::Schema { tool, at, what } => {
                write!(
                    f,
                    "schema of tool {tool:?} at {:?}: {what}",
                    if at.is_empty() { "/" } else { at }
                )
            }
        }
    }
}

impl std::error::Error for BuildError {}
