//! What becomes of a call.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::{Error, RetryAfter, Stop};

/// The steps of a call, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Find the tool.
    Resolve,
    /// Check the arguments against its schema.
    Validate,
    /// Ask the hook, and perhaps a human.
    Authorise,
    /// Wait for a slot, the keys, the rate and the money.
    Reserve,
    /// Run under timeout, deadline and cancellation.
    Execute,
    /// Check the size and shape of the result.
    Check,
}

impl Phase {
    /// All six, in order.
    pub const ALL: [Self; 6] = [
        Self::Resolve,
        Self::Validate,
        Self::Authorise,
        Self::Reserve,
        Self::Execute,
        Self::Check,
    ];

    /// A lower-case name, for figures and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Validate => "validate",
            Self::Authorise => "authorise",
            Self::Reserve => "reserve",
            Self::Execute => "execute",
            Self::Check => "check",
        }
    }
}

/// Why a call has no output.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum CallErrorKind {
    /// No tool has this name.
    UnknownTool,
    /// The arguments do not fit the schema.
    InvalidInput,
    /// The hook or a human said no.
    Denied,
    /// The budget, the rate limit or the queue has no room.
    NoRoom(Error),
    /// Stopped: cancelled, deadline, timeout, closed.
    Stopped(Stop),
    /// The tool panicked.
    Panicked,
    /// The tool failed, after all retries.
    Tool(ToolErrorKind),
    /// The result is larger than allowed.
    Oversized,
    /// The result does not fit the output schema.
    InvalidOutput,
}

/// The error of one call: where it happened, what it was, and a message that a model can act on.
#[derive(Debug, Clone, PartialEq)]
pub struct CallError {
    /// The step that failed.
    pub phase: Phase,
    /// What sort of failure.
    pub kind: CallErrorKind,
    /// One or two sentences.
    pub message: String,
}

impl CallError {
    pub(crate) fn new(phase: Phase, kind: CallErrorKind, message: impl Into<String>) -> Self {
        Self {
            phase,
            kind,
            message: message.into(),
        }
    }

    pub(crate) fn stopped(phase: Phase, why: Stop) -> Self {
        Self::new(
            phase,
            CallErrorKind::Stopped(why),
            format!("the call was stopped: {why}"),
        )
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed: {}", self.phase.name(), self.message)
    }
}

impl std::error::Error for CallError {}

/// What a tool returns.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolOutput {
    /// The result; plain text is a JSON string.
    pub content: Value,
    /// What the call really cost; `None` settles what was estimated.
    pub usage: Option<Cost>,
}

impl ToolOutput {
    /// A text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::json(Value::String(text.into()))
    }

    /// A structured result.
    #[must_use]
    pub fn json(content: Value) -> Self {
        Self {
            content,
            usage: None,
        }
    }

    /// States what the call cost.
    #[must_use]
    pub fn with_usage(mut self, usage: Cost) -> Self {
        self.usage = Some(usage);
        self
    }

    /// The text, when that is what it is.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        self.content.as_str()
    }
}

impl From<String> for ToolOutput {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl From<&str> for ToolOutput {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<Value> for ToolOutput {
    fn from(content: Value) -> Self {
        Self::json(content)
    }
}

/// What a call takes from a rate limit and from a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Units of the endpoint's [`RateLimiter`](crate::RateLimiter), usually tokens.
    pub tokens: u64,
    /// Units of the call's [`Budget`](crate::Budget).
    pub money: u64,
}

/// Whether trying again may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ToolErrorKind {
    /// It will not.
    Permanent,
    /// It may: a dropped connection, a 5xx.
    Transient,
    /// It will, later: a 429 or 503, with what the server said about when. Closes the endpoint for everybody.
    RateLimited(Option<RetryAfter>),
}

/// A tool's own failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolError {
    /// Whether trying again may help.
    pub kind: ToolErrorKind,
    /// What went wrong, for the model.
    pub message: String,
    /// What the failed call cost all the same; `None` is nothing.
    pub usage: Option<Cost>,
}

impl ToolError {
    /// A failure that would only repeat.
    #[must_use]
    pub fn permanent(message: impl Into<String>) -> Self {
        Self {
            kind: ToolErrorKind::Permanent,
            message: message.into(),
            usage: None,
        }
    }

    /// A failure that may pass: the call is retried.
    #[must_use]
    pub fn transient(message: impl Into<String>) -> Self {
        Self {
            kind: ToolErrorKind::Transient,
            ..Self::permanent(message)
        }
    }

    /// The server asked to come back later.
    #[must_use]
    pub fn rate_limited(message: impl Into<String>, after: Option<RetryAfter>) -> Self {
        Self {
            kind: ToolErrorKind::RateLimited(after),
            ..Self::permanent(message)
        }
    }

    /// States what the failed call cost.
    #[must_use]
    pub fn with_usage(mut self, usage: Cost) -> Self {
        self.usage = Some(usage);
        self
    }
}

impl fmt::Display for ToolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ToolError {}

impl From<String> for ToolError {
    fn from(message: String) -> Self {
        Self::permanent(message)
    }
}

impl From<&str> for ToolError {
    fn from(message: &str) -> Self {
        Self::permanent(message)
    }
}

impl From<Error> for ToolError {
    /// What may pass is transient: a rate, a full queue, executors that are ejected.
    fn from(error: Error) -> Self {
        match error {
            Error::RateLimited { .. } | Error::NoExecutor { .. } => {
                Self::transient(error.to_string())
            }
            Error::Refused(crate::Refused::Full { .. }) => Self::transient(error.to_string()),
            _ => Self::permanent(error.to_string()),
        }
    }
}

impl From<std::io::Error> for ToolError {
    fn from(error: std::io::Error) -> Self {
        Self::permanent(error.to_string())
    }
}

/// The one result that every call gets.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolOutcome {
    /// Position among the calls of its run.
    pub index: usize,
    /// The call's id.
    pub id: String,
    /// The tool's name as called.
    pub tool: String,
    /// The output, or what went wrong and where.
    pub result: Result<ToolOutput, CallError>,
    /// The phase reached: `Check` for a success.
    pub phase: Phase,
    /// From submission to the first start (to the end, when it never started).
    pub queued: Duration,
    /// From the first start to the end, retries and their waits included.
    pub ran: Duration,
    /// How often it was run.
    pub attempts: u32,
}

impl ToolOutcome {
    /// The text for the model: the output, or the error's message.
    #[must_use]
    pub fn to_text(&self) -> String {
        match &self.result {
            Ok(output) => match output.as_text() {
                Some(text) => text.to_owned(),
                None => output.content.to_string(),
            },
            Err(error) => format!("Error: {error}"),
        }
    }
}
