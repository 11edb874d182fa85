//! The one error type of the crate.

use std::{error, fmt};

/// What went wrong: in the input, in a request that cannot fit, or in a compaction.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The input is not the JSON that it should be.
    Malformed {
        /// Byte offset in the input.
        offset: usize,
        /// Line, counted from 1.
        line: usize,
        /// What was found there.
        what: String,
    },
    /// The input is readable, but no known session format.
    UnknownFormat {
        /// What was found instead.
        what: String,
    },
    /// A bound of this crate was reached.
    Limit {
        /// What is bounded.
        what: &'static str,
        /// The bound.
        limit: usize,
        /// What the input asked for.
        found: usize,
    },
    /// What must be kept is by itself larger than the window.
    DoesNotFit {
        /// What is too large.
        what: String,
        /// Its size in tokens.
        tokens: usize,
        /// Tokens there is room for.
        room: usize,
    },
    /// A compaction would gain too little to be worth it.
    NoProgress {
        /// Tokens before.
        before: usize,
        /// Tokens after the best plan.
        after: usize,
    },
    /// Compactions failed several times in a row; none is tried until the context changed.
    BreakerOpen {
        /// How many failed.
        failures: u32,
        /// Tokens at which the next attempt is made.
        retry_at: usize,
    },
    /// Every strategy lost more than the quality floor allows.
    QualityFloor {
        /// The best score that was reached.
        score: f64,
        /// The floor.
        floor: f64,
    },
    /// The plan was made for another state of the context.
    StalePlan,
    /// A sequence of items breaks the rules of its wire format.
    Invalid {
        /// Index of the item.
        item: usize,
        /// The rule.
        what: String,
    },
    /// The summariser failed.
    Summarizer {
        /// What was being asked.
        what: String,
        /// Why it failed, when it said so.
        source: Option<Box<dyn error::Error + Send + Sync>>,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { offset, line, what } => {
                write!(f, "damaged input at byte {offset} (line {line}): {what}")
            }
            Self::UnknownFormat { what } => write!(
                f,
                "no known session format: {what}; expected chat messages, a session log or an event list"
            ),
            Self::Limit { what, limit, found } => {
                write!(f, "{what} is {found}, the limit is {limit}")
            }
            Self::DoesNotFit { what, tokens, room } => write!(
                f,
                "{what} takes {tokens} tokens and there is room for {room}: use a larger window or shorten it"
            ),
            Self::NoProgress { before, after } => write!(
                f,
                "compaction would only go from {before} to {after} tokens: nothing was changed"
            ),
            Self::BreakerOpen { failures, retry_at } => write!(
                f,
                "{failures} compactions in a row failed: the next is tried when the context reaches {retry_at} tokens"
            ),
            Self::QualityFloor { score, floor } => write!(
                f,
                "every strategy loses too much: best quality {score:.3}, floor {floor:.2}"
            ),
            Self::StalePlan => {
                f.write_str("the context was compacted after this plan was made: plan again")
            }
            Self::Invalid { item, what } => write!(f, "item {item} breaks its wire format: {what}"),
            Self::Summarizer { what, source } => match source {
                Some(source) => write!(f, "the summariser failed, {what}: {source}"),
                None => write!(f, "the summariser failed, {what}"),
            },
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Summarizer { source, .. } => source
                .as_deref()
                .map(|e| e as &(dyn error::Error + 'static)),
            _ => None,
        }
    }
}

impl Error {
    /// A malformed-input error whose line is counted in `input`.
    pub(crate) fn malformed(input: &[u8], offset: usize, what: impl Into<String>) -> Self {
        let offset = offset.min(input.len());
        let line = memchr::memchr_iter(b'\n', &input[..offset]).count() + 1;
        Self::Malformed {
            offset,
            line,
            what: what.into(),
        }
    }
}
