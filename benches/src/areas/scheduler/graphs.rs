//! Graphs of nodes that do next to nothing.

use std::{hint::black_box, sync::Arc};

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use dagrs::{
    Action, Content, DefaultNode, EnvVar, Graph, InChannels, Node as _, NodeTable, OutChannels,
    Output,
};
use dagx::{DagRunner, TaskHandle, task_fn};
use mainspring_scheduler::{Dag, NodeId, Scheduler};
use tokio::runtime::Runtime;

use super::runtime;
use crate::{Bench, Contest, Measured, check};

const DAGX: &str = "dagx";

/// What each node waits for, at most one other node that comes before it.
type Parents = Vec<Option<usize>>;

/// Runs the graph and adds up what its nodes gave.
type Side = fn(&Runtime, &Parents) -> Result<u64>;

pub(super) fn independent(bench: &Bench) -> Result<Measured> {
    contest(bench, &vec![None; bench.scale().pick(300, 10_000, 10_000)])
}

pub(super) fn chain(bench: &Bench) -> Result<Measured> {
    let chain = (0..100usize).map(|at| at.checked_sub(1));
    contest(bench, &chain.collect())
}

pub(super) fn fan_out(bench: &Bench) -> Result<Measured> {
    let leaves = (0..100).map(|_| Some(0));
    contest(bench, &std::iter::once(None).chain(leaves).collect())
}

/// Every node gives one more than the node that it waits for: all sides must find the same sum.
fn contest(bench: &Bench, parents: &Parents) -> Result<Measured> {
    let mut depths: Vec<u64> = Vec::with_capacity(parents.len());
    for parent in parents {
        depths.push(parent.map_or(1, |parent| depths[parent] + 1));
    }
    let right: u64 = depths.iter().sum();
    let runtime = &runtime()?;
    let sides: [(&str, &str, Side); 3] = [
        ("mainspring-scheduler", "", ours),
        (DAGX, "0.3", by_dagx),
        ("dagrs", "0.9", by_dagrs),
    ];
    let mut contest = Contest::new(bench, parents.len() as u64);
    for (name, version, run) in sides {
        let sum = bench.answer(run(runtime, parents).with_context(|| name.to_owned())?);
        check(sum == right, "a node was lost or got another's input")?;
        contest = contest.side(name, version, move || {
            black_box(run(runtime, parents).expect("it ran before"));
        });
    }
    Ok(contest.run().ratio(DAGX))
}

fn ours(runtime: &Runtime, parents: &Parents) -> Result<u64> {
    runtime.block_on(async {
        let scheduler = Scheduler::builder().build()?;
        let mut dag = Dag::new();
        let mut nodes: Vec<NodeId> = Vec::with_capacity(parents.len());
        for parent in parents {
            let after = parent.map(|parent| nodes[parent]);
            let node = dag.node("", after.as_slice(), |inputs: Vec<Arc<u64>>| async move {
                Ok(inputs.first().map_or(0, |input| **input) + 1)
            });
            nodes.push(node);
        }
        let outcomes = dag.run(&scheduler).await?;
        let results = outcomes.into_iter().map(|outcome| Ok(*outcome.result?));
        results.sum()
    })
}

fn by_dagx(runtime: &Runtime, parents: &Parents) -> Result<u64> {
    runtime.block_on(async {
        let dag = DagRunner::new();
        let mut nodes: Vec<TaskHandle<u64>> = Vec::with_capacity(parents.len());
        for parent in parents {
            let node = match parent {
                None => (&dag.add_task(task_fn(|_: ()| async { 1u64 }))).into(),
                Some(parent) => dag
                    .add_task(task_fn(|input: u64| async move { input + 1 }))
                    .depends_on(nodes[*parent]),
            };
            nodes.push(node);
        }
        dag.run(|node| {
            tokio::spawn(node);
        })
        .await?;
        nodes.into_iter().map(|node| Ok(dag.get(node)?)).sum()
    })
}

/// One more than what comes in.
struct Successor {
    has_input: bool,
}

#[async_trait]
impl Action for Successor {
    async fn run(
        &self,
        inputs: &mut InChannels,
        outputs: &mut OutChannels,
        _: Arc<EnvVar>,
    ) -> Output {
        let mut value = 1u64;
        if self.has_input {
            let read =
                |content: Result<Content, _>| content.ok().and_then(Content::into_inner::<u64>);
            let received: Vec<Option<Arc<u64>>> = inputs.map(read).await;
            value += received.into_iter().flatten().map(|n| *n).sum::<u64>();
        }
        outputs.broadcast(Content::new(value)).await;
        Output::Out(Some(Content::new(value)))
    }
}

fn by_dagrs(runtime: &Runtime, parents: &Parents) -> Result<u64> {
    let mut table = NodeTable::new();
    let mut graph = Graph::new();
    let mut ids = Vec::with_capacity(parents.len());
    for (index, parent) in parents.iter().enumerate() {
        let action = Successor {
            has_input: parent.is_some(),
        };
        let node = DefaultNode::with_action(index.to_string(), action, &mut table);
        ids.push(node.id());
        graph.add_node(node)?;
    }
    for (index, parent) in parents.iter().enumerate() {
        if let Some(parent) = parent {
            graph.add_edge(ids[*parent], vec![ids[index]])?;
        }
    }
    graph.set_env(EnvVar::new(table));
    runtime.block_on(graph.async_start())?;
    let results = graph.get_results::<u64>();
    let mut sum = 0;
    for id in &ids {
        let result = results.get(id).and_then(Option::as_ref);
        sum += **result.context("a node without a result")?;
    }
    Ok(sum)
}
