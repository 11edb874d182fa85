//! Calls under the documented mix of faults.

use std::{
    panic,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::Result;
use futures_util::future::join_all;
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
/// Agents that work side by side, and the files that they work on.
const AGENTS: usize = 5;
const FILES: usize = 40;

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
    let server = Server::new(count)?;
    let calls = (0..count).map(|n| call(n, None)).collect();
    let outcomes = runtime()?.block_on(server.scheduler.run(calls));
    let tally = server.judge(bench, &outcomes)?;
    let input = PerInput::new(format!("{count} calls at limit 10"), tally.figures());
    Ok(Measured::counted(tally.recovered()).on_inputs(vec![input]))
}

/// The share of calls that succeed, of those that can: agents that work in turns of a few calls on
/// files that they share.
pub(super) fn succeeded(bench: &Bench) -> Result<Measured> {
    let count = bench.scale().pick(150, 3_000, 30_000);
    let server = Server::new(count)?;
    let agents: Vec<_> = (0..AGENTS)
        .map(|agent| (count * agent / AGENTS, count * (agent + 1) / AGENTS))
        .collect();
    let lived = runtime()?.block_on(join_all(
        agents
            .into_iter()
            .map(|(first, last)| in_turns(&server.scheduler, first, last)),
    ));
    let (outcomes, turns): (Vec<_>, Vec<_>) = lived.into_iter().unzip();
    let tally = server.judge(bench, &outcomes.concat())?;
    let turns = turns.concat();
    let mean = turns.iter().sum::<Duration>().as_secs_f64() / turns.len().max(1) as f64;
    let input = PerInput::new(
        format!("{count} calls of {AGENTS} agents at limit 10"),
        tally.figures(),
    );
    let note = format!(
        "mean queueing {:.2} ms a call, a turn {:.1} ms; {:.1} % of all calls succeed, {:.2} % of the \
         recoverable faults are recovered",
        tally.queued.as_secs_f64() * 1e3,
        mean * 1e3,
        tally.of_all() * 100.0,
        tally.recovered() * 100.0
    );
    Ok(Measured::counted(tally.of_possible())
        .on_inputs(vec![input])
        .noting(note))
}

/// An agent's calls, a turn after the other, and how long each turn took.
async fn in_turns(
    scheduler: &Scheduler,
    first: usize,
    last: usize,
) -> (Vec<ToolOutcome>, Vec<Duration>) {
    let mut random = Random::new(first as u64);
    let (mut outcomes, mut turns) = (Vec::new(), Vec::new());
    let mut next = first;
    while next < last {
        let end = (next + random.between(1, 12)).min(last);
        let calls = (next..end).map(|n| call(n, Some(random.below(FILES))));
        let calls = calls.collect();
        let started = Instant::now();
        outcomes.extend(scheduler.run(calls).await);
        turns.push(started.elapsed());
        next = end;
    }
    (outcomes, turns)
}

/// A call of that number; on a file, which one in four writes.
fn call(n: usize, file: Option<usize>) -> ToolCall {
    let number = match lasting(n) {
        Some(Fault::Invalid) => json!("many"),
        _ => json!(n),
    };
    let mut args = json!({ "n": number });
    if let Some(file) = file {
        args["file"] = json!(format!("src/file_{file}.rs"));
        args["writes"] = json!(n.is_multiple_of(4));
    }
    ToolCall::new(n.to_string(), "flaky", args)
}

/// A scheduler whose only tool talks to a server that fails.
struct Server {
    scheduler: Scheduler,
    log: Arc<Mutex<Log>>,
}

/// How the calls came out.
struct Tally {
    calls: usize,
    possible: u32,
    succeeded: u32,
    hit: u32,
    survived: u32,
    retries: u64,
    queued: Duration,
}

impl Server {
    fn new(count: usize) -> Result<Self> {
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
        Ok(Self { scheduler, log })
    }

    /// Refuses a lost, doubled or mistaken call, and counts the rest.
    fn judge(&self, bench: &Bench, outcomes: &[ToolOutcome]) -> Result<Tally> {
        let log = self.log.lock().expect("nobody panics under the lock");
        let calls = log.begun.len();
        check(
            bench.answer(outcomes.len()) == calls,
            "calls and outcomes differ in number",
        )?;
        let stats = self.scheduler.stats();
        let mut tally = Tally {
            calls,
            possible: 0,
            succeeded: 0,
            hit: 0,
            survived: 0,
            retries: stats.retries,
            queued: stats.mean_queued,
        };
        for (n, outcome) in outcomes.iter().enumerate() {
            judge(bench, &log, n, outcome)?;
            let succeeded = u32::from(outcome.result.is_ok());
            tally.succeeded += succeeded;
            if lasting(n).is_none() {
                tally.possible += 1;
                if passing(n, 1).is_some() {
                    tally.hit += 1;
                    tally.survived += succeeded;
                }
            }
        }
        let early = bench.answer(log.early);
        check(early == 0, "a call went out while the server wanted quiet")?;
        let left = bench.answer(stats.unfinished + stats.running);
        check(left == 0, "a call is left behind")?;
        Ok(tally)
    }
}

impl Tally {
    fn recovered(&self) -> f64 {
        f64::from(self.survived) / f64::from(self.hit.max(1))
    }

    fn of_possible(&self) -> f64 {
        f64::from(self.succeeded) / f64::from(self.possible.max(1))
    }

    fn of_all(&self) -> f64 {
        f64::from(self.succeeded) / self.calls as f64
    }

    fn figures(&self) -> [(&'static str, f64); 4] {
        [
            ("succeeded", self.of_all()),
            ("recovered", self.recovered()),
            ("retries", self.retries as f64),
            ("mean queueing, ms", self.queued.as_secs_f64() * 1e3),
        ]
    }
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
    .access(|args| match (args["file"].as_str(), &args["writes"]) {
        (None, _) => Access::none(),
        (Some(file), writes) if writes == true => Access::write(file),
        (Some(file), _) => Access::read(file),
    })
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
