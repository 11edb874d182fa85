//! Paths of work in progress: checked-out resources, tool calls, tasks.

use std::{hint::black_box, io};

use anyhow::Result;
use mainspring_pool::{Manager, ResourcePool};
use mainspring_scheduler::{Access, FnTool, Scheduler, Submission, ToolCall, ToolOutput, Toolbox};
use serde_json::json;
use tokio::runtime::Runtime;

use super::{HotPath, Operations};

pub(super) const PATHS: &[HotPath] = &[
    HotPath {
        name: "pool.checkout",
        burst: 5_000,
        prepare: pool_checkout,
    },
    HotPath {
        name: "scheduler.call",
        burst: 200,
        prepare: scheduler_call,
    },
    HotPath {
        name: "scheduler.task",
        burst: 1_000,
        prepare: scheduler_task,
    },
];

fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?)
}

struct Numbers;

impl Manager for Numbers {
    type Resource = u64;
    type Error = io::Error;

    async fn connect(&self) -> Result<u64, io::Error> {
        Ok(7)
    }
}

fn pool_checkout() -> Result<Operations> {
    let runtime = runtime()?;
    let pool = {
        let _inside = runtime.enter();
        ResourcePool::builder(Numbers).max(4).build()?
    };
    Ok(Box::new(move |count| {
        runtime.block_on(async {
            for _ in 0..count {
                black_box(*pool.get().await.expect("a number is there"));
            }
        });
    }))
}

fn scheduler_call() -> Result<Operations> {
    let runtime = runtime()?;
    let tool = FnTool::new("noop", |_, _| async { Ok(ToolOutput::text("done")) })
        .access(|_| Access::read("shared"));
    let scheduler = Scheduler::builder()
        .seed(1)
        .toolbox(Toolbox::new().with(tool)?)
        .build()?;
    Ok(Box::new(move |count| {
        runtime.block_on(async {
            for _ in 0..count {
                let call = ToolCall::new("call", "noop", json!({}));
                black_box(scheduler.run(vec![call]).await);
            }
        });
    }))
}

fn scheduler_task() -> Result<Operations> {
    let runtime = runtime()?;
    let scheduler = Scheduler::builder().seed(1).build()?;
    Ok(Box::new(move |count| {
        runtime.block_on(async {
            let mut handles = Vec::with_capacity(count as usize);
            for n in 0..count {
                let handle = scheduler.submit(Submission::default(), async move { Ok(n) });
                handles.push(handle.expect("the queue takes a task"));
            }
            for handle in handles {
                black_box(handle.await.expect("a task that returns"));
            }
        });
    }))
}
