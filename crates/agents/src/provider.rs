use std::pin::Pin;

use futures_core::Stream;

use crate::{error::Error, registry::BoxFuture};

/// What a model is asked. The messages and tools are JSON as it goes over the wire: they are sent byte
/// for byte, so that a provider's prompt cache recognises an unchanged beginning.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Request {
    /// The model, as the provider names it.
    pub model: String,
    /// The messages: a JSON array in the provider's form.
    pub messages: String,
    /// The tools: a JSON array in the provider's form, if there are any.
    pub tools: Option<String>,
    /// Most tokens of the answer; the provider's own limit when `None`.
    pub max_output_tokens: Option<u32>,
}

impl Request {
    /// A request for `model` with these messages.
    #[must_use]
    pub fn new(model: impl Into<String>, messages: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            messages: messages.into(),
            ..Self::default()
        }
    }

    /// With these tools, a JSON array.
    #[must_use]
    pub fn tools(mut self, tools: impl Into<String>) -> Self {
        self.tools = Some(tools.into());
        self
    }

    /// With a bound on the answer.
    #[must_use]
    pub const fn max_output_tokens(mut self, tokens: u32) -> Self {
        self.max_output_tokens = Some(tokens);
        self
    }
}

/// A piece of an answer, as it arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Chunk {
    /// More of the text.
    Text(String),
    /// More of a tool call. The first piece of a call has its id and name; the arguments are JSON text
    /// that is complete when the answer is.
    ToolCall {
        /// Which of the answer's calls, from 0.
        index: u32,
        /// Its id, in its first piece.
        id: Option<String>,
        /// Its tool, in its first piece.
        name: Option<String>,
        /// More of its arguments.
        arguments: String,
    },
    /// What the answer cost, as the provider counts.
    Usage(Usage),
    /// The answer is over, and why, in the provider's word (`stop`, `tool_calls`, `length`).
    Finished(String),
}

/// Tokens of one answer, as the provider counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Usage {
    /// Tokens of the request.
    pub input_tokens: u64,
    /// Those of them that its prompt cache had.
    pub cached_input_tokens: u64,
    /// Tokens of the answer.
    pub output_tokens: u64,
}

impl Usage {
    /// Tokens of request and answer.
    #[must_use]
    pub const fn new(input_tokens: u64, cached_input_tokens: u64, output_tokens: u64) -> Self {
        Self {
            input_tokens,
            cached_input_tokens,
            output_tokens,
        }
    }
}

/// An answer as it arrives. After an error nothing more comes.
pub type ChunkStream = Pin<Box<dyn Stream<Item = Result<Chunk, Error>> + Send>>;

/// Whoever answers requests: a model behind a server, a recording, a router over several.
///
/// Dropping the future or the stream gives the request up.
pub trait Provider: Send + Sync {
    /// A name for logs and figures.
    fn name(&self) -> &str;

    /// Sends a request. Ready when the answer begins.
    ///
    /// # Errors
    /// [`Error::RateLimited`], [`Error::Refused`], [`Error::Transport`] or [`Error::Timeout`], from here or
    /// within the stream; a recording without a further answer gives [`Error::NotFound`].
    fn stream(&self, request: Request) -> BoxFuture<'_, Result<ChunkStream, Error>>;
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Answer {
    /// Its text.
    pub text: String,
    /// Its tool calls, in their order.
    pub tool_calls: Vec<ToolCall>,
    /// What it cost, if the provider said.
    pub usage: Option<Usage>,
    /// Why it ended; empty when the stream broke off without saying.
    pub finish: String,
}

/// A tool call of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ToolCall {
    /// Its id.
    pub id: String,
    /// The tool.
    pub name: String,
    /// The arguments, JSON text.
    pub arguments: String,
}

/// Most tool calls of one answer.
const MAX_CALLS: u32 = 1_024;

impl Answer {
    /// Waits for a whole answer of at most `max_bytes` of text and arguments.
    ///
    /// # Errors
    /// The stream's, or [`Error::LimitExceeded`].
    pub async fn collect(mut stream: ChunkStream, max_bytes: usize) -> Result<Self, Error> {
        let mut answer = Self::default();
        let mut bytes = 0;
        while let Some(chunk) =
            std::future::poll_fn(|context| stream.as_mut().poll_next(context)).await
        {
            bytes += answer.take(chunk?)?;
            if bytes > max_bytes {
                return Err(Error::LimitExceeded {
                    what: "the size of the answer",
                    limit: max_bytes as u64,
                });
            }
        }
        Ok(answer)
    }

    /// Adds a chunk and returns its bytes.
    fn take(&mut self, chunk: Chunk) -> Result<usize, Error> {
        match chunk {
            Chunk::Text(text) => {
                self.text.push_str(&text);
                return Ok(text.len());
            }
            Chunk::ToolCall {
                index,
                id,
                name,
                arguments,
            } => {
                if index >= MAX_CALLS {
                    return Err(Error::LimitExceeded {
                        what: "the number of tool calls",
                        limit: u64::from(MAX_CALLS),
                    });
                }
                let missing = (index as usize + 1).saturating_sub(self.tool_calls.len());
                self.tool_calls
                    .extend(std::iter::repeat_n(ToolCall::default(), missing));
                let call = &mut self.tool_calls[index as usize];
                call.id.push_str(&id.unwrap_or_default());
                call.name.push_str(&name.unwrap_or_default());
                call.arguments.push_str(&arguments);
                return Ok(arguments.len());
            }
            Chunk::Usage(usage) => self.usage = Some(usage),
            Chunk::Finished(why) => self.finish = why,
        }
        Ok(0)
    }
}
