//! Agents that work well beside others that do not.

use std::{
    panic,
    time::{Duration, Instant},
};

use anyhow::Result;
use futures_util::future::join_all;
use mainspring_pool::{BufferPool, ResourcePool};
use mainspring_scheduler::{
    Access, AgentContext, AgentHandle, AgentReport, AgentSpec, Agents, Budget, Error, FnTool,
    Scheduler, Stop, ToolCall,
};
use serde_json::json;

use super::{
    agents::{BUFFER, COST, House, Lines, SHARE, settled, still_out, toolbox},
    runtime,
};
use crate::{Bench, Measured, PerInput, check};

/// Agents that live at once.
const GROUP: usize = 8;
/// What a well-behaved agent does: so many turns of two calls.
const TURNS: usize = 5;
const PAID: u64 = 2 * TURNS as u64 * COST;
/// The life of an agent that hangs.
const PATIENCE: Duration = Duration::from_millis(200);

/// What an agent does to others, or would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    Panics,
    PanicsInATool,
    Hangs,
    HangsInATool,
    Overspends,
    LeavesCallsBehind,
}

/// One agent in three harms, each in its way.
fn harm(n: usize) -> Option<Harm> {
    use Harm::{Hangs, HangsInATool, LeavesCallsBehind, Overspends, Panics, PanicsInATool};
    let kinds = [
        Panics,
        HangsInATool,
        Overspends,
        PanicsInATool,
        Hangs,
        LeavesCallsBehind,
    ];
    n.is_multiple_of(3).then(|| kinds[n / 3 % kinds.len()])
}

/// The share of well-behaved agents that notice nothing, and of what the others held that is back.
pub(super) fn unharmed(bench: &Bench) -> Result<Measured> {
    let count = bench.scale().pick(36, 360, 2_400);
    let runtime = runtime()?;
    let _entered = runtime.enter();
    let calm = runtime.block_on(lives(&house(count)?, 0..count, &|_| None))?;
    let house = house(count + GROUP)?;
    let agents = group(&house)?;
    let mut stormy = runtime.block_on(live_in(&agents, &house, 0..count, &harm))?;
    runtime.block_on(settled(&house.scheduler));
    // Whoever comes after them finds everything working.
    let late = live_in(&agents, &house, count..count + GROUP, &|_| None);
    stormy.extend(runtime.block_on(late)?);

    let (mut well, mut unharmed, mut spent) = (0, 0, 0);
    for (n, report) in stormy.iter().enumerate() {
        spent += report.spent;
        match harm(n).filter(|_| n < count) {
            Some(harm) => ends_as_it_must(bench, harm, report)?,
            None => {
                well += 1;
                unharmed += usize::from(noticed_nothing(bench, n, report)?);
            }
        }
    }
    let left = SHARE * (count + GROUP) as u64 - spent;
    let out = still_out(bench, &house, &agents, left)?;
    // A place in the group, a tool's place, a key, a line, a buffer, a share of the purse.
    let harmful = count + GROUP - well;
    let lent = 6 * harmful;
    let beside = stormy
        .iter()
        .enumerate()
        .filter(|(n, _)| harm(*n).is_none());
    let beside = beside.map(|(_, report)| report);
    let back = lent - out.min(lent);
    let figures = [
        ("unharmed", unharmed as f64 / well as f64),
        ("back", back as f64 / lent as f64),
        ("mean life, ms", mean(beside)),
        ("mean life among their like, ms", mean(calm.iter())),
    ];
    let input = PerInput::new(format!("{well} agents beside {harmful}"), figures);
    let share = (unharmed + back) as f64 / (well + lent) as f64;
    Ok(Measured::counted(share).on_inputs(vec![input]))
}

fn house(count: usize) -> Result<House> {
    let bursts = FnTool::new("burst", |_, _| async move {
        // As a panic, without the message on the terminal.
        panic::resume_unwind(Box::new("planted"))
    })
    .access(|_| Access::write("shared"));
    Ok(House {
        scheduler: Scheduler::builder()
            .toolbox(toolbox()?.with(bursts)?)
            .build()?,
        lines: ResourcePool::builder(Lines).max(GROUP).build()?,
        buffers: BufferPool::new(),
        purse: Budget::new("all", SHARE * count as u64),
    })
}

fn group(house: &House) -> Result<Agents> {
    Ok(Agents::new(&house.scheduler, GROUP)?.with_budget(house.purse.clone()))
}

/// How an agent ended: with so many right answers, after so long.
type Report = AgentReport<(usize, Duration)>;

