//! The six phases, limits, cancellation, approval.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mainspring_scheduler::*;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::*;

fn with(tools: Vec<FnTool>) -> Scheduler {
    configured(tools, |builder| builder)
}

fn configured(
    tools: Vec<FnTool>,
    change: impl FnOnce(SchedulerBuilder) -> SchedulerBuilder,
) -> Scheduler {
    let mut toolbox = Toolbox::new();
    for tool in tools {
        toolbox.add(tool).unwrap();
    }
    change(Scheduler::builder().toolbox(toolbox))
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn ten_waiting_calls_take_the_time_of_one() {
    let gauge = Gauge::default();
    let scheduler = with(vec![sleeper("sleep", gauge.clone())]);
    let start = tokio::time::Instant::now();
    let outcomes = scheduler.run(sleeps(10, 100)).await;
    assert_eq!(start.elapsed(), ms(100));
    assert_eq!(
        outcomes.iter().map(|o| o.index).collect::<Vec<_>>(),
        (0..10).collect::<Vec<_>>()
    );
    assert!(
        outcomes
            .iter()
            .all(|o| o.result.is_ok() && o.ran == ms(100) && o.queued.is_zero())
    );
    assert_eq!(gauge.most(), 10);
    assert_idle(&scheduler);
}

#[tokio::test(start_paused = true)]
async fn the_limit_is_never_exceeded() {
    let gauge = Gauge::default();
    let scheduler = configured(vec![sleeper("sleep", gauge.clone())], |b| b.limit(3));
    let outcomes = scheduler.run(sleeps(20, 10)).await;
    assert_eq!(outcomes.len(), 20);
    assert_eq!((gauge.most(), scheduler.stats().max_running), (3, 3));
    assert_eq!(outcomes[19].queued, ms(60));
    let stats = scheduler.stats();
    assert_eq!((stats.submitted, stats.succeeded), (20, 20));
    assert_eq!(stats.tool("sleep").unwrap().mean_run, ms(10));
    assert!(stats.mean_queued > Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn each_phase_has_its_own_typed_error() {
    let typed = tool("typed", |_, _| async { Ok(ToolOutput::text("x")) }).schema(
        json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}),
    );
    let panics = tool("panics", |_, _| async { panic!("no such luck") });
    let hangs = tool("hangs", |_, _| std::future::pending()).timeout(ms(50));
    let large = tool("large", |_, _| async { Ok("x".repeat(2_000).into()) });
    let shape = tool("shape", |_, _| async { Ok(json!({"a": 1}).into()) })
        .output_schema(json!({"type": "array"}));
    let fails = tool("fails", |_, _| async { Err("disk on fire".into()) });
    let secret = tool("secret", |_, _| async { Ok("x".into()) });
    let dear = tool("dear", |_, _| async { Ok("x".into()) }).cost(|_| Cost {
        tokens: 0,
        money: 99,
    });
    let tools = vec![typed, panics, hangs, large, shape, fails, secret, dear];
    let scheduler = configured(tools, |builder| {
        builder
            .max_output(1_000)
            .budget(Budget::new("small", 10))
            .authorise(|call, _| {
                if call.name == "secret" {
                    Decision::Deny("secret".into())
                } else {
                    Decision::Allow
                }
            })
    });
    let names = [
        "nothing", "typed", "secret", "dear", "panics", "hangs", "fails", "large", "shape",
    ];
    let calls = names
        .iter()
        .enumerate()
        .map(|(i, name)| call(i, name, json!({})))
        .collect();
    let outcomes = scheduler.run(calls).await;
    let got: Vec<(Phase, CallErrorKind)> = outcomes
        .iter()
        .map(|o| {
            o.result
                .as_ref()
                .map_err(|e| (e.phase, e.kind.clone()))
                .unwrap_err()
        })
        .collect();
    let over = Error::OverBudget {
        needed: 99,
        available: 10,
        budget: "small".into(),
    };
    assert_eq!(
        got,
        vec![
            (Phase::Resolve, CallErrorKind::UnknownTool),
            (Phase::Validate, CallErrorKind::InvalidInput),
            (Phase::Authorise, CallErrorKind::Denied),
            (Phase::Reserve, CallErrorKind::NoRoom(over)),
            (Phase::Execute, CallErrorKind::Panicked),
            (Phase::Execute, CallErrorKind::Stopped(Stop::Timeout)),
            (
                Phase::Execute,
                CallErrorKind::Tool(ToolErrorKind::Permanent)
            ),
            (Phase::Check, CallErrorKind::Oversized),
            (Phase::Check, CallErrorKind::InvalidOutput),
        ]
    );
    assert!(
        outcomes[1].to_text().contains("\"n\""),
        "{}",
        outcomes[1].to_text()
    );
    assert!(outcomes[4].to_text().contains("no such luck"));
    let stats = scheduler.stats();
    let entered: Vec<u64> = Phase::ALL.iter().map(|&p| stats.phase(p).entered).collect();
    let failed: Vec<u64> = Phase::ALL.iter().map(|&p| stats.phase(p).failed).collect();
    assert_eq!(entered, [9, 8, 7, 6, 5, 2]);
    assert_eq!(failed, [1, 1, 1, 1, 3, 2]);
    assert_idle(&scheduler);
}

#[tokio::test(start_paused = true)]
async fn a_schema_that_cannot_be_checked_is_refused() {
    let strange = tool("t", |_, _| async { Ok("x".into()) }).schema(json!({"type": "objekt"}));
    assert!(matches!(
        Toolbox::new().with(strange),
        Err(BuildError::Schema { .. })
    ));
    let pattern = tool("t", |_, _| async { Ok("x".into()) }).schema(
        json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "^a"}}}),
    );
    let result = Toolbox::new().with(pattern);
    if cfg!(feature = "jsonschema") {
        let scheduler = Scheduler::builder()
            .toolbox(result.unwrap())
            .build()
            .unwrap();
        let outcomes = scheduler
            .run(vec![
                call(0, "t", json!({"a": "b"})),
                call(1, "t", json!({"a": "ab"})),
            ])
            .await;
        assert!(outcomes[0].result.is_err() && outcomes[1].result.is_ok());
    } else {
        let error = result.unwrap_err().to_string();
        assert!(
            error.contains("/properties/a/pattern") && error.contains("jsonschema"),
            "{error}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn undeclared_is_exclusive_and_declared_reads_are_not_serialised_behind_each_other() {
    let gauge = Gauge::default();
    let inside = gauge.clone();
    let undeclared = FnTool::new("undeclared", move |_, _| {
        let inside = inside.clone();
        async move {
            let _inside = inside.enter();
            tokio::time::sleep(ms(10)).await;
            Ok("x".into())
        }
    });
    let scheduler = with(vec![undeclared, sleeper("sleep", gauge.clone())]);
    let start = tokio::time::Instant::now();
    scheduler
        .run((0..5).map(|i| call(i, "undeclared", json!({}))).collect())
        .await;
    assert_eq!((gauge.most(), start.elapsed()), (1, ms(50)));
    let reads = (0..8).map(|i| call(i, "sleep", json!({"ms": 10, "reads": ["repo/a"]})));
    let start = tokio::time::Instant::now();
    scheduler.run(reads.collect()).await;
    assert_eq!((gauge.most(), start.elapsed()), (8, ms(10)));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_run_cancels_its_calls_and_no_others() {
    let gauge = Gauge::default();
    let scheduler = configured(vec![sleeper("sleep", gauge.clone())], |b| b.limit(4));
    let other = tokio::spawn({
        let scheduler = scheduler.clone();
        async move { scheduler.run(sleeps(2, 500)).await }
    });
    settle().await;
    let run = scheduler.run(sleeps(50, 1_000));
    assert!(tokio::time::timeout(ms(100), run).await.is_err());
    settle().await;
    assert_eq!((gauge.now(), scheduler.stats().running), (2, 2));
    assert!(other.await.unwrap().iter().all(|o| o.result.is_ok()));
    assert_eq!(scheduler.stats().cancelled, 50);
    assert_idle(&scheduler);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_has_a_result_too() {
    let gauge = Gauge::default();
    let scheduler = configured(vec![sleeper("sleep", gauge)], |b| b.limit(1));
    let token = CancellationToken::new();
    let calls = sleeps(3, 100)
        .into_iter()
        .map(|c| c.cancellation(token.clone()))
        .collect();
    let run = tokio::spawn({
        let scheduler = scheduler.clone();
        async move { scheduler.run(calls).await }
    });
    tokio::time::sleep(ms(150)).await;
    token.cancel();
    let outcomes = run.await.unwrap();
    assert!(outcomes[0].result.is_ok());
    let kind = |o: &ToolOutcome| o.result.as_ref().unwrap_err().kind.clone();
    assert_eq!(kind(&outcomes[1]), CallErrorKind::Stopped(Stop::Cancelled));
    assert_eq!(kind(&outcomes[2]), CallErrorKind::Stopped(Stop::Cancelled));
    assert_eq!((outcomes[1].attempts, outcomes[2].attempts), (1, 0));
    assert_idle(&scheduler);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_covers_the_queue_too() {
    let scheduler = configured(vec![sleeper("sleep", Gauge::default())], |b| b.limit(1));
    let calls = sleeps(3, 100)
        .into_iter()
        .map(|c| c.deadline(ms(150)))
        .collect();
    let start = tokio::time::Instant::now();
    let outcomes = scheduler.run(calls).await;
    assert!(
        start.elapsed() >= ms(150) && start.elapsed() <= ms(152),
        "{:?}",
        start.elapsed()
    );
    assert!(outcomes[0].result.is_ok());
    for outcome in &outcomes[1..] {
        assert_eq!(
            outcome.result.as_ref().unwrap_err().kind,
            CallErrorKind::Stopped(Stop::Deadline)
        );
    }
    assert_idle(&scheduler);
}

#[tokio::test(start_paused = true)]
async fn close_ends_everything_with_a_result() {
    let scheduler = configured(vec![sleeper("sleep", Gauge::default())], |b| b.limit(2));
    let mut outcomes = scheduler.stream(sleeps(5, 100));
    settle().await;
    scheduler.close();
    let mut ended = 0;
    while let Some(outcome) = outcomes.next().await {
        assert_eq!(
            outcome.result.unwrap_err().kind,
            CallErrorKind::Stopped(Stop::Closed)
        );
        ended += 1;
    }
    assert_eq!(ended, 5);
    let refused = scheduler.run(sleeps(1, 1)).await;
    let refusal = CallErrorKind::NoRoom(Error::Refused(Refused::Closed));
    assert_eq!(refused[0].result.as_ref().unwrap_err().kind, refusal);
    assert_idle(&scheduler);
}

#[test]
fn calls_of_a_runtime_that_went_away_end_and_later_ones_are_refused() {
    let scheduler = configured(vec![sleeper("sleep", Gauge::default())], |b| b.limit(2));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let mut outcomes = runtime.block_on(async { scheduler.stream(sleeps(2_000, 60_000)) });
    drop(runtime);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut ended = 0;
        while let Some(outcome) = outcomes.next().await {
            assert!(outcome.result.is_err());
            ended += 1;
        }
        assert_eq!(ended, 2_000);
        assert!(scheduler.run(sleeps(1, 1)).await[0].result.is_err());
    });
    assert_idle(&scheduler);
}

#[tokio::test(start_paused = true)]
async fn transient_errors_are_retried_without_holding_the_slot() {
    let runs = Arc::new(AtomicU32::new(0));
    let counted = runs.clone();
    let flaky = tool("flaky", move |_, context| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move {
            if context.attempt() < 3 {
                Err(ToolError::transient("reset"))
            } else {
                Ok("fine".into())
            }
        }
    });
    let scheduler = configured(vec![flaky, sleeper("sleep", Gauge::default())], |b| {
        b.limit(1)
    });
    let mut calls = vec![call(0, "flaky", json!({}))];
    calls.extend(sleeps(2, 10));
    let mut stream = scheduler.stream(calls);
    // The two others go first while the flaky one backs off.
    assert_eq!(stream.next().await.unwrap().tool, "sleep");
    assert_eq!(stream.next().await.unwrap().tool, "sleep");
    let flaky = stream.next().await.unwrap();
    assert_eq!((flaky.attempts, flaky.result.is_ok()), (3, true));
    assert!(stream.next().await.is_none());
    assert_eq!(
        (runs.load(Ordering::SeqCst), scheduler.stats().retries),
        (3, 2)
    );
}

#[tokio::test(start_paused = true)]
async fn output_is_streamed_while_the_call_runs() {
    let chatty = tool("chatty", |_, context| async move {
        for line in ["one", "two", "three"] {
            assert!(context.emit(line).await);
        }
        Ok("done".into())
    });
    let scheduler = with(vec![chatty]);
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let run = tokio::spawn({
        let scheduler = scheduler.clone();
        async move {
            scheduler
                .run(vec![call(0, "chatty", json!({})).output_to(sender)])
                .await
        }
    });
    let mut lines = Vec::new();
    while let Some(chunk) = receiver.recv().await {
        lines.push(chunk.text);
    }
    assert_eq!(lines, ["one", "two", "three"]);
    assert_eq!(run.await.unwrap()[0].to_text(), "done");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_a_human_holds_nothing_and_keeps_the_order_of_its_run() {
    let log = Arc::new(std::sync::Mutex::new(Vec::new()));
    let written = log.clone();
    let edit = FnTool::new("edit", move |args, _| {
        let written = written.clone();
        async move {
            written
                .lock()
                .unwrap()
                .push(args["what"].as_str().unwrap().to_owned());
            Ok("x".into())
        }
    })
    .access(|args| Access::write(args["file"].as_str().unwrap()));
    let (approvals, mut inbox) = Approvals::new(4);
    let scheduler = configured(vec![edit], |builder| {
        builder.limit(1).authorise(move |call, _| {
            if call.args["ask"] == true {
                approvals.ask(call)
            } else {
                Decision::Allow
            }
        })
    });
    let edit = |id, file: &str, what: &str, ask: bool| {
        call(id, "edit", json!({"file": file, "what": what, "ask": ask}))
    };
    let paused = tokio::spawn({
        let scheduler = scheduler.clone();
        let calls = vec![
            edit(0, "f", "asked", true),
            edit(1, "f", "after", false),
            edit(2, "g", "aside", false),
        ];
        async move { scheduler.run(calls).await }
    });
    settle().await;
    assert_eq!(*log.lock().unwrap(), ["aside"]);
    assert_idle(&scheduler);
    // Another session is not held up.
    scheduler.run(vec![edit(0, "f", "other", false)]).await;
    let question = inbox.next().await.unwrap();
    assert_eq!(
        (question.tool.as_str(), question.id.as_str()),
        ("edit", "call-0")
    );
    question.allow();
    assert!(paused.await.unwrap().iter().all(|o| o.result.is_ok()));
    assert_eq!(*log.lock().unwrap(), ["aside", "other", "asked", "after"]);

    let denied = tokio::spawn({
        let scheduler = scheduler.clone();
        let calls = vec![edit(0, "f", "never", true), edit(1, "f", "still", false)];
        async move { scheduler.run(calls).await }
    });
    inbox.next().await.unwrap().deny("too risky");
    let outcomes = denied.await.unwrap();
    assert!(outcomes[0].to_text().contains("too risky") && outcomes[1].result.is_ok());
    assert_eq!(log.lock().unwrap().last().unwrap(), "still");
    let late = scheduler
        .run(vec![edit(0, "f", "late", true).deadline(ms(100))])
        .await;
    assert_eq!(
        late[0].result.as_ref().unwrap_err().kind,
        CallErrorKind::Stopped(Stop::Deadline)
    );
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_kept_without_holding_slots() {
    let limiter = RateLimiter::new(10, 10.0).unwrap();
    let limited = tool("limited", |_, _| async { Ok("x".into()) })
        .endpoint("api")
        .cost(|_| Cost {
            tokens: 10,
            money: 0,
        });
    let scheduler = configured(vec![limited, sleeper("sleep", Gauge::default())], |b| {
        b.limit(1).rate("api", limiter)
    });
    let mut calls: Vec<ToolCall> = (0..3).map(|i| call(i, "limited", json!({}))).collect();
    calls.extend(sleeps(1, 100));
    let start = tokio::time::Instant::now();
    let outcomes = scheduler.run(calls).await;
    assert!(outcomes.iter().all(|o| o.result.is_ok()));
    assert_eq!(outcomes[3].queued + outcomes[3].ran, ms(100));
    assert!(
        start.elapsed() >= ms(2_000) && start.elapsed() < ms(2_010),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_panics_when_it_is_dropped_has_an_outcome_too() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    let bomb = tool("bomb", |_, _| async {
        let _bomb = Bomb;
        std::future::pending().await
    })
    .timeout(ms(10))
    .cost(|_| Cost {
        tokens: 0,
        money: 5,
    });
    let budget = Budget::new("b", 5);
    let scheduler = configured(vec![bomb], |b| b.budget(budget.clone()));
    let outcomes = scheduler.run(vec![call(0, "bomb", json!({}))]).await;
    assert_eq!(outcomes.len(), 1);
    assert_eq!(
        outcomes[0].result.as_ref().unwrap_err().kind,
        CallErrorKind::Stopped(Stop::Timeout)
    );
    assert_eq!(budget.stats().reserved, 0);
    assert_idle(&scheduler);
}

#[tokio::test(start_paused = true)]
async fn a_call_behind_one_that_waits_for_a_human_keeps_its_deadline_and_its_token() {
    let edit = FnTool::new("edit", |_, _| async { Ok("x".into()) }).access(|_| Access::write("f"));
    let scheduler = configured(vec![edit], |builder| {
        builder.authorise(|call, _| match call.id.as_str() {
            "call-0" => Decision::Ask(Box::pin(std::future::pending())),
            _ => Decision::Allow,
        })
    });
    let token = CancellationToken::new();
    let calls = vec![
        call(0, "edit", json!({})),
        call(1, "edit", json!({})).deadline(ms(100)),
        call(2, "edit", json!({})).cancellation(token.clone()),
    ];
    let mut outcomes = scheduler.stream(calls);
    let first = tokio::time::timeout(ms(150), outcomes.next()).await;
    let first = first.expect("the deadline passed").unwrap();
    let kind = |o: &ToolOutcome| o.result.as_ref().unwrap_err().kind.clone();
    assert_eq!(
        (first.index, kind(&first)),
        (1, CallErrorKind::Stopped(Stop::Deadline))
    );
    token.cancel();
    let second = tokio::time::timeout(ms(10), outcomes.next()).await;
    let second = second.expect("it was cancelled").unwrap();
    assert_eq!(
        (second.index, kind(&second)),
        (2, CallErrorKind::Stopped(Stop::Cancelled))
    );
}

#[tokio::test(start_paused = true)]
async fn a_question_that_panics_denies_its_call_alone() {
    let scheduler = configured(vec![sleeper("sleep", Gauge::default())], |builder| {
        builder.authorise(|call, _| match call.id.as_str() {
            "call-0" => Decision::Ask(Box::pin(async { panic!("no") })),
            _ => Decision::Allow,
        })
    });
    let outcomes = scheduler.run(sleeps(2, 10)).await;
    assert_eq!(
        outcomes[0].result.as_ref().unwrap_err().kind,
        CallErrorKind::Denied
    );
    assert!(outcomes[1].result.is_ok());
}

/// The tokens of calls that still wait are not asked again for every call that ends.
#[tokio::test]
async fn many_calls_with_a_token_take_linear_time() {
    let quick = tool("quick", |_, _| async { Ok("x".into()) });
    let scheduler = with(vec![quick]);
    let token = CancellationToken::new();
    let calls = (0..20_000)
        .map(|n| call(n, "quick", json!({})).cancellation(token.clone()))
        .collect();
    let start = std::time::Instant::now();
    assert_eq!(scheduler.run(calls).await.len(), 20_000);
    // A fraction of a second; asking them all each time takes a minute.
    assert!(start.elapsed() < Duration::from_secs(40));
}
