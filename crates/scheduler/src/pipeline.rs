//! A stream of bytes through a few processors, with a bound on what is in memory.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use tokio::task::JoinHandle;

use crate::driver::panic_message;
use crate::{BoxFuture, Error, Stop};

/// Settings of a stream pipeline; [`process`](Self::process) runs one.
///
/// ```
/// # use mainspring_scheduler::{Error, Pipeline};
/// # use bytes::Bytes;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Error> {
/// let source = vec![Bytes::from("some "), Bytes::from("text")].into_iter().map(Ok);
/// let shout = |chunk: Bytes| async move { Ok(Bytes::from(chunk.to_ascii_uppercase())) };
/// let mut chunks = Pipeline::default().process_iter(source, shout);
/// assert_eq!(chunks.next().await.unwrap()?, "SOME TEXT");
/// assert!(chunks.next().await.is_none());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pipeline {
    /// Size of the pieces given to a processor (default 64 KiB); only the last one is smaller.
    pub chunk: usize,
    /// Most bytes taken from the source and not yet handed out (default 100 MiB; at least one chunk).
    pub max_bytes: usize,
    /// Chunks processed at once, each on a task of its own (default 3).
    pub processors: usize,
    /// Whether chunks come out in the order in which they went in (default) or as they are done.
    pub ordered: bool,
}

impl Default for Pipeline {
    fn default() -> Self {
        Self {
            chunk: 64 << 10,
            max_bytes: 100 << 20,
            processors: 3,
            ordered: true,
        }
    }
}

impl Pipeline {
    /// Runs `process` over the source. Nothing is read before the result is polled, and nothing more while the bounds
    /// are reached. After an error, of the source or of a processor, the stream ends; dropping it stops everything.
    ///
    /// Must be polled inside a tokio runtime; elsewhere it gives [`Error::NoRuntime`].
    pub fn process<S, F, Fut>(self, source: S, process: F) -> Processed
    where
        S: Stream<Item = Result<Bytes, Error>> + Send + 'static,
        F: Fn(Bytes) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Bytes, Error>> + Send + 'static,
    {
        let settings = Self {
            chunk: self.chunk.max(1),
            max_bytes: self.max_bytes.max(self.chunk.max(1)),
            processors: self.processors.max(1),
            ordered: self.ordered,
        };
        Processed {
            settings,
            source: Some(Box::pin(source)),
            process: Box::new(move |chunk| Box::pin(process(chunk))),
            gathered: BytesMut::new(),
            pending: Bytes::new(),
            slots: VecDeque::new(),
            in_memory: 0,
            most_in_memory: 0,
        }
    }

    /// As [`process`](Self::process), over an iterator.
    pub fn process_iter<I, F, Fut>(self, source: I, process: F) -> Processed
    where
        I: Iterator<Item = Result<Bytes, Error>> + Send + 'static,
        F: Fn(Bytes) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Bytes, Error>> + Send + 'static,
    {
        self.process(Iterate(source), process)
    }
}

struct Iterate<I>(I);

// The iterator is never pinned.
impl<I> Unpin for Iterate<I> {}

impl<I: Iterator> Stream for Iterate<I> {
    type Item = I::Item;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<I::Item>> {
        Poll::Ready(self.0.next())
    }
}

type Source = Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>;

enum Slot {
    Running(JoinHandle<Result<Bytes, Error>>, usize),
    Done(Result<Bytes, Error>, usize),
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Self::Running(task, _) = self {
            task.abort();
        }
    }
}

/// Processed chunks, as a stream.
pub struct Processed {
    settings: Pipeline,
    source: Option<Source>,
    process: Box<dyn Fn(Bytes) -> BoxFuture<'static, Result<Bytes, Error>> + Send>,
    /// Less than a chunk.
    gathered: BytesMut,
    /// Read and not gathered yet.
    pending: Bytes,
    slots: VecDeque<Slot>,
    in_memory: usize,
    most_in_memory: usize,
}

