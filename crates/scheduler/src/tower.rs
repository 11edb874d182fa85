//! Any tower service under a scheduler.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tower_layer::Layer;
use tower_service::Service;

use crate::{Error, Scheduler, Submission, TaskHandle};

type Describe<R> = dyn Fn(&R) -> Submission + Send + Sync;

/// Runs the calls of a service as tasks of a scheduler: under its limit, its policy and the order of its keys.
///
/// What a request reads and writes, who it belongs to and how urgent it is, is said by a closure.
pub struct SchedulerLayer<R> {
    scheduler: Scheduler,
    describe: Arc<Describe<R>>,
}

impl<R> SchedulerLayer<R> {
    /// A layer on this scheduler; `describe` is asked about every request.
    pub fn new(
        scheduler: &Scheduler,
        describe: impl Fn(&R) -> Submission + Send + Sync + 'static,
    ) -> Self {
        Self {
            scheduler: scheduler.clone(),
            describe: Arc::new(describe),
        }
    }
}

impl<R> Clone for SchedulerLayer<R> {
    fn clone(&self) -> Self {
        Self {
            scheduler: self.scheduler.clone(),
            describe: self.describe.clone(),
        }
    }
}

impl<R> fmt::Debug for SchedulerLayer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SchedulerLayer").finish_non_exhaustive()
    }
}

impl<S, R> Layer<S> for SchedulerLayer<R> {
    type Service = Scheduled<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Scheduled {
            inner,
            layer: self.clone(),
        }
    }
}

/// A service whose calls are tasks of a scheduler. Always ready: what has to wait waits in the scheduler's queue, which
/// is bounded. Each task takes a clone of the inner service and waits for that to be ready.
pub struct Scheduled<S, R> {
    inner: S,
    layer: SchedulerLayer<R>,
}

impl<S: Clone, R> Clone for Scheduled<S, R> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            layer: self.layer.clone(),
        }
    }
}

impl<S, R> fmt::Debug for Scheduled<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduled").finish_non_exhaustive()
    }
}

/// Why a scheduled call has no response.
#[derive(Debug)]
pub enum ScheduledError<E> {
    /// The scheduler refused or stopped it, or the service panicked.
    Scheduler(Error),
    /// The service's own error.
    Service(E),
}

impl<E: fmt::Display> fmt::Display for ScheduledError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheduler(error) => error.fmt(f),
            Self::Service(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for ScheduledError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Scheduler(error) => Some(error),
            Self::Service(error) => Some(error),
        }
    }
}

impl<S, R> Service<R> for Scheduled<S, R>
where
    S: Service<R> + Clone + Send + 'static,
    S::Future: Send,
    S::Response: Send + 'static,
    S::Error: Send + 'static,
    R: Send + 'static,
{
    type Response = S::Response;
    type Error = ScheduledError<S::Error>;
    type Future = ScheduledFuture<S::Response, S::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        let task = (self.layer.describe)(&request);
        let mut inner = self.inner.clone();
        let work = async move {
            let result = match poll_fn(|cx| inner.poll_ready(cx)).await {
                Ok(()) => inner.call(request).await,
                Err(error) => Err(error),
            };
            Ok(result)
        };
        match self.layer.scheduler.submit(task, work) {
            Ok(handle) => ScheduledFuture {
                handle: Some(handle),
                refused: None,
            },
            Err(error) => ScheduledFuture {
                handle: None,
                refused: Some(error),
            },
        }
    }
}

/// The response of a scheduled call. Dropping it stops the call.
pub struct ScheduledFuture<T, E> {
    handle: Option<TaskHandle<Result<T, E>>>,
    refused: Option<Error>,
}

impl<T, E> Future for ScheduledFuture<T, E> {
    type Output = Result<T, ScheduledError<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(handle) = self.handle.as_mut() else {
            let closed = Error::Refused(crate::Refused::Closed);
            let error = self.refused.take().unwrap_or(closed);
            return Poll::Ready(Err(ScheduledError::Scheduler(error)));
        };
        let result = ready!(Pin::new(handle).poll(cx));
        self.handle = None;
        Poll::Ready(match result {
            Ok(result) => result.map_err(ScheduledError::Service),
            Err(error) => Err(ScheduledError::Scheduler(error)),
        })
    }
}

impl<T, E> fmt::Debug for ScheduledFuture<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScheduledFuture").finish_non_exhaustive()
    }
}
