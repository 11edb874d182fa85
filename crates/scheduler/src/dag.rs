//! Tasks that need each other's results.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::sync::Notify;

use crate::driver::{BoxedWork, Driver};
use crate::task::{Flow, Halt, Work};
use crate::{Error, Scheduler, Stop, Submission, TaskId, Verdict};

/// A node of one [`Dag`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(usize);

/// Tasks and what they depend on. Each starts as soon as its own dependencies are done: there are no layers to wait
/// for. When one fails, its descendants are skipped with the cause and the rest completes.
///
/// ```
/// # use mainspring_scheduler::{Dag, Error, Scheduler};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut dag = Dag::new();
/// let two = dag.node("two", &[], |_| async { Ok(2) });
/// let three = dag.node("three", &[], |_| async { Ok(3) });
/// dag.node("product", &[two, three], |inputs| async move { Ok(inputs.iter().map(|n| **n).product()) });
/// let outcomes = dag.run(&Scheduler::builder().build()?).await?;
/// assert_eq!(*outcomes[2].result.clone()?, 6);
/// # Ok(()) }
/// ```
pub struct Dag<T> {
    nodes: Vec<Node<T>>,
}

struct Node<T> {
    name: String,
    after: Vec<usize>,
    task: Submission,
    work: Pin<Box<dyn NodeWork<T>>>,
}

/// What became of a node.
#[derive(Debug, Clone)]
pub struct NodeOutcome<T> {
    /// The node's name.
    pub name: String,
    /// Its output, shared with its dependents, or why there is none.
    pub result: Result<Arc<T>, NodeError>,
}

/// Why a node has no output.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum NodeError {
    /// It failed, panicked or was stopped.
    Failed(Error),
    /// It never ran, because a node that it depends on, perhaps through others, did not succeed.
    Skipped {
        /// The name of that node.
        cause: String,
        /// What happened to that node.
        error: Error,
    },
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::Skipped { cause, error } => {
                write!(f, "skipped because {cause:?} did not succeed: {error}")
            }
        }
    }
}

impl std::error::Error for NodeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Failed(error) | Self::Skipped { error, .. } => Some(error),
        }
    }
}

