//! What hurt people, one test each.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use mainspring_scheduler::*;
use serde_json::json;

use crate::support::*;

/// gemini-cli#26731, pi#2327, llxprt-code#3239, mastra#24433
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn parallel_edits_of_one_file_lose_none() {
    let file = Arc::new(Mutex::new(String::new()));
    let edited = file.clone();
    let edit = FnTool::new("edit", move |args, _| {
        let file = edited.clone();
        async move {
            // Read, think, write: loses an edit whenever two overlap.
            let before = file.lock().unwrap().clone();
            tokio::task::yield_now().await;
            *file.lock().unwrap() = format!("{before}{},", args["n"]);
            Ok("edited".into())
        }
    })
    .access(|args| Access::write(args["path"].as_str().unwrap()));
    let toolbox = Toolbox::new().with(edit).unwrap();
    let scheduler = Scheduler::builder().toolbox(toolbox).build().unwrap();
    let spellings = ["src/main.rs", "./src/main.rs", "src//x/../main.rs"];
    let calls = (0..100).map(|n| call(n, "edit", json!({"path": spellings[n % 3], "n": n})));
    let outcomes = scheduler.run(calls.collect()).await;
    assert!(outcomes.iter().all(|o| o.result.is_ok()));
    let expected: String = (0..100).map(|n| format!("{n},")).collect();
    assert_eq!(*file.lock().unwrap(), expected);
    assert_idle(&scheduler);
}

/// claude-code#72672, pawwork#1348
#[tokio::test(start_paused = true)]
async fn one_refusal_pauses_every_caller_and_there_is_no_storm() {
    for header in ["30", "Fri, 15 Jan 2027 08:00:30 GMT"] {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        let start = tokio::time::Instant::now();
        let ask = tool("ask", move |_, _| {
            let seen = seen.clone();
            async move {
                seen.lock().unwrap().push(start.elapsed());
                tokio::time::sleep(ms(10)).await;
                if start.elapsed() < Duration::from_secs(30) {
                    return Err(ToolError::rate_limited("429", RetryAfter::parse(header)));
                }
                Ok("fine".into())
            }
        })
        .endpoint("api");
        let toolbox = Toolbox::new().with(ask).unwrap();
        // 2027-01-15 08:00:00 GMT when the test starts.
        let wall =
            move || SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + start.elapsed();
        let scheduler = Scheduler::builder()
            .toolbox(toolbox)
            .limit(4)
            .wall_clock(wall)
            .build()
            .unwrap();
        let outcomes = scheduler
            .run((0..100).map(|i| call(i, "ask", json!({}))).collect())
            .await;
        assert!(outcomes.iter().all(|o| o.result.is_ok()));
        let requests = requests.lock().unwrap();
        let early = requests
            .iter()
            .filter(|at| **at < Duration::from_millis(29_990))
            .count();
        assert_eq!(
            early, 4,
            "only those that were under way when the first refusal came"
        );
        assert_eq!(requests.len(), 104);
        let mut late: Vec<_> = requests.iter().skip(4).collect();
        late.dedup();
        assert!(late.len() > 20, "callers return spread out, not as one");
    }
}

/// claude-code#72672: a wall-clock budget, and failed runs are paid for.
#[tokio::test(start_paused = true)]
async fn retries_end_with_the_wall_clock_and_their_money_is_counted() {
    let always = tool("always", |_, _| async {
        tokio::time::sleep(ms(100)).await;
        Err(ToolError::transient("503").with_usage(Cost {
            tokens: 0,
            money: 7,
        }))
    })
    .cost(|_| Cost {
        tokens: 0,
        money: 50,
    });
    let toolbox = Toolbox::new().with(always).unwrap();
    let retry = Retry {
        attempts: 1_000,
        within: Duration::from_secs(20),
        ..Retry::default()
    };
    let budget = Budget::new("b", 10_000);
    let builder = Scheduler::builder()
        .toolbox(toolbox)
        .retry(retry)
        .budget(budget.clone());
    let scheduler = builder.build().unwrap();
    let start = tokio::time::Instant::now();
    let outcome = scheduler
        .run(vec![call(0, "always", json!({}))])
        .await
        .remove(0);
    assert!(start.elapsed() <= ms(20_200), "{:?}", start.elapsed());
    assert!(outcome.attempts > 3);
    assert_eq!(budget.spent(), 7 * u64::from(outcome.attempts));
    assert_eq!(budget.stats().reserved, 0);
}

