//! Dependencies between tasks.

use std::sync::{Arc, Mutex};

use mainspring_scheduler::*;
use proptest::prelude::*;

use crate::support::*;

fn scheduler(limit: usize) -> Scheduler {
    Scheduler::builder().limit(limit).build().unwrap()
}

/// swarms#2235
#[tokio::test(start_paused = true)]
async fn a_failed_dependency_skips_its_descendants_with_the_cause_and_feeds_them_nothing() {
    let fed = Arc::new(Mutex::new(Vec::new()));
    let mut dag: Dag<String> = Dag::new();
    let fetch = dag.node("fetch", &[], |_| async {
        Err(Error::Failed {
            message: "404 page not found".into(),
        })
    });
    let other = dag.node("other", &[], |_| async { Ok("fine".into()) });
    let seen = fed.clone();
    let summary = dag.node("summary", &[fetch, other], move |inputs| async move {
        seen.lock()
            .unwrap()
            .extend(inputs.iter().map(|i| i.to_string()));
        Ok("summary".into())
    });
    dag.node("report", &[summary], |_| async { Ok("report".into()) });
    dag.node("aside", &[other], |inputs| async move {
        Ok(format!("{}!", inputs[0]))
    });
    dag.node("panics", &[other], |_| async { panic!("bug") });
    let scheduler = scheduler(4);
    let outcomes = dag.run(&scheduler).await.unwrap();
    let error = Error::Failed {
        message: "404 page not found".into(),
    };
    assert_eq!(outcomes[0].result, Err(NodeError::Failed(error.clone())));
    let skipped = NodeError::Skipped {
        cause: "fetch".into(),
        error,
    };
    assert_eq!(outcomes[2].result, Err(skipped.clone()));
    assert_eq!(outcomes[3].result, Err(skipped.clone()));
    assert!(skipped.to_string().contains("fetch") && skipped.to_string().contains("404"));
    assert_eq!(**outcomes[4].result.as_ref().unwrap(), "fine!");
    assert_eq!(
        outcomes[5].result,
        Err(NodeError::Failed(Error::Panicked {
            message: "bug".into()
        }))
    );
    assert!(fed.lock().unwrap().is_empty());
    assert_idle(&scheduler);
}

#[tokio::test]
async fn a_cycle_is_reported_with_its_path() {
    let mut dag: Dag<()> = Dag::new();
    let start = dag.node("start", &[], |_| async { Ok(()) });
    let a = dag.node("a", &[start], |_| async { Ok(()) });
    let b = dag.node("b", &[a], |_| async { Ok(()) });
    let c = dag.node("c", &[b], |_| async { Ok(()) });
    dag.node("behind", &[c], |_| async { Ok(()) });
    dag.depend(a, c);
    let Err(Error::Cycle { path }) = dag.batches() else {
        panic!()
    };
    assert_eq!(path.len(), 4);
    assert_eq!(path.first(), path.last());
    let at = path.iter().position(|name| name == "a").unwrap() % 3;
    assert_eq!(
        [&path[at], &path[(at + 1) % 3], &path[(at + 2) % 3]],
        ["a", "b", "c"]
    );
    let error = dag.run(&scheduler(1)).await.unwrap_err();
    assert!(error.to_string().contains(" -> "), "{error}");
}

#[tokio::test(start_paused = true)]
async fn no_layer_waits_for_another() {
    let mut dag: Dag<()> = Dag::new();
    let sleep = |millis| async move {
        tokio::time::sleep(ms(millis)).await;
        Ok(())
    };
    let slow = dag.node("slow", &[], move |_| sleep(100));
    let quick = dag.node("quick", &[], move |_| sleep(10));
    let after_quick = dag.node("after quick", &[quick], move |_| sleep(90));
    let end = dag.node("end", &[slow, after_quick], move |_| sleep(10));
    assert_eq!(
        dag.batches().unwrap(),
        [vec![slow, quick], vec![after_quick], vec![end]]
    );
    let start = tokio::time::Instant::now();
    dag.run(&scheduler(4)).await.unwrap();
    assert_eq!(start.elapsed(), ms(110));
}