impl<T: Send + Sync + 'static> Dag<T> {
    /// No nodes.
    #[must_use]
    pub fn new() -> Self {
        Self { nodes: Vec::new() }
    }

    /// Adds a node that runs when all of `after` succeeded, with their outputs in that order. O(dependencies).
    pub fn node<F, Fut>(&mut self, name: impl Into<String>, after: &[NodeId], run: F) -> NodeId
    where
        F: FnOnce(Vec<Arc<T>>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let after = after.iter().map(|id| id.0).collect();
        let work = Box::pin(Step {
            make: Some(run),
            stage: Stage::Idle,
            place: None,
        });
        self.nodes.push(Node {
            name: name.into(),
            after,
            task: Submission::default(),
            work,
        });
        NodeId(self.nodes.len() - 1)
    }

    /// Says more about a node: its kind, tenant, keys, priority, deadline. `after` in it is ignored. A node's
    /// dependencies inherit its priority and its deadline where those are more pressing than their own.
    pub fn describe(&mut self, node: NodeId, task: Submission) {
        if let Some(node) = self.nodes.get_mut(node.0) {
            node.task = task;
        }
    }

    /// Makes `node` wait for `on`, too; its output comes after those named before. This way a cycle can arise.
    pub fn depend(&mut self, node: NodeId, on: NodeId) {
        if let Some(node) = self.nodes.get_mut(node.0) {
            node.after.push(on.0);
        }
    }

    /// How many nodes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The nodes in layers, each of which depends only on those before it: a view; [`run`](Self::run) does not wait
    /// for layers. O(nodes + edges).
    ///
    /// # Errors
    /// [`Error::Cycle`] with the path.
    pub fn batches(&self) -> Result<Vec<Vec<NodeId>>, Error> {
        let mut depth = vec![0; self.nodes.len()];
        let mut batches: Vec<Vec<NodeId>> = Vec::new();
        for index in self.order()? {
            let after = self.nodes[index]
                .after
                .iter()
                .filter(|on| **on < depth.len());
            depth[index] = after.map(|&on| depth[on] + 1).max().unwrap_or(0);
            batches.resize_with(batches.len().max(depth[index] + 1), Vec::new);
            batches[depth[index]].push(NodeId(index));
        }
        Ok(batches)
    }

    /// A topological order (Kahn 1962).
    fn order(&self) -> Result<Vec<usize>, Error> {
        let count = self.nodes.len();
        let mut waits = vec![0usize; count];
        let mut dependents = vec![Vec::new(); count];
        for (index, node) in self.nodes.iter().enumerate() {
            for &on in node.after.iter().filter(|on| **on < count) {
                waits[index] += 1;
                dependents[on].push(index);
            }
        }
        let mut order: Vec<usize> = (0..count).filter(|&index| waits[index] == 0).collect();
        let mut next = 0;
        while let Some(&index) = order.get(next) {
            next += 1;
            for &dependent in &dependents[index] {
                waits[dependent] -= 1;
                if waits[dependent] == 0 {
                    order.push(dependent);
                }
            }
        }
        if order.len() == count {
            Ok(order)
        } else {
            Err(self.cycle(&waits))
        }
    }

    /// Every node that still waits has a dependency that does: walking those must come around.
    fn cycle(&self, waits: &[usize]) -> Error {
        let mut seen = HashMap::new();
        let mut path = Vec::new();
        let mut at = waits.iter().position(|&n| n > 0);
        while let Some(index) = at {
            if let Some(start) = seen.insert(index, path.len()) {
                path.drain(..start);
                break;
            }
            path.push(index);
            at = self.nodes[index]
                .after
                .iter()
                .copied()
                .find(|&on| waits.get(on).is_some_and(|&n| n > 0));
        }
        // Walked from dependent to dependency; told in the direction of the work.
        path.reverse();
        path.extend(path.first().copied());
        Error::Cycle {
            path: path
                .into_iter()
                .map(|index| self.nodes[index].name.clone())
                .collect(),
        }
    }

    /// Runs every node and gives one outcome for each, in the order in which nodes were added. Dropping the future
    /// cancels what is not over.
    ///
    /// # Errors
    /// [`Error::Cycle`], or [`Error::Refused`] when the scheduler does not take all nodes; nothing runs then.
    pub async fn run(mut self, scheduler: &Scheduler) -> Result<Vec<NodeOutcome<T>>, Error> {
        let order = self.order()?;
        self.inherit(&order);
        let count = self.nodes.len();
        let run = Arc::new(Run {
            results: (0..count).map(|_| OnceLock::new()).collect(),
            left: AtomicUsize::new(count),
            done: Notify::new(),
        });
        let mut position = vec![0; count];
        for (at, &index) in order.iter().enumerate() {
            position[index] = at;
        }
        let mut nodes: Vec<Option<Node<T>>> = self.nodes.into_iter().map(Some).collect();
        let mut names = vec![String::new(); count];
        let mut batch = Vec::with_capacity(count);
        for &index in &order {
            let Some(mut node) = nodes[index].take() else {
                continue;
            };
            let after: Vec<usize> = node
                .after
                .iter()
                .filter(|on| **on < count)
                .copied()
                .collect();
            let parents = after.iter().map(|&on| position[on]).collect();
            node.work.as_mut().attach(Place {
                run: run.clone(),
                index,
                after,
            });
            names[index] = node.name;
            let work: BoxedWork = node.work;
            batch.push((node.task, parents, work));
        }
        let driver = scheduler.driver();
        let ids = driver.submit_graph(batch)?;
        let mut running = Running {
            driver,
            ids,
            over: false,
        };
        while run.left.load(Ordering::Acquire) > 0 {
            run.done.notified().await;
        }
        running.over = true;
        let indices: HashMap<TaskId, usize> = running.ids.iter().copied().zip(order).collect();
        let index_of = |id: TaskId| indices.get(&id).copied();
        Ok((0..count)
            .map(|index| outcome(index, &run, &names, index_of))
            .collect())
    }

    fn inherit(&mut self, order: &[usize]) {
        for &index in order.iter().rev() {
            let (priority, deadline) = (
                self.nodes[index].task.priority,
                self.nodes[index].task.deadline,
            );
            let after = self.nodes[index].after.clone();
            for on in after.into_iter().filter(|on| *on < order.len()) {
                let task = &mut self.nodes[on].task;
                task.priority = task.priority.max(priority);
                let sooner = deadline
                    .unwrap_or(Duration::MAX)
                    .min(task.deadline.unwrap_or(Duration::MAX));
                task.deadline = (sooner < Duration::MAX).then_some(sooner);
            }
        }
    }
}

