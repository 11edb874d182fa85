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

/// Answers after some time, or fails.
#[derive(Clone)]
struct Remote {
    name: &'static str,
    takes: u64,
    fails: bool,
}

impl Service<()> for Remote {
    type Response = &'static str;
    type Error = std::io::Error;
    type Future = BoxFuture<'static, Result<&'static str, std::io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        let remote = self.clone();
        Box::pin(async move {
            tokio::time::sleep(ms(remote.takes)).await;
            match remote.fails {
                true => Err(std::io::Error::other("down")),
                false => Ok(remote.name),
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn remote_executors_are_balanced_and_dead_ones_ejected_under_one_limit() {
    let balancer = Balancer::new(3);
    for (name, takes, fails) in [
        ("quick", 10, false),
        ("slow", 100, false),
        ("dead", 1, true),
    ] {
        balancer.add(name, 1.0, Remote { name, takes, fails });
    }
    let scheduler = Scheduler::builder().limit(4).build().unwrap();
    let layer = SchedulerLayer::new(&scheduler, |()| Submission::default());
    let mut service = layer.layer(BalancedService::new(balancer.clone()));
    let calls: Vec<_> = (0..200).map(|_| service.call(())).collect();
    let (mut quick, mut failed) = (0, 0);
    for call in calls {
        match call.await {
            Ok(name) => quick += usize::from(name == "quick"),
            Err(ScheduledError::Service(ScheduledError::Service(_))) => failed += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(quick > 120, "{quick}");
    assert!((5..20).contains(&failed), "{failed}");
    assert_eq!(scheduler.stats().max_running, 4);
    assert!(balancer.stats().iter().all(|remote| remote.in_flight == 0));
    balancer.remove("quick");
    balancer.remove("slow");
    let refused = service.call(()).await;
    assert!(matches!(
        refused,
        Err(ScheduledError::Service(ScheduledError::Scheduler(
            Error::NoExecutor { .. }
        )))
    ));
}
