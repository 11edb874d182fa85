//! Tools and checks that several modules use.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use mainspring_scheduler::*;
use serde_json::{Value, json};

/// Counts how many are inside, now and at most.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gauge {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Gauge {
    pub(crate) fn enter(&self) -> Inside {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        Inside(self.now.clone())
    }

    pub(crate) fn now(&self) -> usize {
        self.now.load(Ordering::SeqCst)
    }

    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

pub(crate) struct Inside(Arc<AtomicUsize>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Sleeps for `args.ms`, reads `args.reads`, writes `args.writes` (lists of keys).
pub(crate) fn sleeper(name: &str, gauge: Gauge) -> FnTool {
    FnTool::new(name, move |args: Value, _| {
        let gauge = gauge.clone();
        async move {
            let _inside = gauge.enter();
            tokio::time::sleep(ms(args["ms"].as_u64().unwrap_or(1))).await;
            Ok(ToolOutput::text("slept"))
        }
    })
    .access(|args| {
        let keys = |name: &str| {
            let list = args[name].as_array().into_iter().flatten();
            list.filter_map(Value::as_str)
                .map(ResourceKey::new)
                .collect()
        };
        Access {
            reads: keys("reads"),
            writes: keys("writes"),
            exclusive: false,
        }
    })
}

pub(crate) fn tool<F, Fut>(name: &str, run: F) -> FnTool
where
    F: Fn(Value, ToolContext) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<ToolOutput, ToolError>> + Send + 'static,
{
    FnTool::new(name, run).access(|_| Access::none())
}

pub(crate) fn call(id: usize, name: &str, args: Value) -> ToolCall {
    ToolCall::new(format!("call-{id}"), name, args)
}

pub(crate) fn sleeps(count: usize, millis: u64) -> Vec<ToolCall> {
    (0..count)
        .map(|id| call(id, "sleep", json!({ "ms": millis })))
        .collect()
}

/// Nothing runs, waits or is held.
pub(crate) fn assert_idle(scheduler: &Scheduler) {
    let stats = scheduler.stats();
    assert_eq!(
        (stats.running, stats.unfinished, stats.keys_in_use),
        (0, 0, 0),
        "{stats:?}"
    );
}

/// Lets every task that can go on do so, without letting time pass.
pub(crate) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// A future that cannot be dropped in peace.
pub(crate) struct Unruly<T>(PhantomData<T>);

impl<T> Default for Unruly<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T> Future for Unruly<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<T> {
        Poll::Pending
    }
}

impl<T> Drop for Unruly<T> {
    fn drop(&mut self) {
        panic!("dropped");
    }
}
