//! Labels that belong to a task.

use mainspring_monitor::{Registry, TaskLabels, Value};

fn block_on<F: Future>(work: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build();
    runtime.expect("a runtime").block_on(work)
}

#[test]
fn labels_follow_the_task_nest_and_never_reach_another() {
    block_on(async {
        assert_eq!(TaskLabels::current(), TaskLabels::default());
        let outer = TaskLabels::new(&[("agent", "a"), ("session", "1")]);
        outer
            .scope(async {
                let inner = TaskLabels::new(&[("agent", "b")]);
                let seen = inner.scope(async { TaskLabels::current() }).await;
                assert_eq!(seen, TaskLabels::new(&[("agent", "b"), ("session", "1")]));
                tokio::task::yield_now().await;
                assert_eq!(TaskLabels::current(), outer);
                let spawned = tokio::spawn(async { TaskLabels::current() });
                assert_eq!(spawned.await.expect("ended"), TaskLabels::default());
            })
            .await;
        assert_eq!(TaskLabels::current(), TaskLabels::default());
    });
}

#[test]
fn what_a_caller_names_wins() {
    let registry = Registry::new();
    block_on(
        TaskLabels::new(&[("agent", "a"), ("session", "1")]).scope(async {
            TaskLabels::with(&[("agent", "own")], |labels| {
                registry.counter("c", labels).add(3)
            });
        }),
    );
    let own = registry.snapshot();
    let value = own.get("c", &[("agent", "own"), ("session", "1")]);
    assert_eq!(value, Some(&Value::Count(3)));
}

#[test]
#[cfg(feature = "metrics")]
fn the_facade_adds_them_when_it_is_asked_to() {
    use mainspring_monitor::Recorder;
    for asked in [true, false] {
        let registry = Registry::new();
        let mut recorder = Recorder::new(&registry);
        if asked {
            recorder = recorder.task_labels();
        }
        // The macros must not be called across an await with a local recorder: one thread, no await.
        block_on(TaskLabels::new(&[("agent", "a")]).scope(async {
            metrics::with_local_recorder(&recorder, || {
                metrics::counter!("c", "tool" => "t").increment(1);
                metrics::gauge!("g").set(2.0);
                metrics::histogram!("h", "agent" => "own").record(1.0);
            });
        }));
        let snapshot = registry.snapshot();
        let with = snapshot.get("c", &[("agent", "a"), ("tool", "t")]);
        assert_eq!(with.is_some(), asked);
        assert_eq!(snapshot.get("g", &[("agent", "a")]).is_some(), asked);
        assert!(snapshot.get("h", &[("agent", "own")]).is_some());
    }
}
