//! Several tower services as one.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tower_service::Service;

use crate::{Balancer, BoxFuture, ScheduledError};

type Clock = dyn Fn() -> Duration + Send + Sync;

/// One service whose calls go to those of a [`Balancer`]: remote executors, say. Always ready: a call picks an executor,
/// takes a clone of that and waits for it to be ready. An error of the service counts as a failure of the executor; a
/// call that is dropped counts neither way.
///
/// Under a [`SchedulerLayer`](crate::SchedulerLayer), executors are spread over under one limit.
pub struct BalancedService<S> {
    balancer: Balancer<S>,
    clock: Arc<Clock>,
}

impl<S> BalancedService<S> {
    /// The services of this balancer, timed by tokio's clock.
    #[must_use]
    pub fn new(balancer: Balancer<S>) -> Self {
        let start = tokio::time::Instant::now();
        Self::with_clock(balancer, move || start.elapsed())
    }

    /// The services of this balancer, timed by another clock: time since some start, never going back.
    #[must_use]
    pub fn with_clock(
        balancer: Balancer<S>,
        clock: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Self {
        Self {
            balancer,
            clock: Arc::new(clock),
        }
    }
}

impl<S> Clone for BalancedService<S> {
    fn clone(&self) -> Self {
        Self {
            balancer: self.balancer.clone(),
            clock: self.clock.clone(),
        }
    }
}

impl<S> fmt::Debug for BalancedService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BalancedService")
            .field(&self.balancer)
            .finish()
    }
}

impl<S, R> Service<R> for BalancedService<S>
where
    S: Service<R> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Send,
    R: Send + 'static,
{
    type Response = S::Response;
    type Error = ScheduledError<S::Error>;
    type Future = BoxFuture<'static, Result<S::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        let (balancer, clock) = (self.balancer.clone(), self.clock.clone());
        Box::pin(async move {
            let lease = balancer.pick(clock()).map_err(ScheduledError::Scheduler)?;
            let mut service = S::clone(lease.executor());
            let result = match poll_fn(|cx| service.poll_ready(cx)).await {
                Ok(()) => service.call(request).await,
                Err(error) => Err(error),
            };
            lease.finish(result.is_ok(), clock());
            result.map_err(ScheduledError::Service)
        })
    }
}