impl<T: Send + Sync + 'static> Default for Dag<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Dag<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.nodes.iter().map(|node| &node.name))
            .finish()
    }
}

/// The results of a run, filled in as nodes end.
struct Run<T> {
    results: Vec<OnceLock<Result<Arc<T>, Halted>>>,
    left: AtomicUsize,
    done: Notify,
}

#[derive(Clone)]
enum Halted {
    Failed(Error),
    Skipped(TaskId),
}

/// Cancels what is not over when the run is dropped.
struct Running {
    driver: Arc<Driver>,
    ids: Vec<TaskId>,
    over: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.over {
            self.driver.cancel(&self.ids);
        }
    }
}

fn outcome<T>(
    index: usize,
    run: &Run<T>,
    names: &[String],
    index_of: impl Fn(TaskId) -> Option<usize>,
) -> NodeOutcome<T> {
    let failed = |index: usize| match run.results[index].get() {
        Some(Err(Halted::Failed(error))) => error.clone(),
        _ => Error::Stopped(Stop::Closed),
    };
    let result = match run.results[index].get() {
        Some(Ok(output)) => Ok(output.clone()),
        Some(Err(Halted::Skipped(id))) => Err(match index_of(*id) {
            Some(cause) => NodeError::Skipped {
                cause: names[cause].clone(),
                error: failed(cause),
            },
            None => NodeError::Failed(Error::Stopped(Stop::Dependency(*id))),
        }),
        _ => Err(NodeError::Failed(failed(index))),
    };
    NodeOutcome {
        name: names[index].clone(),
        result,
    }
}

struct Place<T> {
    run: Arc<Run<T>>,
    index: usize,
    after: Vec<usize>,
}

trait NodeWork<T>: Work {
    fn attach(self: Pin<&mut Self>, place: Place<T>);
}

pin_project! {
    #[project = StageProj]
    enum Stage<Fut> {
        Idle,
        Running { #[pin] future: Fut },
    }
}

pin_project! {
    struct Step<F, Fut, T> {
        make: Option<F>,
        #[pin]
        stage: Stage<Fut>,
        place: Option<Place<T>>,
    }
}

impl<F, Fut, T> NodeWork<T> for Step<F, Fut, T>
where
    F: FnOnce(Vec<Arc<T>>) -> Fut + Send,
    Fut: Future<Output = Result<T, Error>> + Send,
    T: Send + Sync,
{
    fn attach(self: Pin<&mut Self>, place: Place<T>) {
        *self.project().place = Some(place);
    }
}

impl<T> Place<T> {
    fn inputs(&self) -> Vec<Arc<T>> {
        let output = |&on: &usize| {
            self.run.results[on]
                .get()
                .and_then(|result| result.clone().ok())
        };
        self.after.iter().filter_map(output).collect()
    }
}

impl<F, Fut, T> Work for Step<F, Fut, T>
where
    F: FnOnce(Vec<Arc<T>>) -> Fut + Send,
    Fut: Future<Output = Result<T, Error>> + Send,
    T: Send + Sync,
{
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Flow> {
        let mut this = self.project();
        let Some(place) = this.place else {
            return Poll::Ready(Flow::Done(Verdict::Failure));
        };
        if let Some(make) = this.make.take() {
            let future = make(place.inputs());
            this.stage.set(Stage::Running { future });
        }
        let StageProj::Running { future } = this.stage.as_mut().project() else {
            return Poll::Ready(Flow::Done(Verdict::Failure));
        };
        let result = ready!(future.poll(cx));
        let verdict = if result.is_ok() {
            Verdict::Success
        } else {
            Verdict::Failure
        };
        // Dependents start before `deliver`, so the output has to be there now.
        let _ = place.run.results[place.index].set(result.map(Arc::new).map_err(Halted::Failed));
        this.stage.set(Stage::Idle);
        Poll::Ready(Flow::Done(verdict))
    }

    fn halt(self: Pin<&mut Self>, why: Halt) {
        let mut this = self.project();
        if let Some(place) = this.place {
            let halted = match why {
                Halt::Stop(Stop::Dependency(cause)) => Halted::Skipped(cause),
                other => Halted::Failed(other.into_error()),
            };
            let _ = place.run.results[place.index].set(Err(halted));
        }
        *this.make = None;
        this.stage.set(Stage::Idle);
    }

    fn deliver(self: Pin<&mut Self>) {
        let Some(place) = self.project().place.take() else {
            return;
        };
        if place.run.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            place.run.done.notify_one();
        }
    }
}
