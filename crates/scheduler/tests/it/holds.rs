//! Calls that are not over when their future is.

use std::sync::{Arc, Mutex};

use mainspring_scheduler::*;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::*;

fn with(tool: FnTool) -> Scheduler {
    let builder = Scheduler::builder().toolbox(Toolbox::new().with(tool).unwrap());
    builder.build().unwrap()
}

/// Threads cannot be stopped: what they may still write is kept from others.
#[tokio::test]
async fn a_blocking_call_that_is_stopped_keeps_its_keys_until_its_thread_is_done() {
    let (started, mut starts) = tokio::sync::mpsc::unbounded_channel();
    let (go, gate) = std::sync::mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let gauge = Gauge::default();
    let inside = gauge.clone();
    let write = FnTool::blocking("write", move |args, context| {
        let _inside = inside.enter();
        started.send(args["n"].as_u64()).unwrap();
        if args["n"] == 0 {
            gate.lock().unwrap().recv().unwrap();
            assert!(context.cancellation().is_cancelled());
        }
        match args["n"].as_u64() {
            Some(2) => panic!("no two"),
            n => Ok(ToolOutput::json(json!(n))),
        }
    })
    .access(|_| Access::write("file"));
    let scheduler = with(write);
    let call = |n: u64| ToolCall::new(n.to_string(), "write", json!({"n": n}));
    let token = CancellationToken::new();
    let mut first = scheduler.stream(vec![call(0).cancellation(token.clone())]);
    assert_eq!(starts.recv().await, Some(Some(0)));
    let mut second = scheduler.stream(vec![call(1), call(2)]);
    token.cancel();
    // Cancelled, but its thread goes on: nothing that conflicts may start.
    for _ in 0..50 {
        tokio::task::yield_now().await;
        assert!(
            futures_core::Stream::poll_next(
                std::pin::Pin::new(&mut first),
                &mut std::task::Context::from_waker(std::task::Waker::noop())
            )
            .is_pending()
        );
    }
    assert_eq!((gauge.now(), scheduler.stats().running), (1, 1));
    assert!(starts.try_recv().is_err());
    go.send(()).unwrap();
    let outcome = first.next().await.unwrap();
    assert_eq!(
        outcome.result.map_err(|error| error.kind),
        Err(CallErrorKind::Stopped(Stop::Cancelled))
    );
    assert_eq!(
        second.next().await.unwrap().result.unwrap().content,
        json!(1)
    );
    let kind = second.next().await.unwrap().result.unwrap_err().kind;
    assert_eq!(kind, CallErrorKind::Panicked);
    assert_eq!(gauge.most(), 1);
    assert_eq!(
        (scheduler.stats().running, scheduler.stats().keys_in_use),
        (0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_is_not_over_while_something_holds_it() {
    let holds = Arc::new(Mutex::new(Vec::new()));
    let held = holds.clone();
    let tool = FnTool::new("hold", move |args, context: ToolContext| {
        held.lock().unwrap().push(context.hold());
        async move {
            match args["ends"].as_bool() {
                Some(true) => Ok(ToolOutput::text("returned")),
                _ => std::future::pending().await,
            }
        }
    });
    let scheduler = with(tool);
    for (ends, timeout) in [(true, false), (false, true), (false, false)] {
        let call = ToolCall::new("a", "hold", json!({"ends": ends}));
        let call = match timeout {
            true => call.deadline(ms(5)),
            false => call,
        };
        let mut run = scheduler.stream(vec![call]);
        tokio::time::sleep(ms(10)).await;
        if !ends && !timeout {
            run.cancel();
        }
        tokio::time::sleep(ms(10)).await;
        assert_eq!(scheduler.stats().running, 1);
        let hold = holds.lock().unwrap().pop();
        drop(hold);
        let outcome = run.next().await.unwrap();
        assert_eq!(outcome.result.is_ok(), ends);
        assert_eq!(scheduler.stats().unfinished, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_call_spent_before_it_was_stopped_is_booked() {
    let holds = Arc::new(Mutex::new(Vec::new()));
    let held = holds.clone();
    let tool = FnTool::new("spend", move |_, context: ToolContext| {
        held.lock().unwrap().push(context.hold());
        let spent = Cost {
            tokens: 1,
            money: 70,
        };
        async move { Ok(ToolOutput::text("paid").with_usage(spent)) }
    })
    .cost(|_| Cost {
        tokens: 1,
        money: 100,
    });
    let scheduler = with(tool);
    let budget = Budget::new("session", 1_000);
    let call = ToolCall::new("a", "spend", json!({})).budget(budget.clone());
    let mut run = scheduler.stream(vec![call]);
    // It has answered, and something of it goes on.
    settle().await;
    assert_eq!(budget.left(), 900);
    run.cancel();
    settle().await;
    holds.lock().unwrap().clear();
    assert!(run.next().await.unwrap().result.is_err());
    assert_eq!((budget.spent(), budget.left()), (70, 930));
}

#[test]
fn a_blocking_call_that_is_stopped_before_it_has_a_thread_does_not_begin() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    let began = Arc::new(Mutex::new(Vec::new()));
    let record = began.clone();
    let (go, gate) = std::sync::mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let tool = FnTool::blocking("write", move |args, _| {
        record.lock().unwrap().push(args["n"].as_u64());
        gate.lock().unwrap().recv().unwrap();
        Ok(ToolOutput::text("written"))
    })
    .access(|_| Access::none());
    runtime.block_on(async {
        let scheduler = with(tool);
        let call = |n: u64| ToolCall::new(n.to_string(), "write", json!({"n": n}));
        let mut first = scheduler.stream(vec![call(0)]);
        settle().await;
        let mut second = scheduler.stream(vec![call(1)]);
        settle().await;
        second.cancel();
        settle().await;
        go.send(()).unwrap();
        go.send(()).unwrap();
        assert!(first.next().await.unwrap().result.is_ok());
        let kind = second.next().await.unwrap().result.unwrap_err().kind;
        assert_eq!(kind, CallErrorKind::Stopped(Stop::Cancelled));
    });
    assert_eq!(*began.lock().unwrap(), [Some(0)]);
}

#[tokio::test]
async fn questions_that_panic_when_they_are_dropped_take_no_outcome_along() {
    let tool = FnTool::new("ask", |_, _| async { Ok(ToolOutput::text("done")) });
    let scheduler = Scheduler::builder()
        .toolbox(Toolbox::new().with(tool).unwrap())
        .authorise(|_, _| Decision::Ask(Box::pin(Unruly::default())))
        .build()
        .unwrap();
    let call = |n: usize| ToolCall::new(n.to_string(), "ask", json!({}));
    let mut run = scheduler.stream((0..3).map(call).collect());
    run.cancel();
    for _ in 0..3 {
        let error = run.next().await.unwrap().result.unwrap_err();
        assert_eq!(error.kind, CallErrorKind::Stopped(Stop::Cancelled));
    }
    assert!(run.next().await.is_none());
    // And dropped as a whole.
    drop(scheduler.stream((0..3).map(call).collect()));
    assert_eq!(scheduler.stats().unfinished, 0);
}
