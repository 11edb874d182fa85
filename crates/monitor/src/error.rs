//! What can go wrong.

use std::fmt;
use std::io;

use crate::snapshot::Kind;

/// Everything this crate reports as an error.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A family was asked for as another kind than it has.
    KindConflict {
        /// The family.
        name: String,
        /// The kind it has.
        existing: Kind,
        /// The kind that was asked for.
        wanted: Kind,
    },
    /// A new family would print a sample name that another family prints already.
    NameClash {
        /// The family that was refused.
        name: String,
        /// The sample name that both would print.
        sample: String,
    },
    /// There are as many families as the registry may hold.
    FamilyCap {
        /// The family that was refused.
        name: String,
        /// The cap.
        cap: usize,
    },
    /// A page of metrics breaks the exposition format.
    Exposition {
        /// Line, counted from one.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The operating system refused something.
    Io {
        /// What was tried.
        what: String,
        /// Its answer.
        source: io::Error,
    },
    /// A file of the operating system did not look as expected.
    Unreadable {
        /// The file.
        what: String,
    },
    /// Another recorder is installed already.
    RecorderInstalled,
    /// Metrics could not be pushed to a collector.
    Export {
        /// What the collector said, or what is wrong with its address.
        what: String,
        /// Whether the same push may succeed later.
        again: bool,
    },
    /// Saved baselines cannot be read.
    Baselines {
        /// Line, counted from one.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KindConflict {
                name,
                existing,
                wanted,
            } if existing == wanted => write!(
                f,
                "metric `{name}` is kept in another unit or by somebody else: the new handle works \
                 but is not exported; give one of the two another name"
            ),
            Self::KindConflict {
                name,
                existing,
                wanted,
            } => write!(
                f,
                "metric `{name}` is a {existing}, but was asked for as a {wanted}: the new handle \
                 works but is not exported; give one of the two another name"
            ),
            Self::NameClash { name, sample } => write!(
                f,
                "metric `{name}` would print the sample `{sample}` of another metric: the new \
                 handle works but is not exported; rename it"
            ),
            Self::FamilyCap { name, cap } => write!(
                f,
                "metric `{name}` is not exported, there are {cap} families already: move what \
                 varies from names into labels, or raise the cap"
            ),
            Self::Exposition { line, what } => write!(f, "line {line}: {what}"),
            Self::Io { what, source } => write!(f, "{what}: {source}"),
            Self::Unreadable { what } => {
                write!(f, "{what} does not have the expected form on this system")
            }
            Self::Export { what, again } => {
                let advice = if *again {
                    "try again later"
                } else {
                    "mend that before trying again"
                };
                write!(f, "metrics not pushed: {what}; {advice}")
            }
            Self::Baselines { line, what } => {
                write!(f, "saved baselines, line {line}: {what}; save them again")
            }
            Self::RecorderInstalled => {
                write!(
                    f,
                    "another metrics recorder is installed; install ours first, or only once"
                )
            }
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