/// litellm#34732, litellm#18730
#[test]
fn racing_reservations_never_overrun_a_budget() {
    let global = Budget::new("global", 10_000);
    let sessions: Vec<Budget> = (0..4)
        .map(|i| global.child(&format!("s{i}"), 4_000))
        .collect();
    let granted = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (sessions, global, granted) = (&sessions, &global, &granted);
            scope.spawn(move || {
                for i in 0..125 {
                    let session = &sessions[(thread + i) % 4];
                    let stats = global.stats();
                    assert!(stats.spent + stats.reserved <= stats.limit, "{stats:?}");
                    if let Ok(reservation) = session.reserve(66) {
                        std::thread::yield_now();
                        granted.fetch_add(66, Ordering::SeqCst);
                        reservation.settle(66);
                    }
                }
            });
        }
    });
    assert_eq!(global.spent(), granted.load(Ordering::SeqCst));
    assert!(global.spent() <= 10_000 && global.spent() > 10_000 - 66);
    assert!(sessions.iter().all(|s| s.spent() <= 4_000));
    assert_eq!(global.stats().reserved, 0);
}

/// litellm#27639, and every other leak: the run is dropped after each number of polls.
#[tokio::test(start_paused = true)]
async fn dropping_at_every_poll_returns_money_rate_slots_and_keys() {
    let gauge = Gauge::default();
    let entered = gauge.clone();
    let step = FnTool::new("step", move |args, context| {
        let gauge = entered.clone();
        async move {
            let _inside = gauge.enter();
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            if args["fail"] == true && context.attempt() == 1 {
                let usage = Cost {
                    tokens: 5,
                    money: 5,
                };
                return Err(ToolError::transient("again").with_usage(usage));
            }
            Ok("x".into())
        }
    })
    .access(|args| Access::write(args["key"].as_str().unwrap()))
    .endpoint("api")
    .cost(|_| Cost {
        tokens: 5,
        money: 5,
    });
    let toolbox = Toolbox::new().with(step).unwrap();
    let limiter = RateLimiter::new(1_000_000, 1e-9).unwrap();
    let budget = Budget::new("b", 1_000_000);
    let scheduler = Scheduler::builder()
        .toolbox(toolbox)
        .limit(2)
        .rate("api", limiter.clone())
        .budget(budget.clone())
        .build()
        .unwrap();
    let mut finished = false;
    for polls in 0..200 {
        let calls = (0..4)
            .map(|i| {
                let key = ["a", "a/b", "c", ""][i];
                call(i, "step", json!({"key": key, "fail": i == 1}))
            })
            .collect();
        let mut run = Box::pin(scheduler.run(calls));
        for _ in 0..polls {
            let step =
                std::future::poll_fn(|cx| std::task::Poll::Ready(run.as_mut().poll(cx).is_ready()));
            finished = step.await;
            if finished {
                break;
            }
            tokio::task::yield_now().await;
            if polls > 100 {
                tokio::time::advance(ms(20)).await;
            }
        }
        drop(run);
        settle().await;
        assert_idle(&scheduler);
        assert_eq!(gauge.now(), 0);
        assert_eq!(budget.stats().reserved, 0);
        let used = 1_000_000 - limiter.available(scheduler.now());
        assert_eq!(used, budget.spent());
        if finished {
            break;
        }
    }
    assert!(finished, "the last rounds run to the end");
}

