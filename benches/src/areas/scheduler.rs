//! Tools side by side.

use std::time::{Duration, Instant};

use anyhow::Result;
use mainspring_scheduler::{Access, FnTool, Scheduler, ToolCall, ToolOutput, Toolbox};
use serde_json::json;

use super::check;
use crate::{Interval, Measured};

const CALLS: usize = 10;
const WAIT: Duration = Duration::from_millis(50);

/// Ten calls that wait, at a limit of ten, against one after the other.
pub(super) fn waiting_calls() -> Result<Measured> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let mut speedups = Vec::new();
    for round in 0..5 {
        let wait = FnTool::new("wait", |_, _| async {
            tokio::time::sleep(WAIT).await;
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
            check(
                outcomes.iter().all(|outcome| outcome.to_text() == "waited"),
                "a call failed",
            )?;
            anyhow::Ok((together, started.elapsed()))
        })?;
        check(
            scheduler.stats().max_running <= CALLS,
            "the limit was exceeded",
        )?;
        speedups.push(alone.as_secs_f64() / together.as_secs_f64());
    }
    speedups.sort_by(f64::total_cmp);
    let value = Interval {
        median: speedups[2],
        low: speedups[0],
        high: speedups[4],
    };
    Ok(Measured::Value {
        value,
        peers: Vec::new(),
    })
}
