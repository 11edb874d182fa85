//! Labels that belong to a task.

use std::future::Future;
use std::sync::Arc;

type Pair = (Box<str>, Box<str>);

/// More labels than a series may have are never needed.
const MOST: usize = 32;

tokio::task_local! {
    static CURRENT: TaskLabels;
}

/// Labels for everything that one task does: which agent, which session. Cheap to clone.
///
/// They reach the `metrics` facade through [`Recorder::task_labels`](crate::Recorder::task_labels),
/// spans through `SpanMetrics::task_labels`, and the registry where they are asked for by
/// [`TaskLabels::with`]. A label that the caller names itself wins over the task's.
///
/// They follow the future and not the thread, and not into what it spawns: wrap that as well.
///
/// ```
/// use mainspring_monitor::{Registry, TaskLabels, Value};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let registry = Registry::new();
/// let labels = TaskLabels::new(&[("agent", "planner")]);
/// labels.scope(async {
///     TaskLabels::with(&[("tool", "grep")], |labels| registry.counter("calls", labels).increment());
/// }).await;
/// let labels = [("agent", "planner"), ("tool", "grep")];
/// assert_eq!(registry.snapshot().get("calls", &labels), Some(&Value::Count(1)));
/// # });
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskLabels(Arc<[Pair]>);

impl TaskLabels {
    /// These labels, at most 32 of them.
    #[must_use]
    pub fn new(labels: &[(&str, &str)]) -> Self {
        let owned = labels.iter().take(MOST);
        Self(owned.map(|(n, v)| ((*n).into(), (*v).into())).collect())
    }

    /// Runs `work` with these labels on top of those that the task has already.
    pub async fn scope<F: Future>(&self, work: F) -> F::Output {
        let all = Self::with(&self.pairs(), Self::new);
        CURRENT.scope(all, work).await
    }

    /// The labels of the current task; none outside one.
    #[must_use]
    pub fn current() -> Self {
        CURRENT.try_with(Clone::clone).unwrap_or_default()
    }

    /// Calls `use_all` with `labels` and those labels of the task that `labels` does not name.
    pub fn with<R>(labels: &[(&str, &str)], use_all: impl FnOnce(&[(&str, &str)]) -> R) -> R {
        let task = Self::current();
        if task.0.is_empty() {
            return use_all(labels);
        }
        let mut all = labels.to_vec();
        let new = |pair: &(&str, &str)| labels.iter().all(|(name, _)| *name != pair.0);
        all.extend(task.pairs().into_iter().filter(new));
        use_all(&all)
    }

    pub(crate) fn pairs(&self) -> Vec<(&str, &str)> {
        self.0.iter().map(|(n, v)| (&**n, &**v)).collect()
    }
}