#[tokio::test(start_paused = true)]
async fn priority_is_inherited_by_dependencies() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let mut dag: Dag<()> = Dag::new();
    let mut add = |name: &'static str, after: &[NodeId], priority| {
        let log = log.clone();
        let node = dag.node(name, after, move |_| async move {
            log.lock().unwrap().push(name);
            Ok(())
        });
        dag.describe(
            node,
            Submission {
                priority,
                ..Submission::default()
            },
        );
        node
    };
    add("plain", &[], 0);
    let base = add("base", &[], -3);
    add("urgent", &[base], 5);
    let scheduler = Scheduler::builder()
        .limit(1)
        .policy(Policy::Priority)
        .build()
        .unwrap();
    dag.run(&scheduler).await.unwrap();
    assert_eq!(*log.lock().unwrap(), ["base", "urgent", "plain"]);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_run_stops_its_nodes_and_a_queue_too_small_takes_none() {
    let gauge = Gauge::default();
    let scheduler = Scheduler::builder()
        .limit(2)
        .max_queued(20)
        .build()
        .unwrap();
    let build = |count: usize| {
        let mut dag: Dag<()> = Dag::new();
        for i in 0..count {
            let gauge = gauge.clone();
            dag.node(format!("{i}"), &[], move |_| async move {
                let _inside = gauge.enter();
                std::future::pending().await
            });
        }
        dag
    };
    assert!(
        tokio::time::timeout(ms(10), build(10).run(&scheduler))
            .await
            .is_err()
    );
    settle().await;
    assert_eq!(gauge.now(), 0);
    assert_idle(&scheduler);
    let refused = build(21).run(&scheduler).await.unwrap_err();
    assert_eq!(refused, Error::Refused(Refused::Full { limit: 20 }));
    settle().await;
    assert_eq!(gauge.now(), 0);
    assert_idle(&scheduler);
}

#[tokio::test(start_paused = true)]
async fn a_run_dropped_after_any_number_of_polls_leaves_nothing() {
    let gauge = Gauge::default();
    let scheduler = scheduler(2);
    for polls in 0..40 {
        let mut dag: Dag<()> = Dag::new();
        let mut last: Vec<NodeId> = Vec::new();
        for layer in 0..4 {
            let before = std::mem::take(&mut last);
            for n in 0..3 {
                let gauge = gauge.clone();
                let node = dag.node(format!("{layer}.{n}"), &before, move |_| async move {
                    let _inside = gauge.enter();
                    tokio::task::yield_now().await;
                    Ok(())
                });
                let access = Access::write(if n == 0 { "a" } else { "a/b" });
                dag.describe(
                    node,
                    Submission {
                        access,
                        ..Submission::default()
                    },
                );
                last.push(node);
            }
        }
        let mut run = Box::pin(dag.run(&scheduler));
        let mut over = false;
        for _ in 0..polls {
            over = over
                || std::future::poll_fn(|cx| {
                    std::task::Poll::Ready(run.as_mut().poll(cx).is_ready())
                })
                .await;
            tokio::task::yield_now().await;
        }
        drop(run);
        settle().await;
        assert_eq!(gauge.now(), 0);
        assert_idle(&scheduler);
    }
}

#[tokio::test]
async fn a_long_chain_unwinds_on_a_flat_stack() {
    for fail in [false, true] {
        let mut dag: Dag<u64> = Dag::new();
        let mut last = dag.node("0", &[], move |_| async move {
            if fail {
                Err(Error::Failed {
                    message: "x".into(),
                })
            } else {
                Ok(0)
            }
        });
        for i in 1..20_000 {
            last = dag.node(i.to_string(), &[last], |inputs| async move {
                Ok(*inputs[0] + 1)
            });
        }
        let outcomes = dag.run(&scheduler(3)).await.unwrap();
        match &outcomes[19_999].result {
            Ok(sum) => assert_eq!(**sum, 19_999),
            Err(NodeError::Skipped { cause, .. }) => assert!(fail && cause == "0"),
            Err(other) => panic!("{other}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    /// Against the plain model: a node runs exactly when everything above it succeeded, after all of it.
    #[test]
    fn random_graphs_agree_with_the_model(
        edges in proptest::collection::vec(proptest::collection::vec(0usize..30, 0..4), 1..30),
        fails in proptest::collection::vec(proptest::bool::weighted(0.15), 30),
        limit in 1usize..5,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut dag: Dag<u64> = Dag::new();
        let mut ids = Vec::new();
        let mut expected: Vec<Option<u64>> = Vec::new();
        for (index, after) in edges.iter().enumerate() {
            let after: Vec<usize> = after.iter().copied().filter(|on| *on < index).collect();
            let fail = fails[index];
            let inputs: Option<Vec<u64>> = after.iter().map(|&on| expected[on]).collect();
            expected.push(inputs.filter(|_| !fail).map(|inputs| inputs.iter().fold(1u64, |a, b| a.wrapping_add(*b))));
            let parents: Vec<NodeId> = after.iter().map(|&on| ids[on]).collect();
            ids.push(dag.node(index.to_string(), &parents, move |inputs| async move {
                if fail {
                    return Err(Error::Failed { message: "x".into() });
                }
                Ok(inputs.iter().fold(1u64, |a, b| a.wrapping_add(**b)))
            }));
        }
        let scheduler = scheduler(limit);
        let outcomes = runtime.block_on(dag.run(&scheduler)).unwrap();
        for (outcome, expected) in outcomes.iter().zip(&expected) {
            prop_assert_eq!(outcome.result.as_ref().ok().map(|output| **output), *expected);
        }
        assert_idle(&scheduler);
    }
}
