use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use futures_core::Stream;

use crate::{
    error::Error,
    provider::{Chunk, ChunkStream, Provider, Request},
    registry::BoxFuture,
};

/// Most requests that are remembered.
const MAX_REQUESTS: usize = 1_024;

/// A provider that plays recorded answers, one per request, in their order: for examples, tests and
/// replays of past sessions. It never waits.
///
/// ```
/// use mainspring_agents::{Answer, Chunk, Provider, RecordedProvider, Request};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), mainspring_agents::Error> {
/// let provider = RecordedProvider::new([vec![Chunk::Text("Hello".into()), Chunk::Finished("stop".into())]]);
/// let stream = provider.stream(Request::new("any", "[]")).await?;
/// assert_eq!(Answer::collect(stream, 1_000).await?.text, "Hello");
/// assert!(provider.stream(Request::new("any", "[]")).await.is_err());
/// # Ok(()) }
/// ```
#[derive(Debug, Default)]
pub struct RecordedProvider {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    answers: VecDeque<Result<Vec<Result<Chunk, Error>>, Error>>,
    requests: VecDeque<Request>,
    served: u64,
}

impl RecordedProvider {
    /// Answers that succeed.
    #[must_use]
    pub fn new(answers: impl IntoIterator<Item = Vec<Chunk>>) -> Self {
        let whole = answers
            .into_iter()
            .map(|chunks| Ok(chunks.into_iter().map(Ok).collect()));
        Self::with_failures(whole)
    }

    /// Answers of which some are refused at once (an outer error) or break off (an inner one).
    #[must_use]
    pub fn with_failures(
        answers: impl IntoIterator<Item = Result<Vec<Result<Chunk, Error>>, Error>>,
    ) -> Self {
        let state = State {
            answers: answers.into_iter().collect(),
            ..State::default()
        };
        Self {
            state: Mutex::new(state),
        }
    }

    /// The requests so far, the last 1,024 of them.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.state().requests.iter().cloned().collect()
    }

    /// Answers that have not been played.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.state().answers.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self, request: Request) -> Result<ChunkStream, Error> {
        let mut state = self.state();
        state.served += 1;
        if state.requests.len() == MAX_REQUESTS {
            state.requests.pop_front();
        }
        state.requests.push_back(request);
        let number = state.served;
        let missing = || Error::NotFound {
            kind: "recorded answer",
            name: format!("number {number}"),
        };
        let chunks = state.answers.pop_front().ok_or_else(missing)??;
        Ok(Box::pin(Playback {
            chunks: chunks.into(),
        }))
    }
}

impl Provider for RecordedProvider {
    fn name(&self) -> &str {
        "recorded"
    }

    fn stream(&self, request: Request) -> BoxFuture<'_, Result<ChunkStream, Error>> {
        Box::pin(async move { self.next(request) })
    }
}

struct Playback {
    chunks: VecDeque<Result<Chunk, Error>>,
}

impl Stream for Playback {
    type Item = Result<Chunk, Error>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.chunks.pop_front();
        if matches!(next, Some(Err(_))) {
            self.chunks.clear();
        }
        Poll::Ready(next)
    }
}
