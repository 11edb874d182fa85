//! Services under a scheduler.

use std::convert::Infallible;
use std::task::{Context, Poll};

use mainspring_scheduler::*;
use tower_layer::Layer;
use tower_service::Service;

use crate::support::*;

#[derive(Clone)]
struct Slow(Gauge);

impl Service<&'static str> for Slow {
    type Response = usize;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<usize, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: &'static str) -> Self::Future {
        let gauge = self.0.clone();
        Box::pin(async move {
            let _inside = gauge.enter();
            tokio::time::sleep(ms(10)).await;
            assert!(!request.is_empty(), "empty");
            Ok(request.len())
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_runs_under_the_limit_and_the_keys_of_a_scheduler() {
    let gauge = Gauge::default();
    let scheduler = Scheduler::builder().limit(2).build().unwrap();
    let layer = SchedulerLayer::new(&scheduler, |path: &&str| Submission {
        access: Access::write(*path),
        ..Submission::default()
    });
    let mut service = layer.layer(Slow(gauge.clone()));
    let start = tokio::time::Instant::now();
    let calls = ["a", "a/b", "cc", "dd", "ee"].map(|path| service.call(path));
    let mut lengths = Vec::new();
    for call in calls {
        lengths.push(call.await.unwrap());
    }
    assert_eq!(
        (lengths, gauge.most(), start.elapsed()),
        (vec![1, 3, 2, 2, 2], 2, ms(30))
    );
    let panicked = service.call("").await.unwrap_err();
    assert!(panicked.to_string().contains("empty"), "{panicked}");
    drop(service.call("x"));
    settle().await;
    assert_eq!(gauge.now(), 0);
    scheduler.close();
    assert!(matches!(
        service.call("y").await,
        Err(ScheduledError::Scheduler(Error::Refused(_)))
    ));
    assert_idle(&scheduler);
}
