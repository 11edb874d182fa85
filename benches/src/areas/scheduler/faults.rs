//! Calls under the documented mix of faults.

use std::{
    panic,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::Result;
use mainspring_inputs::Random;
use mainspring_scheduler::{
    Access, CallErrorKind, FnTool, Retry, RetryAfter, Scheduler, Stop, ToolCall, ToolError,
    ToolOutcome, ToolOutput, Toolbox,
};
use serde_json::json;

use super::runtime;
use crate::{Bench, Measured, PerInput, check};

/// What the server says after a 429.
const PAUSE: Duration = Duration::from_millis(5);
/// Long enough that no call but a hanging one meets it, on a busy machine either.
const TIMEOUT: Duration = Duration::from_millis(300);

/// How a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Hangs,
    Panics,
    Invalid,
}

/// One call in a hundred each hangs, panics, or has arguments that do not fit.
fn lasting(n: usize) -> Option<Fault> {
    match Random::new(n as u64).below(100) {
        0 => Some(Fault::Hangs),
        1 => Some(Fault::Panics),
        2 => Some(Fault::Invalid),
        _ => None,
    }
}

/// Five runs in a hundred fail for once, two are refused with a `Retry-After`.
fn passing(n: usize, attempt: u32) -> Option<ToolError> {
    let mut random = Random::new((n as u64) << 8 | u64::from(attempt) | 1 << 63);
    match random.below(100) {
        0..5 => Some(ToolError::transient("503")),
        5..7 => Some(ToolError::rate_limited(
            "429",
            Some(RetryAfter::Delay(PAUSE)),
        )),
        _ => None,
    }
}

/// What the tool saw.
#[derive(Debug, Default)]
struct Log {
    /// Runs of each call that came to their end.
    done: Vec<u32>,
    /// Runs of each call that were begun.
    begun: Vec<u32>,
    /// Until when the server wants to hear from nobody.
    closed: Option<Instant>,
    early: usize,
}

/// The share of passing faults that the calls survived.
pub(super) fn recovered(bench: &Bench) -> Result<Measured> {
    let count = bench.scale().pick(300, 4_000, 40_000);
    let log = Arc::new(Mutex::new(Log {
        done: vec![0; count],
        begun: vec![0; count],
        ..Log::default()
    }));
    let scheduler = Scheduler::builder()
        .toolbox(Toolbox::new().with(flaky(&log))?)
        .retry(Retry {
            base: Duration::from_millis(1),
            ..Retry::default()
        })
        .build()?;
    let call = |n: usize| {
        let args = match lasting(n) {
            Some(Fault::Invalid) => json!({ "n": "many" }),
            _ => json!({ "n": n }),
        };
        ToolCall::new(n.to_string(), "flaky", args)
    };
    let outcomes = runtime()?.block_on(scheduler.run((0..count).map(call).collect()));
    let log = log.lock().expect("nobody panics under the lock");
    check(
        bench.answer(outcomes.len()) == count,
        "calls and outcomes differ in number",
    )?;
    let (mut hit, mut survived, mut succeeded) = (0u32, 0u32, 0u32);
    for (n, outcome) in outcomes.iter().enumerate() {
        judge(bench, &log, n, outcome)?;
        succeeded += u32::from(outcome.result.is_ok());
        if lasting(n).is_none() && passing(n, 1).is_some() {
            hit += 1;
            survived += u32::from(outcome.result.is_ok());
        }
    }
    let early = bench.answer(log.early);
    check(early == 0, "a call went out while the server wanted quiet")?;
    let stats = scheduler.stats();
    let left = bench.answer(stats.unfinished + stats.running);
    check(left == 0, "a call is left behind")?;
    let figures = [
        ("succeeded", f64::from(succeeded) / count as f64),
        ("retries", stats.retries as f64),
        ("mean queueing, ms", stats.mean_queued.as_secs_f64() * 1e3),
    ];
    let input = PerInput::new(format!("{count} calls at limit 10"), figures);
    Ok(Measured::counted(f64::from(survived) / f64::from(hit.max(1))).on_inputs(vec![input]))
}

/// A tool of one server that goes wrong as drawn.
fn flaky(log: &Arc<Mutex<Log>>) -> FnTool {
    let log = Arc::clone(log);
    FnTool::new("flaky", move |args, context| {
        let log = Arc::clone(&log);
        async move {
            let n = args["n"].as_u64().unwrap_or(0) as usize;
            let note = |note: &mut dyn FnMut(&mut Log)| note(&mut log.lock().expect("no panic"));
            note(&mut |log| {
                log.begun[n] += 1;
                log.early += usize::from(log.closed.is_some_and(|closed| Instant::now() < closed));
            });
            tokio::time::sleep(Duration::from_millis(1)).await;
            match lasting(n) {
                Some(Fault::Hangs) => std::future::pending().await,
                // As a panic, without the message on the terminal.
                Some(Fault::Panics) => panic::resume_unwind(Box::new("planted")),
                _ => {}
            }
            if let Some(error) = passing(n, context.attempt()) {
                if error.message == "429" {
                    note(&mut |log| log.closed = Some(Instant::now() + PAUSE));
                }
                return Err(error);
            }
            note(&mut |log| log.done[n] += 1);
            Ok(ToolOutput::text(format!("done {n}")))
        }
    })
    .schema(json!({ "type": "object", "properties": { "n": { "type": "integer" } } }))
    .access(|_| Access::none())
    .endpoint("server")
    .timeout(TIMEOUT)
}

/// Every call has the one outcome that fits it, and ran to its end once at most.
fn judge(bench: &Bench, log: &Log, n: usize, outcome: &ToolOutcome) -> Result<()> {
    let id = bench.answer(outcome.id.clone());
    check(id == n.to_string(), "an outcome belongs to another call")?;
    let kind = outcome.result.as_ref().err().map(|error| &error.kind);
    let (fits, begun, done) = match lasting(n) {
        None => {
            let text = bench.answer(outcome.to_text());
            let right = kind.is_some() || text == format!("done {n}");
            check(right, "a call answers for another")?;
            (true, outcome.attempts, u32::from(kind.is_none()))
        }
        Some(Fault::Hangs) => (kind == Some(&CallErrorKind::Stopped(Stop::Timeout)), 1, 0),
        Some(Fault::Panics) => (kind == Some(&CallErrorKind::Panicked), 1, 0),
        Some(Fault::Invalid) => (kind == Some(&CallErrorKind::InvalidInput), 0, 0),
    };
    check(bench.answer(fits), "an outcome does not fit its fault")?;
    check(
        bench.answer(log.begun[n]) == begun,
        "a run was lost or doubled",
    )?;
    check(bench.answer(log.done[n]) == done, "a call ran twice")
}
