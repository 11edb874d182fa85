//! The limit on calls, and what a call costs beside its tool.

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use mainspring_inputs::Random;
use mainspring_scheduler::{
    Access, Budget, Cost, Decision, FnTool, RateLimiter, Scheduler, ToolCall, ToolOutput, Toolbox,
};
use serde_json::{Value, json};
use tokio::{
    sync::{Barrier, Semaphore},
    task::JoinSet,
};

use super::runtime;
use crate::{Bench, Contest, Measured, check};

const LIMIT: usize = 10;

/// The most tools at once among calls of which three in five only read.
pub(super) fn at_once(bench: &Bench) -> Result<Measured> {
    let count = bench.scale().pick(80, 800, 5_000);
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (now, peak) = (Arc::clone(&running), Arc::clone(&most));
    let work = FnTool::new("work", move |args, _| {
        let (now, peak) = (Arc::clone(&now), Arc::clone(&peak));
        async move {
            peak.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(1)).await;
            now.fetch_sub(1, Ordering::Relaxed);
            Ok(ToolOutput::text(args["n"].to_string()))
        }
    })
    .access(|args| {
        let file = args["file"].as_str().unwrap_or("");
        match args["writes"] == true {
            true => Access::write(file),
            false => Access::read(file),
        }
    });
    let together = Arc::new(Barrier::new(LIMIT));
    let safe = FnTool::new("safe", move |_, _| {
        let together = Arc::clone(&together);
        async move {
            together.wait().await;
            Ok(ToolOutput::text("met"))
        }
    })
    .access(|_| Access::read("one file"))
    .timeout(Duration::from_secs(5));
    let toolbox = Toolbox::new().with(work)?.with(safe)?;
    let (runtime, mut random) = (runtime()?, Random::new(21));
    let mut call = |n: usize| {
        let file = format!("file-{}", random.below(40));
        let args = json!({ "n": n, "file": file, "writes": random.chance(0.4) });
        ToolCall::new(n.to_string(), "work", args)
    };
    let calls = (0..count).map(&mut call).collect();
    let meeting = |n: usize| ToolCall::new(format!("safe-{n}"), "safe", json!({}));
    let scheduler = Scheduler::builder().toolbox(toolbox).build()?;
    let (outcomes, met) = runtime.block_on(async {
        let outcomes = scheduler.run(calls).await;
        (
            outcomes,
            scheduler.run((0..LIMIT).map(meeting).collect()).await,
        )
    });
    for (n, outcome) in outcomes.iter().enumerate() {
        let answer = bench.answer(outcome.to_text());
        check(answer == n.to_string(), "a call failed")?;
    }
    let most = most.load(Ordering::Relaxed);
    let counted = bench.answer(scheduler.stats().max_running);
    check(counted == most, "the scheduler does not know what it ran")?;
    check(most >= LIMIT, "calls were held back below the limit")?;
    for outcome in met {
        let answer = bench.answer(outcome.to_text());
        check(answer == "met", "safe calls ran one behind the other")?;
    }
    Ok(Measured::counted(most as f64))
}

/// What the six phases add to a tool that does nothing, microseconds a call.
pub(super) fn six_phases(bench: &Bench) -> Result<Measured> {
    let count = bench.scale().pick(100, 1_000, 1_000);
    let runtime = runtime()?;
    let scheduler = guarded()?;
    let outcomes = runtime.block_on(scheduler.run(calls(count)));
    for (n, outcome) in outcomes.iter().enumerate() {
        let answer = bench.answer(outcome.to_text());
        check(answer == answer_to(n), "a call failed")?;
    }
    let stats = scheduler.stats();
    for phase in stats.phases {
        let entered = bench.answer(phase.entered);
        check(entered == count as u64, "a call went round a phase")?;
    }
    let standing = Contest::new(bench, count as u64)
        .side_timed("mainspring-scheduler", "", |clock| {
            let calls = calls(count);
            clock.time(|| {
                black_box(runtime.block_on(scheduler.run(calls)));
            })
        })
        .side_timed("JoinSet + Semaphore, no phases", "tokio 1", |clock| {
            let calls = calls(count);
            clock.time(|| {
                black_box(runtime.block_on(unguarded(calls)));
            })
        })
        .run();
    Ok(standing.time(1e3))
}

/// Every phase has something to do.
fn guarded() -> Result<Scheduler> {
    let tool = FnTool::new("answer", |args, _| async move { Ok(answer(&args)) })
        .schema(json!({
            "type": "object",
            "properties": {
                "path": { "type": "string", "minLength": 1 },
                "n": { "type": "integer", "minimum": 0 },
            },
            "required": ["path", "n"],
            "additionalProperties": false,
        }))
        .output_schema(json!({ "type": "string" }))
        .access(|args| Access::read(args["path"].as_str().unwrap_or("")))
        .endpoint("server")
        .cost(|_| Cost {
            tokens: 1,
            money: 1,
        });
    let builder = Scheduler::builder()
        .toolbox(Toolbox::new().with(tool)?)
        .rate("server", RateLimiter::new(1 << 50, 1e15)?)
        .budget(Budget::new("all", u64::MAX / 2))
        .authorise(|call, _| match call.name.is_empty() {
            true => Decision::Deny("nobody".into()),
            false => Decision::Allow,
        });
    Ok(builder.build()?)
}

fn calls(count: usize) -> Vec<ToolCall> {
    let call = |n: usize| {
        let args = json!({ "path": format!("src/file_{}.rs", n % 50), "n": n });
        ToolCall::new(n.to_string(), "answer", args)
    };
    (0..count).map(call).collect()
}

fn answer(args: &Value) -> ToolOutput {
    ToolOutput::text(format!("answer {}", args["n"]))
}

fn answer_to(n: usize) -> String {
    format!("answer {n}")
}

/// The tool alone, under the same limit.
async fn unguarded(calls: Vec<ToolCall>) -> Vec<ToolOutput> {
    let permits = Arc::new(Semaphore::new(LIMIT));
    let mut set = JoinSet::new();
    for call in calls {
        let permits = Arc::clone(&permits);
        set.spawn(async move {
            let _permit = permits.acquire().await.expect("it is open");
            answer(&call.args)
        });
    }
    set.join_all().await
}