async fn lives(
    house: &House,
    numbers: std::ops::Range<usize>,
    harm: &dyn Fn(usize) -> Option<Harm>,
) -> Result<Vec<Report>> {
    let agents = group(house)?;
    live_in(&agents, house, numbers, harm).await
}

async fn live_in(
    agents: &Agents,
    house: &House,
    numbers: std::ops::Range<usize>,
    harm: &dyn Fn(usize) -> Option<Harm>,
) -> Result<Vec<Report>> {
    let spawn = |n: usize| {
        let harm = harm(n);
        let timeout = match harm {
            Some(Harm::Hangs | Harm::HangsInATool) => PATIENCE,
            _ => Duration::from_secs(30),
        };
        let spec = AgentSpec::new(format!("agent-{n}"))
            .budget(SHARE)
            .tool_limit(2)
            .timeout(timeout);
        let house = house.clone();
        agents.spawn(spec, move |agent| live(agent, house, n, harm))
    };
    let handles: Vec<AgentHandle<_>> = numbers.map(spawn).collect::<Result<_, _>>()?;
    Ok(join_all(handles).await)
}

/// Takes one of everything, works, and does its harm, if it is of those.
async fn live(
    agent: AgentContext,
    house: House,
    n: usize,
    harm: Option<Harm>,
) -> Result<(usize, Duration), Error> {
    let started = Instant::now();
    let closed = |_| Error::Stopped(Stop::Closed);
    let line = house.lines.get().await.map_err(closed)?;
    let mut buffer = house.buffers.get(BUFFER);
    buffer.extend_from_slice(b"work");
    let mut right = 0;
    for turn in 0..TURNS {
        let file = |call: usize| n * 100 + turn * 2 + call;
        let calls = (0..2).map(|call| tool("pay", file(call))).collect();
        for (call, outcome) in agent.run(calls).await.into_iter().enumerate() {
            right += usize::from(outcome.to_text() == file(call).to_string());
        }
    }
    match harm {
        None => {}
        Some(Harm::Panics) => panic::resume_unwind(Box::new("planted")),
        Some(Harm::PanicsInATool) => drop(agent.run(vec![tool("burst", n)]).await),
        Some(Harm::Hangs) => std::future::pending().await,
        Some(Harm::HangsInATool) => drop(agent.run(vec![tool("hang", n)]).await),
        Some(Harm::Overspends) => {
            let calls = (0..SHARE as usize / COST as usize).map(|call| tool("pay", n * 100 + call));
            drop(agent.run(calls.collect()).await);
        }
        Some(Harm::LeavesCallsBehind) => {
            let calls = (0..8).map(|call| tool("hang", n * 100 + call));
            let behind = agent.stream(calls.collect());
            // They begin, and nobody waits for them.
            tokio::task::yield_now().await;
            drop(behind);
        }
    }
    drop((line, buffer));
    Ok((right, started.elapsed()))
}

fn tool(name: &str, n: usize) -> ToolCall {
    ToolCall::new(n.to_string(), name, json!({ "n": n }))
}

/// A harmful agent ends as its harm says, and pays no more than its share.
fn ends_as_it_must(bench: &Bench, harm: Harm, report: &Report) -> Result<()> {
    let fits = match (harm, &report.result) {
        (Harm::Panics, Err(Error::Panicked { .. }))
        | (Harm::Hangs | Harm::HangsInATool, Err(Error::Stopped(Stop::Timeout))) => {
            report.spent == PAID
        }
        (Harm::PanicsInATool | Harm::LeavesCallsBehind, Ok(_)) => report.spent == PAID,
        (Harm::Overspends, Ok(_)) => report.spent == SHARE,
        _ => false,
    };
    check(bench.answer(fits), "an agent ended as another should")
}

/// Whether a well-behaved agent got all its answers, which cost it what they cost.
fn noticed_nothing(bench: &Bench, n: usize, report: &Report) -> Result<bool> {
    let Ok((right, _)) = &report.result else {
        return Ok(false);
    };
    let named = bench.answer(report.name.clone());
    check(named == format!("agent-{n}"), "a report is another agent's")?;
    let right = bench.answer(*right);
    check(right == 2 * TURNS, "an agent has wrong answers")?;
    let spent = bench.answer(report.spent);
    check(spent == PAID, "an agent paid for another")?;
    Ok(true)
}

/// Milliseconds that agents lived which came to their end by themselves and did no harm.
fn mean<'a>(reports: impl Iterator<Item = &'a Report>) -> f64 {
    let ended = reports.filter_map(|report| report.result.as_ref().ok());
    let times: Vec<f64> = ended.map(|(_, took)| took.as_secs_f64() * 1e3).collect();
    times.iter().sum::<f64>() / times.len().max(1) as f64
}