/// vllm#20608
#[test]
fn shortest_first_starves_no_long_job() {
    let bound = ms(2_000);
    let mut machine = Machine::new(1, Policy::ShortestFirst, bound);
    let mut actions = Vec::new();
    let submission = |kind: &str| Submission {
        kind: kind.into(),
        ..Submission::default()
    };
    for (kind, run) in [("long", 1_000), ("short", 10)] {
        let id = machine.submit(submission(kind), ms(0)).unwrap();
        machine.apply(Event::Tick, ms(0), &mut actions);
        machine.apply(Event::Finished(id, Verdict::Success), ms(run), &mut actions);
    }
    actions.clear();
    // Short jobs come as fast as they are done, for ever.
    let mut now = ms(1_000);
    let mut running = machine.submit(submission("short"), now).unwrap();
    let long = machine.submit(submission("long"), now).unwrap();
    machine.apply(Event::Tick, now, &mut actions);
    for _ in 0..1_000 {
        machine.submit(submission("short"), now).unwrap();
        now += ms(10);
        actions.clear();
        machine.apply(
            Event::Finished(running, Verdict::Success),
            now,
            &mut actions,
        );
        let Some(Action::Start(next)) = actions.first().copied() else {
            panic!("{actions:?}")
        };
        if next == long {
            assert!(now > ms(1_100), "it is longer, so it waits at first");
            assert!(now <= ms(1_000) + bound + ms(10), "started at {now:?}");
            return;
        }
        running = next;
    }
    panic!("the long job starved");
}

/// A permit is not held by a future that nobody polls.
#[tokio::test(start_paused = true)]
async fn a_run_that_nobody_polls_holds_no_slot() {
    let toolbox = Toolbox::new()
        .with(sleeper("sleep", Gauge::default()))
        .unwrap();
    let scheduler = Scheduler::builder()
        .toolbox(toolbox)
        .limit(1)
        .build()
        .unwrap();
    let mut unpolled = scheduler.stream(sleeps(3, 10));
    // Would wait for ever if progress of the first run needed its owner.
    let outcomes = scheduler.run(sleeps(2, 10)).await;
    assert!(outcomes.iter().all(|o| o.result.is_ok()));
    assert_eq!(scheduler.stats().succeeded, 5);
    let mut ended = 0;
    while unpolled.next().await.is_some() {
        ended += 1;
    }
    assert_eq!(ended, 3);
}

/// Every future of every kind of fault, many times over: one result per call, all slots back.
#[tokio::test(start_paused = true)]
async fn a_mix_of_faults_loses_and_doubles_no_call() {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let faulty = tool("faulty", move |args, context| {
        let n = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            tokio::time::sleep(ms(n as u64 % 7)).await;
            let kind = args["n"].as_u64().unwrap() % 100;
            match kind {
                0..5 if context.attempt() == 1 => Err(ToolError::transient("reset")),
                5..7 if context.attempt() == 1 => {
                    Err(ToolError::rate_limited("429", RetryAfter::parse("1")))
                }
                7 => std::future::pending().await,
                8 => panic!("bug"),
                _ => Ok("x".into()),
            }
        }
    })
    .endpoint("api")
    .timeout(ms(500))
    .schema(json!({"type": "object", "properties": {"n": {"type": "integer"}}}));
    let toolbox = Toolbox::new().with(faulty).unwrap();
    let scheduler = Scheduler::builder().toolbox(toolbox).build().unwrap();
    let calls = (0..2_000).map(|n| {
        let args = if n % 100 == 9 {
            json!({"n": "nine"})
        } else {
            json!({"n": n})
        };
        call(n, "faulty", args)
    });
    let outcomes = scheduler.run(calls.collect()).await;
    assert_eq!(outcomes.len(), 2_000);
    for (index, outcome) in outcomes.iter().enumerate() {
        assert_eq!(outcome.index, index);
        match index % 100 {
            7 => assert_eq!(
                outcome.result.as_ref().unwrap_err().kind,
                CallErrorKind::Stopped(Stop::Timeout)
            ),
            8 => assert_eq!(
                outcome.result.as_ref().unwrap_err().kind,
                CallErrorKind::Panicked
            ),
            9 => assert_eq!(
                outcome.result.as_ref().unwrap_err().kind,
                CallErrorKind::InvalidInput
            ),
            _ => assert!(outcome.result.is_ok(), "{outcome:?}"),
        }
    }
    assert_idle(&scheduler);
}
