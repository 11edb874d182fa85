//! Calls that wait: how much of the waiting overlaps.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::Result;
use futures_util::future::join_all;
use mainspring_scheduler::{Access, FnTool, Scheduler, ToolCall, ToolOutput, Toolbox};
use serde_json::json;
use tokio::sync::{RwLock, Semaphore};

use super::{
    runtime,
    turns::{Planned, bound, turn, work},
};
use crate::{Bench, Interval, Measured, Peer, check};

const LIMIT: usize = 10;

/// Ten calls that wait, at a limit of ten, against one after the other.
pub(super) fn ten_calls(bench: &Bench) -> Result<Measured> {
    let wait = Duration::from_millis(bench.scale().pick(2, 50, 50));
    let runtime = runtime()?;
    let mut speedups = Vec::new();
    for round in 0..bench.scale().pick(1, 6, 12) {
        let wait = FnTool::new("wait", move |_, _| async move {
            tokio::time::sleep(wait).await;
            Ok(ToolOutput::text("waited"))
        })
        .access(|_| Access::read("shared"));
        let toolbox = Toolbox::new().with(wait)?;
        let scheduler = Scheduler::builder().limit(LIMIT).toolbox(toolbox).build()?;
        let call = |n: usize| ToolCall::new(format!("{round}-{n}"), "wait", json!({}));
        let (together, alone) = runtime.block_on(async {
            let started = Instant::now();
            let outcomes = scheduler.run((0..LIMIT).map(call).collect()).await;
            let together = started.elapsed();
            let started = Instant::now();
            for n in 0..LIMIT {
                scheduler.run(vec![call(n)]).await;
            }
            for outcome in &outcomes {
                let answer = bench.answer(outcome.to_text());
                check(answer == "waited", "a call failed")?;
            }
            anyhow::Ok((together, started.elapsed()))
        })?;
        check(
            scheduler.stats().max_running <= LIMIT,
            "the limit was exceeded",
        )?;
        speedups.push(alone.as_secs_f64() / together.as_secs_f64());
    }
    Ok(Measured::sampled(speedups))
}

/// Generated turns: the bound that the critical path sets, over the time they took. Turns run at
/// the same time, each under a scheduler of its own; they only wait.
pub(super) fn critical_path(bench: &Bench) -> Result<Measured> {
    let unit = Duration::from_millis(bench.scale().pick(4, 20, 25));
    let turns_a_round = bench.scale().pick(6, 16, 24);
    let runtime = runtime()?;
    let mut reached = Vec::new();
    let mut peers = Vec::new();
    for round in 0..bench.scale().pick(1, 3, 16) {
        let turns: Vec<Vec<Planned>> = (0..turns_a_round)
            .map(|n| turn(round * 1_000 + n, unit))
            .collect();
        let least: f64 = turns.iter().map(|turn| seconds(bound(turn, LIMIT))).sum();
        let ours = runtime.block_on(join_all(turns.iter().map(|turn| scheduled(bench, turn))));
        let ours: f64 = ours.into_iter().sum::<Result<f64>>()?;
        reached.push(least / ours);
        if round == 0 {
            let locked = runtime.block_on(join_all(turns.iter().map(|turn| one_lock(turn))));
            let alone: f64 = turns.iter().map(|turn| seconds(work(turn))).sum();
            let peer =
                |name, version, took: f64| Peer::counted(name, version, least / took, least / ours);
            peers = vec![
                peer(
                    "one RwLock: readers together, writers alone",
                    "tokio 1",
                    locked.into_iter().sum(),
                ),
                peer("one after the other", "computed", alone),
            ];
        }
    }
    let median = Interval::of(&reached).median;
    Ok(Measured::sampled(reached)
        .beside("bound / time", median, peers)
        .more_is_better())
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

type Spans = Arc<Mutex<Vec<Option<(Instant, Instant)>>>>;

/// Seconds that our scheduler takes for the turn.
async fn scheduled(bench: &Bench, turn: &[Planned]) -> Result<f64> {
    let spans: Spans = Arc::new(Mutex::new(vec![None; turn.len()]));
    let (seen, plan) = (Arc::clone(&spans), turn.to_vec());
    let access: Vec<Access> = turn.iter().map(Planned::access).collect();
    let number = |args: &serde_json::Value| args["n"].as_u64().unwrap_or(0) as usize;
    let tool = FnTool::new("work", move |args, _| {
        let (seen, at) = (Arc::clone(&seen), number(&args));
        let wait = plan[at].wait;
        async move {
            let started = Instant::now();
            tokio::time::sleep(wait).await;
            seen.lock().expect("nobody panics")[at] = Some((started, Instant::now()));
            Ok(ToolOutput::text(at.to_string()))
        }
    })
    .access(move |args| access[number(args)].clone());
    let toolbox = Toolbox::new().with(tool)?;
    let scheduler = Scheduler::builder().limit(LIMIT).toolbox(toolbox).build()?;
    let call = |n: usize| ToolCall::new(n.to_string(), "work", json!({ "n": n }));
    let started = Instant::now();
    let outcomes = scheduler.run((0..turn.len()).map(call).collect()).await;
    let took = seconds(started.elapsed());
    for (n, outcome) in outcomes.iter().enumerate() {
        let answer = bench.answer(outcome.to_text());
        check(answer == n.to_string(), "a call failed")?;
    }
    let spans = spans.lock().expect("nobody panics");
    for (at, call) in turn.iter().enumerate() {
        let before = turn[..at].iter().zip(spans.iter());
        let mut conflicting = before.filter(|(other, _)| other.conflicts(call));
        let in_order = conflicting.all(|(_, span)| match (span, spans[at]) {
            (Some((_, end)), Some((start, _))) => *end <= start,
            _ => false,
        });
        check(bench.answer(in_order), "two calls got in each other's way")?;
    }
    Ok(took)
}

/// Seconds that the usual guard takes: what reads runs together, what writes runs alone.
async fn one_lock(turn: &[Planned]) -> f64 {
    let (lock, permits) = (RwLock::new(()), Semaphore::new(LIMIT));
    let started = Instant::now();
    let (lock, permits) = (&lock, &permits);
    join_all(turn.iter().map(|call| async move {
        let writing = match call.writes {
            true => Some(lock.write().await),
            false => None,
        };
        let reading = match call.writes {
            true => None,
            false => Some(lock.read().await),
        };
        let permit = permits.acquire().await.expect("it is open");
        tokio::time::sleep(call.wait).await;
        drop((writing, reading, permit));
    }))
    .await;
    seconds(started.elapsed())
}
