//! Work that the driver runs, and the handle of a single task.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::sync::oneshot;

use crate::driver::Driver;
use crate::{Error, Refused, Stop, TaskId, Verdict};

/// What one run of some work came to.
pub(crate) enum Flow {
    Done(Verdict),
    /// Wants its slot again at this time.
    Again(Duration),
}

/// Why work was ended from outside.
#[derive(Debug, Clone)]
pub(crate) enum Halt {
    Stop(Stop),
    Panic(String),
    /// Never taken in.
    Refused(Error),
}

impl Halt {
    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::Stop(why) => Error::Stopped(why),
            Self::Panic(message) => Error::Panicked { message },
            Self::Refused(error) => error,
        }
    }
}

/// The driver's view of work. After `poll` is done, or `halt` was called and `settle` is done, everything the work held is returned and
/// only its result is left; `deliver` then hands that over, after the scheduler has booked the end.
pub(crate) trait Work: Send {
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Flow>;
    fn halt(self: Pin<&mut Self>, why: Halt);
    /// After `halt`: ready once nothing of the work goes on anywhere.
    fn settle(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
    fn deliver(self: Pin<&mut Self>);
}

pin_project! {
    #[project = StageProj]
    enum Stage<F> {
        Running { #[pin] future: F },
        Over,
    }
}

/// Where a result goes.
pub(crate) trait Reply<T>: Send {
    /// Nobody may be waiting any more.
    fn send(self, result: Result<T, Error>);
}

impl<T: Send> Reply<T> for oneshot::Sender<Result<T, Error>> {
    fn send(self, result: Result<T, Error>) {
        let _ = self.send(result);
    }
}

pin_project! {
    /// A future whose result somebody waits for.
    pub(crate) struct Plain<F, T, R> {
        #[pin]
        stage: Stage<F>,
        result: Option<Result<T, Error>>,
        reply: Option<R>,
    }
}

impl<F, T, R> Plain<F, T, R> {
    pub(crate) fn new(future: F, reply: R) -> Self {
        Self {
            stage: Stage::Running { future },
            result: None,
            reply: Some(reply),
        }
    }
}

impl<F, T, R> Work for Plain<F, T, R>
where
    F: Future<Output = Result<T, Error>> + Send,
    T: Send,
    R: Reply<T>,
{
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Flow> {
        let mut this = self.project();
        if let StageProj::Running { future } = this.stage.as_mut().project() {
            let result = ready!(future.poll(cx));
            *this.result = Some(result);
            this.stage.set(Stage::Over);
        }
        let success = matches!(this.result, Some(Ok(_)));
        Poll::Ready(Flow::Done(if success {
            Verdict::Success
        } else {
            Verdict::Failure
        }))
    }

    fn halt(self: Pin<&mut Self>, why: Halt) {
        let mut this = self.project();
        *this.result = Some(Err(why.into_error()));
        this.stage.set(Stage::Over);
    }

    fn deliver(self: Pin<&mut Self>) {
        let this = self.project();
        if let (Some(result), Some(reply)) = (this.result.take(), this.reply.take()) {
            reply.send(result);
        }
    }
}

pin_project! {
    /// A future whose result goes nowhere.
    pub(crate) struct Detached<F> {
        #[pin]
        stage: Stage<F>,
    }
}

impl<F> Detached<F> {
    pub(crate) fn new(future: F) -> Self {
        Self {
            stage: Stage::Running { future },
        }
    }
}

impl<F> Work for Detached<F>
where
    F: Future<Output = Result<(), Error>> + Send,
{
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Flow> {
        let mut stage = self.project().stage;
        let StageProj::Running { future } = stage.as_mut().project() else {
            return Poll::Ready(Flow::Done(Verdict::Failure));
        };
        let result = ready!(future.poll(cx));
        stage.set(Stage::Over);
        Poll::Ready(Flow::Done(if result.is_ok() {
            Verdict::Success
        } else {
            Verdict::Failure
        }))
    }

    fn halt(self: Pin<&mut Self>, _: Halt) {
        self.project().stage.set(Stage::Over);
    }

    fn deliver(self: Pin<&mut Self>) {}
}

/// A submitted task. Awaiting it gives the result; dropping it cancels the task.
#[must_use = "dropping the handle cancels the task; await it or call `detach`"]
pub struct TaskHandle<T> {
    pub(crate) driver: Arc<Driver>,
    pub(crate) id: TaskId,
    pub(crate) receiver: Option<oneshot::Receiver<Result<T, Error>>>,
}

impl<T> TaskHandle<T> {
    /// The task's id, to name it in [`Submission::after`](crate::Submission::after).
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// Stops the task; the handle still gives its result ([`Stop::Cancelled`], or what it was too late for).
    pub fn cancel(&self) {
        self.driver.cancel(&[self.id]);
    }

    /// Lets the task run on without its handle.
    pub fn detach(mut self) {
        self.receiver = None;
    }
}

impl<T> Future for TaskHandle<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(receiver) = self.receiver.as_mut() else {
            return Poll::Ready(Err(Error::Refused(Refused::Closed)));
        };
        let result = ready!(Pin::new(receiver).poll(cx));
        self.receiver = None;
        Poll::Ready(result.unwrap_or(Err(Error::Stopped(Stop::Closed))))
    }
}

impl<T> Drop for TaskHandle<T> {
    fn drop(&mut self) {
        if self.receiver.is_some() {
            self.driver.cancel(&[self.id]);
        }
    }
}

impl<T> fmt::Debug for TaskHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskHandle")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
