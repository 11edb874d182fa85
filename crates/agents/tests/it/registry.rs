//! Lazy components: single-flight, failures, cancellation, the critical set.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use mainspring_agents::{Error, LazyRegistry, LoadError};
use tokio::sync::Notify;

/// A component whose loads wait for a signal, fail while told to, and are counted.
#[derive(Default)]
struct Source {
    started: AtomicU32,
    failing: AtomicU32,
    go: Notify,
}

impl Source {
    async fn load(self: Arc<Self>) -> Result<u32, LoadError> {
        let number = self.started.fetch_add(1, Ordering::SeqCst) + 1;
        self.go.notified().await;
        match self
            .failing
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            }) {
            Ok(_) => Err(format!("load {number} failed").into()),
            Err(_) => Ok(number),
        }
    }

    fn registry(self: &Arc<Self>) -> Arc<LazyRegistry<u32>> {
        let source = Arc::clone(self);
        Arc::new(
            LazyRegistry::builder()
                .component("c", move || Arc::clone(&source).load())
                .build(),
        )
    }
}

fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn many_callers_share_one_load() {
    let source = Arc::new(Source::default());
    let registry = source.registry();
    let callers: Vec<_> = (0..50)
        .map(|_| {
            tokio::spawn({
                let registry = Arc::clone(&registry);
                async move { *registry.get("c").await.unwrap() }
            })
        })
        .collect();
    tokio::task::yield_now().await;
    assert_eq!(source.started.load(Ordering::SeqCst), 1);
    source.go.notify_one();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), 1);
    }
    let stats = &registry.stats()[0];
    assert_eq!(
        (stats.loads, stats.failures, stats.uses, stats.loaded),
        (1, 0, 50, true)
    );
}

#[tokio::test]
async fn a_failed_load_is_shared_by_those_who_waited_and_tried_again_by_the_next() {
    let source = Arc::new(Source::default());
    source.failing.store(1, Ordering::SeqCst);
    let registry = source.registry();
    let callers: Vec<_> = (0..10)
        .map(|_| {
            tokio::spawn({
                let registry = Arc::clone(&registry);
                async move { registry.get("c").await.map(|value| *value) }
            })
        })
        .collect();
    tokio::task::yield_now().await;
    source.go.notify_one();
    for caller in callers {
        let error = caller.await.unwrap().unwrap_err();
        assert!(error.to_string().contains("load 1 failed"), "{error}");
        assert!(std::error::Error::source(&error).is_some());
    }
    assert_eq!(
        source.started.load(Ordering::SeqCst),
        1,
        "no stampede of retries"
    );
    assert_eq!(registry.stats()[0].error.as_deref(), Some("load 1 failed"));

    source.go.notify_one();
    assert_eq!(*registry.get("c").await.unwrap(), 2);
    let stats = &registry.stats()[0];
    assert_eq!(
        (stats.loads, stats.failures, stats.error.as_deref()),
        (2, 1, None)
    );
}

#[tokio::test]
async fn a_cancelled_leader_hands_over() {
    let source = Arc::new(Source::default());
    let registry = source.registry();
    let mut leader = Box::pin(registry.get("c"));
    let mut waiter = pin!(registry.get("c"));
    assert!(poll(leader.as_mut()).is_pending());
    assert!(poll(waiter.as_mut()).is_pending());
    drop(leader);
    assert!(poll(waiter.as_mut()).is_pending());
    assert_eq!(
        source.started.load(Ordering::SeqCst),
        2,
        "the waiter loads now"
    );
    source.go.notify_one();
    assert_eq!(*waiter.await.unwrap(), 2);
    assert_eq!(
        registry.stats()[0].loads,
        1,
        "the load that nobody finished does not count"
    );
}

#[tokio::test]
async fn a_caller_dropped_at_any_poll_blocks_nobody() {
    for polls in 0..4 {
        let source = Arc::new(Source::default());
        let registry = source.registry();
        {
            let mut first = pin!(registry.get("c"));
            for _ in 0..polls {
                let _ = poll(first.as_mut());
            }
        }
        source.go.notify_one();
        assert!(registry.get("c").await.is_ok(), "after {polls} polls");
    }
}

#[tokio::test]
async fn a_panicking_loader_has_failed() {
    let registry = LazyRegistry::<u32>::builder()
        .critical("early", || -> std::future::Ready<Result<u32, LoadError>> {
            panic!("before the first await")
        })
        .critical("late", || async {
            tokio::task::yield_now().await;
            panic!("{}", "after it")
        })
        .critical("fine", || async { Ok(1) })
        .build();
    let report = registry.preload().await;
    let errors: Vec<_> = report
        .iter()
        .map(|load| load.error.as_deref().unwrap_or(""))
        .collect();
    assert_eq!(
        errors,
        [
            "the loader panicked: before the first await",
            "",
            "the loader panicked: after it"
        ]
    );
    assert!(matches!(
        registry.get("late").await,
        Err(Error::Load { .. })
    ));
}

#[tokio::test]
async fn the_critical_set_is_loaded_side_by_side_and_times_are_recorded() {
    let time = Arc::new(Mutex::new(Duration::ZERO));
    let gate = Arc::new(tokio::sync::Barrier::new(2));
    let (now, met, also_met) = (Arc::clone(&time), Arc::clone(&gate), gate);
    let ticking = Arc::clone(&time);
    let registry = LazyRegistry::builder()
        .clock(Arc::new(move || *now.lock().unwrap()))
        .critical("a", move || {
            let met = Arc::clone(&met);
            async move {
                met.wait().await;
                Ok(1)
            }
        })
        .critical("b", move || {
            let (met, time) = (Arc::clone(&also_met), Arc::clone(&ticking));
            async move {
                *time.lock().unwrap() += Duration::from_millis(40);
                met.wait().await;
                Ok(2)
            }
        })
        .component("lazy", || async { Ok(3) })
        .build();
    let report = registry.preload().await;
    assert!(
        report
            .iter()
            .all(|load| load.loaded && load.critical && load.uses == 0)
    );
    assert!(
        report
            .iter()
            .all(|load| load.load_time == Some(Duration::from_millis(40)))
    );
    assert_eq!(registry.peek("lazy"), None);
    assert_eq!(registry.peek("b").as_deref(), Some(&2));
}

#[tokio::test]
async fn most_used_names_and_lists_preload_them() {
    let registry = LazyRegistry::builder()
        .component("a", || async { Ok(1) })
        .component("b", || async { Ok(2) })
        .component("c", || async { Ok(3) })
        .build();
    for name in ["b", "b", "c", "b", "c"] {
        registry.get(name).await.unwrap();
    }
    assert_eq!(registry.most_used(5), ["b", "c"]);
    assert!(registry.unload("b") && !registry.unload("b"));
    let names = registry.most_used(1);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(registry.preload_list(&names).await.len(), 1);
    assert!(registry.peek("b").is_some());
    assert!(matches!(
        registry.get("missing").await,
        Err(Error::NotFound { .. })
    ));
}

#[tokio::test]
async fn a_reload_after_a_failure_and_an_unload_is_a_load() {
    let source = Arc::new(Source::default());
    let registry = source.registry();
    source.go.notify_one();
    let held = registry.get("c").await.unwrap();
    assert!(registry.unload("c"));
    assert_eq!(*held, 1, "those who hold it keep it");
    source.go.notify_one();
    assert_eq!(*registry.get("c").await.unwrap(), 2);
}
