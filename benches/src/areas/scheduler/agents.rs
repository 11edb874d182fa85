//! Sub-agents: how soon they are there, and what is left when they go.

use std::{
    convert::Infallible,
    panic,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use futures_util::future::join_all;
use mainspring_pool::{BufferPool, Manager, Pressure, ResourcePool};
use mainspring_scheduler::{
    Access, AgentContext, AgentHandle, AgentSpec, Agents, Budget, Cost, Error, FnTool, Scheduler,
    Stop, ToolCall, ToolOutput, Toolbox,
};
use serde_json::json;
use tokio::sync::{Barrier, mpsc};

use super::runtime;
use crate::{Bench, Clock, Contest, Measured, PerInput, check};

pub(super) const SHARE: u64 = 1_000;
pub(super) const BUFFER: usize = 16 << 10;
const LINES: usize = 5;

/// What a call of an agent costs.
pub(super) const COST: u64 = 10;

pub(super) struct Lines;

impl Manager for Lines {
    type Resource = ();
    type Error = Infallible;

    async fn connect(&self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// How an agent ends, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Well,
    Panics,
    Hangs,
    Fails,
}

fn end(n: usize) -> End {
    [End::Well, End::Panics, End::Hangs, End::Fails][n % 4]
}

/// Everything an agent can hold.
#[derive(Clone)]
pub(super) struct House {
    pub(super) scheduler: Scheduler,
    pub(super) lines: ResourcePool<Lines>,
    pub(super) buffers: BufferPool,
    pub(super) purse: Budget,
}

/// The share of what was lent that is back after agents panicked, hung and failed.
pub(super) fn recovery(bench: &Bench) -> Result<Measured> {
    let count = bench.scale().pick(12, 200, 2_000);
    let runtime = runtime()?;
    let _entered = runtime.enter();
    let house = House {
        scheduler: Scheduler::builder().toolbox(toolbox()?).build()?,
        lines: ResourcePool::builder(Lines).max(LINES).build()?,
        buffers: BufferPool::new(),
        purse: Budget::new("all", SHARE * count as u64),
    };
    let agents = Agents::new(&house.scheduler, LINES)?.with_budget(house.purse.clone());
    let spawn = |n: usize| {
        let timeout = match end(n) {
            End::Hangs => Duration::from_millis(200),
            _ => Duration::from_secs(30),
        };
        let spec = AgentSpec::new(format!("agent-{n}"))
            .budget(SHARE)
            .timeout(timeout);
        let house = house.clone();
        agents.spawn(spec, move |agent| live(agent, house, n))
    };
    let handles: Vec<AgentHandle<usize>> = (0..count).map(spawn).collect::<Result<_, _>>()?;
    let reports = runtime.block_on(join_all(handles));
    let mut spent = 0;
    for (n, report) in reports.into_iter().enumerate() {
        let fits = match (end(n), report.result) {
            (End::Well, Ok(answer)) => answer == n,
            (End::Panics, Err(Error::Panicked { .. }))
            | (End::Hangs, Err(Error::Stopped(Stop::Timeout)))
            | (End::Fails, Err(Error::Stopped(Stop::Closed))) => true,
            _ => false,
        };
        check(bench.answer(fits), "an agent ended as another should")?;
        let paid = bench.answer(report.spent);
        check(paid == COST, "an agent paid for something else")?;
        spent += paid;
    }
    runtime.block_on(settled(&house.scheduler));
    let out = still_out(bench, &house, &agents, SHARE * count as u64 - spent)?;
    // A place in the group, a tool's place, a key, a line, a buffer, a share of the purse.
    let lent = 6 * count;
    Ok(
        Measured::counted((lent - out.min(lent)) as f64 / lent as f64)
            .noting(format!("{count} agents, three in four end badly")),
    )
}

/// Takes one of everything, calls a tool, and ends as its number says.
async fn live(agent: AgentContext, house: House, n: usize) -> Result<usize, Error> {
    let line = house
        .lines
        .get()
        .await
        .map_err(|_| Error::Stopped(Stop::Closed))?;
    let mut buffer = house.buffers.get(BUFFER);
    buffer.extend_from_slice(b"work");
    let call = |tool: &str| ToolCall::new("call", tool, json!({ "n": n }));
    let outcome = agent.run(vec![call("pay")]).await.remove(0);
    match end(n) {
        End::Well => Ok(outcome.to_text().parse().unwrap_or(usize::MAX)),
        // As a panic, without the message on the terminal.
        End::Panics => panic::resume_unwind(Box::new("planted")),
        End::Hangs => {
            agent.run(vec![call("hang")]).await;
            drop((line, buffer));
            Ok(n)
        }
        End::Fails => Err(Error::Stopped(Stop::Closed)),
    }
}

pub(super) fn toolbox() -> Result<Toolbox> {
    let key = |args: &serde_json::Value| format!("file-{}", args["n"]);
    let pay = FnTool::new("pay", |args, _| async move {
        Ok(ToolOutput::text(args["n"].to_string()))
    })
    .access(move |args| Access::write(key(args).as_str()))
    .cost(|_| Cost {
        tokens: 0,
        money: COST,
    });
    let hang = FnTool::new("hang", |_, _| std::future::pending())
        .access(move |args| Access::write(key(args).as_str()));
    Ok(Toolbox::new().with(pay)?.with(hang)?)
}

/// Calls that were stopped go at their next await.
pub(super) async fn settled(scheduler: &Scheduler) {
    for _ in 0..1_000 {
        if scheduler.stats().unfinished == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// How many things are not back. What the books say is tried: everything is lent once more.
pub(super) fn still_out(bench: &Bench, house: &House, agents: &Agents, left: u64) -> Result<usize> {
    let (tools, group) = (house.scheduler.stats(), agents.stats());
    let lines = house.lines.stats();
    house.buffers.trim(Pressure::Critical);
    let buffers = house.buffers.stats().bytes / BUFFER;
    let purse = usize::from(house.purse.left() != left);
    let mut again = Vec::new();
    while let Some(line) = house.lines.try_get() {
        again.push(line);
    }
    let lent_again = bench.answer(again.len());
    check(
        lent_again + lines.in_use == lines.total,
        "the pool of lines does not know what it has",
    )?;
    let books = bench.answer(tools.keys_in_use == 0 || tools.unfinished > 0);
    check(books, "keys are held by nobody")?;
    Ok(tools.running + tools.keys_in_use + group.running + lines.in_use + buffers + purse)
}

pub(super) fn deploy_fifteen(bench: &Bench) -> Result<Measured> {
    deploy(bench, 15)
}

pub(super) fn deploy_one(bench: &Bench) -> Result<Measured> {
    deploy(bench, 1)
}

/// From the first spawn until every agent has had the answer of a tool, milliseconds.
fn deploy(bench: &Bench, count: usize) -> Result<Measured> {
    let runtime = runtime()?;
    let _entered = runtime.enter();
    let scheduler = Scheduler::builder().toolbox(toolbox()?).build()?;
    let deployed = |n: &mut dyn FnMut(usize, u64)| {
        runtime
            .block_on(isolated(&scheduler, count, n))
            .expect("settings are fine")
    };
    let mut left = Vec::new();
    deployed(&mut |n, budget| left.push((n, budget)));
    left.sort_unstable();
    check(
        bench.answer(left.len()) == count,
        "an agent was not deployed",
    )?;
    for (n, (agent, budget)) in left.into_iter().enumerate() {
        check(bench.answer(agent) == n, "an agent was deployed twice")?;
        let untouched = bench.answer(budget) == SHARE - COST;
        check(untouched, "an agent pays for another")?;
    }
    let standing = Contest::new(bench, 1)
        .clock(Clock::Wall)
        .side_timed("mainspring-scheduler", "", |_| deployed(&mut |_, _| ()))
        .side_timed("tokio::spawn, nothing isolated", "tokio 1", |_| {
            runtime.block_on(bare(count))
        })
        .run();
    let input = PerInput::new(
        "one agent of them",
        [("us", standing.time(1e3).value.median / count as f64)],
    );
    Ok(standing.time(1e6).on_inputs(vec![input]))
}

/// Deploys agents with a budget, a limit and a cancellation of their own; tells `each` its number
/// and what is left of its budget. Nanoseconds.
async fn isolated(
    scheduler: &Scheduler,
    count: usize,
    each: &mut dyn FnMut(usize, u64),
) -> Result<f64> {
    let purse = Budget::new("all", SHARE * count as u64);
    let agents = Agents::new(scheduler, count)?.with_budget(purse);
    let (there, mut arrivals) = mpsc::unbounded_channel();
    let all = Arc::new(Barrier::new(count + 1));
    let started = Instant::now();
    let mut handles = Vec::with_capacity(count);
    for n in 0..count {
        let (there, all) = (there.clone(), Arc::clone(&all));
        let spec = AgentSpec::new(format!("agent-{n}"))
            .budget(SHARE)
            .tool_limit(2);
        handles.push(agents.spawn(spec, move |agent| async move {
            let call = ToolCall::new("hello", "pay", json!({ "n": n }));
            let outcome = agent.run(vec![call]).await.remove(0);
            let budget = agent.budget().map_or(0, Budget::left);
            let answer = outcome.to_text().parse().unwrap_or(usize::MAX);
            // The other end waits for it.
            let _ = there.send((answer, budget));
            all.wait().await;
            Ok(())
        })?);
    }
    for _ in 0..count {
        if let Some((n, budget)) = arrivals.recv().await {
            each(n, budget);
        }
    }
    let took = crate::nanoseconds(started.elapsed());
    all.wait().await;
    join_all(handles).await;
    Ok(took)
}

/// As many tasks that say hello, with nothing around them.
async fn bare(count: usize) -> f64 {
    let (there, mut arrivals) = mpsc::unbounded_channel();
    let started = Instant::now();
    for n in 0..count {
        let there = there.clone();
        tokio::spawn(async move { there.send(n) });
    }
    for _ in 0..count {
        arrivals.recv().await;
    }
    crate::nanoseconds(started.elapsed())
}