impl Processed {
    /// The next chunk; `None` after the last, or after an error.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// The most bytes that were ever read and not handed out.
    #[must_use]
    pub fn most_in_memory(&self) -> usize {
        self.most_in_memory
    }

    fn stop(&mut self, error: Error) -> Poll<Option<Result<Bytes, Error>>> {
        self.source = None;
        self.pending = Bytes::new();
        self.gathered.clear();
        self.slots.clear();
        Poll::Ready(Some(Err(error)))
    }

    fn running(&self) -> usize {
        self.slots
            .iter()
            .filter(|slot| matches!(slot, Slot::Running(..)))
            .count()
    }

    /// Reads on and starts processors, as far as the bounds allow.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        while self.running() < self.settings.processors {
            let missing = self.settings.chunk - self.gathered.len();
            let take = missing.min(self.pending.len());
            self.gathered
                .extend_from_slice(&self.pending.split_to(take));
            let full = self.gathered.len() == self.settings.chunk;
            let last =
                self.source.is_none() && self.pending.is_empty() && !self.gathered.is_empty();
            if full || last {
                self.start()?;
                continue;
            }
            // Whatever one read brings beyond the bound is the source's choice of size.
            if self.source.is_none() || self.in_memory >= self.settings.max_bytes {
                return Ok(());
            }
            match self
                .source
                .as_mut()
                .map(|source| source.as_mut().poll_next(cx))
            {
                Some(Poll::Ready(Some(read))) => {
                    self.pending = read?;
                    self.in_memory += self.pending.len();
                    self.most_in_memory = self.most_in_memory.max(self.in_memory);
                }
                Some(Poll::Ready(None)) | None => self.source = None,
                Some(Poll::Pending) => return Ok(()),
            }
        }
        Ok(())
    }

    fn start(&mut self) -> Result<(), Error> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| Error::NoRuntime)?;
        let chunk = self.gathered.split().freeze();
        let size = chunk.len();
        self.slots
            .push_back(Slot::Running(runtime.spawn((self.process)(chunk)), size));
        Ok(())
    }

    fn poll_slots(&mut self, cx: &mut Context<'_>) {
        for slot in &mut self.slots {
            let Slot::Running(task, size) = slot else {
                continue;
            };
            if let Poll::Ready(joined) = Pin::new(task).poll(cx) {
                let size = *size;
                let result = joined.unwrap_or_else(|error| {
                    Err(match error.try_into_panic() {
                        Ok(panic) => Error::Panicked {
                            message: panic_message(&*panic),
                        },
                        Err(_) => Error::Stopped(Stop::Closed),
                    })
                });
                *slot = Slot::Done(result, size);
            }
        }
    }

    /// The slot to hand out next, if it is ready.
    fn take(&mut self) -> Option<Result<Bytes, Error>> {
        let done = |slot: &Slot| matches!(slot, Slot::Done(..));
        let index = if self.settings.ordered {
            self.slots.front().filter(|slot| done(slot)).map(|_| 0)
        } else {
            self.slots.iter().position(done)
        };
        let mut slot = self.slots.remove(index?)?;
        let Slot::Done(result, size) = &mut slot else {
            return None;
        };
        self.in_memory -= *size;
        Some(std::mem::replace(result, Ok(Bytes::new())))
    }
}

impl Stream for Processed {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            this.poll_slots(cx);
            if let Err(error) = this.fill(cx) {
                return this.stop(error);
            }
            match this.take() {
                Some(Ok(chunk)) => return Poll::Ready(Some(Ok(chunk))),
                Some(Err(error)) => return this.stop(error),
                None => {}
            }
            // A processor that was started just now has to be polled once, to be woken by it.
            let before = this.running();
            this.poll_slots(cx);
            if this.running() == before {
                let over = this.slots.is_empty()
                    && this.source.is_none()
                    && this.pending.is_empty()
                    && this.gathered.is_empty();
                return if over {
                    Poll::Ready(None)
                } else {
                    Poll::Pending
                };
            }
        }
    }
}

impl fmt::Debug for Processed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Processed")
            .field("in_memory", &self.in_memory)
            .finish_non_exhaustive()
    }
}
