//! A streamed answer: the body's events, turned into chunks.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use serde_json::Value;
use tokio::time::{Sleep, timeout};

use crate::{
    connections::{Connections, Sender, transport},
    error::Error,
    provider::{Chunk, Usage},
    sse::{EventParser, TooLarge},
};

/// Characters of a refusal that are passed on.
const MAX_MESSAGE_CHARS: usize = 500;
/// How long the end of a body may keep its connection after the last event.
const MAX_LINGER: Duration = Duration::from_secs(1);
/// Largest single event.
const MAX_EVENT_BYTES: usize = 4 << 20;

/// How long an answer may pause, and how large it may be.
pub(crate) struct Limits {
    pub(crate) idle: Duration,
    pub(crate) bytes: u64,
}

/// The message of an error object, or the text itself, shortened.
pub(crate) fn message_of(text: &[u8]) -> String {
    let json: Option<Value> = serde_json::from_slice(text).ok();
    let stated = json.as_ref().and_then(|json| {
        json.pointer("/error/message")
            .or(json.get("message"))?
            .as_str()
    });
    let message = stated.map_or_else(|| String::from_utf8_lossy(text), Into::into);
    message.chars().take(MAX_MESSAGE_CHARS).collect()
}

/// The answer's body, event by event.
pub(crate) struct Events {
    /// Taken when the answer is over.
    body: Option<Incoming>,
    connections: Arc<Connections>,
    /// Given back when the answer was read to its end.
    sender: Option<Sender>,
    parser: EventParser,
    ready: VecDeque<Result<Chunk, Error>>,
    idle: Pin<Box<Sleep>>,
    idle_timeout: Duration,
    received: u64,
    max_bytes: u64,
    /// The server said why the answer ended.
    finished: bool,
    over: bool,
}

impl Events {
    pub(crate) fn new(
        body: Incoming,
        sender: Sender,
        connections: &Arc<Connections>,
        limits: Limits,
    ) -> Self {
        Self {
            body: Some(body),
            connections: Arc::clone(connections),
            sender: Some(sender),
            parser: EventParser::new(MAX_EVENT_BYTES),
            ready: VecDeque::new(),
            idle: Box::pin(tokio::time::sleep(limits.idle)),
            idle_timeout: limits.idle,
            received: 0,
            max_bytes: limits.bytes,
            finished: false,
            over: false,
        }
    }

    fn fail(&mut self, error: Error) {
        self.sender = None;
        self.ready.push_back(Err(error));
        self.over = true;
    }

    fn data(&mut self, data: &[u8]) {
        self.received += data.len() as u64;
        if self.received > self.max_bytes {
            let limit = self.max_bytes;
            return self.fail(Error::LimitExceeded {
                what: "the size of the answer",
                limit,
            });
        }
        let mut events = Vec::new();
        let parsed = self.parser.push(data, |event| events.push(event.to_vec()));
        for event in events {
            if !self.over {
                self.event(&event);
            }
        }
        if parsed == Err(TooLarge) && !self.over {
            self.fail(Error::LimitExceeded {
                what: "the size of an event",
                limit: MAX_EVENT_BYTES as u64,
            });
        }
    }

    fn event(&mut self, event: &[u8]) {
        if event == b"[DONE]" {
            self.over = true;
            return;
        }
        let Ok(json) = serde_json::from_slice::<Value>(event) else {
            let offset = self.received;
            return self.fail(Error::Damaged {
                offset,
                what: "an event of the answer is not JSON",
            });
        };
        if json.get("error").is_some_and(|error| !error.is_null()) {
            return self.fail(Error::Refused {
                status: 0,
                message: message_of(event),
            });
        }
        let chunks = chunks_of(&json);
        self.finished |= chunks
            .iter()
            .any(|chunk| matches!(chunk, Chunk::Finished(_)));
        self.ready.extend(chunks.into_iter().map(Ok));
    }

    /// Behind the last event only the end of the body may come. A task of its own waits for it, for a
    /// moment, and then the connection serves again.
    fn close(&mut self) {
        let (Some(sender), Some(mut body)) = (self.sender.take(), self.body.take()) else {
            return;
        };
        let connections = Arc::clone(&self.connections);
        tokio::spawn(async move {
            if let Ok(None) = timeout(MAX_LINGER, body.frame()).await {
                connections.keep(sender);
            }
        });
    }

    /// Waits for more of the body, but not forever.
    fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(body) = &mut self.body else {
            self.over = true;
            return Poll::Ready(());
        };
        match Pin::new(body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let deadline = tokio::time::Instant::now() + self.idle_timeout;
                self.idle.as_mut().reset(deadline);
                if let Some(data) = frame.data_ref() {
                    self.data(data);
                }
            }
            Poll::Ready(Some(Err(error))) => self.fail(transport("reading the answer", error)),
            Poll::Ready(None) if self.finished => self.over = true,
            Poll::Ready(None) => {
                let early = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
                self.fail(transport("reading the answer", early));
            }
            Poll::Pending => {
                ready!(self.idle.as_mut().poll(context));
                let allowed = self.idle_timeout;
                self.fail(Error::Timeout {
                    what: "the next piece of the answer",
                    allowed,
                });
            }
        }
        Poll::Ready(())
    }
}

impl Stream for Events {
    type Item = Result<Chunk, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                return Poll::Ready(Some(chunk));
            }
            if self.over {
                self.close();
                return Poll::Ready(None);
            }
            ready!(self.poll_body(context));
        }
    }
}

/// What an event says, in its order: text, tool calls, the end, the cost.
fn chunks_of(json: &Value) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let choice = &json["choices"][0];
    if let Some(text) = choice["delta"]["content"]
        .as_str()
        .filter(|text| !text.is_empty())
    {
        chunks.push(Chunk::Text(text.to_owned()));
    }
    let text = |value: &Value| value.as_str().map(str::to_owned);
    for call in choice["delta"]["tool_calls"]
        .as_array()
        .into_iter()
        .flatten()
    {
        chunks.push(Chunk::ToolCall {
            index: u32::try_from(call["index"].as_u64().unwrap_or(0)).unwrap_or(u32::MAX),
            id: text(&call["id"]),
            name: text(&call["function"]["name"]),
            arguments: text(&call["function"]["arguments"]).unwrap_or_default(),
        });
    }
    chunks.extend(text(&choice["finish_reason"]).map(Chunk::Finished));
    if let Some(usage) = json.get("usage").filter(|usage| usage.is_object()) {
        let count = |pointer: &str| usage.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        let cached = count("/prompt_tokens_details/cached_tokens");
        chunks.push(Chunk::Usage(Usage::new(
            count("/prompt_tokens"),
            cached,
            count("/completion_tokens"),
        )));
    }
    chunks
}
