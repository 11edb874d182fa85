//! Tools side by side.

use std::time::{Duration, Instant};

use anyhow::Result;
use mainspring_scheduler::{Access, FnTool, Scheduler, ToolCall, ToolOutput, Toolbox};
use serde_json::json;

use super::Benchmark;
use crate::{Bench, Measured, check};

pub(super) const ROWS: &[(&str, Benchmark)] = &[("parallel.speedup", waiting_calls)];

const CALLS: usize = 10;

/// Ten calls that wait, at a limit of ten, against one after the other.
fn waiting_calls(bench: &Bench) -> Result<Measured> {
    let wait = Duration::from_millis(bench.scale().pick(2, 50, 50));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let mut speedups = Vec::new();
    for round in 0..bench.scale().pick(1, 8, 12) {
        let wait = FnTool::new("wait", move |_, _| async move {
            tokio::time::sleep(wait).await;
            Ok(ToolOutput::text("waited"))
        })
        .access(|_| Access::read("shared"));
        let toolbox = Toolbox::new().with(wait)?;
        let scheduler = Scheduler::builder().limit(CALLS).toolbox(toolbox).build()?;
        let call = |n: usize| ToolCall::new(format!("{round}-{n}"), "wait", json!({}));
        let (together, alone) = runtime.block_on(async {
            let started = Instant::now();
            let outcomes = scheduler.run((0..CALLS).map(call).collect()).await;
            let together = started.elapsed();
            let started = Instant::now();
            for n in 0..CALLS {
                scheduler.run(vec![call(n)]).await;
            }
            for outcome in &outcomes {
                let answer = bench.answer(outcome.to_text());
                check(answer == "waited", "a call failed")?;
            }
            anyhow::Ok((together, started.elapsed()))
        })?;
        check(
            scheduler.stats().max_running <= CALLS,
            "the limit was exceeded",
        )?;
        speedups.push(alone.as_secs_f64() / together.as_secs_f64());
    }
    Ok(Measured::sampled(speedups))
}
