//! Sub-agents that cannot hurt each other: a budget, limits and a cancellation of their own.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{
    Budget, BuildError, Error, Outcomes, Policy, Scheduler, Submission, TaskHandle, ToolCall,
    ToolOutcome,
};

/// Tells sessions of agents apart that have the same name.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A group of sub-agents: at most so many at once, on one scheduler for their tool calls.
#[derive(Debug, Clone)]
pub struct Agents {
    tools: Scheduler,
    agents: Scheduler,
    cancellation: CancellationToken,
    budget: Option<Budget>,
}

/// What a sub-agent gets.
#[derive(Debug, Clone, Default)]
pub struct AgentSpec {
    /// Its name.
    pub name: String,
    /// Moved out of the group's budget for as long as it lives; what it does not spend comes back. `None`: it has no
    /// budget, and its calls are paid by the tool scheduler's.
    pub budget: Option<u64>,
    /// Longest life. Default 10 minutes.
    pub timeout: Option<Duration>,
    /// How many of its tool calls run at once. Default: no limit but the scheduler's.
    pub tool_limit: Option<usize>,
    /// From -8 to 8, higher first, among agents that wait to start. Default 0.
    pub priority: i8,
}

impl AgentSpec {
    /// A sub-agent of this name, without a budget.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// Moves this much out of the group's budget.
    #[must_use]
    pub fn budget(mut self, amount: u64) -> Self {
        self.budget = Some(amount);
        self
    }

    /// Sets its longest life.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Limits its tool calls.
    #[must_use]
    pub fn tool_limit(mut self, calls: usize) -> Self {
        self.tool_limit = Some(calls);
        self
    }
}

impl Agents {
    /// How many are at once where nothing speaks for another number.
    pub const LIMIT: usize = 5;

    /// A group whose tool calls run on `tools`, with at most `limit` agents at once ([`LIMIT`](Self::LIMIT) is usual).
    ///
    /// # Errors
    /// [`BuildError::Setting`] for a limit of zero.
    pub fn new(tools: &Scheduler, limit: usize) -> Result<Self, BuildError> {
        let agents = Scheduler::builder()
            .limit(limit)
            .policy(Policy::Priority)
            .build()?;
        let cancellation = CancellationToken::new();
        Ok(Self {
            tools: tools.clone(),
            agents,
            cancellation,
            budget: None,
        })
    }

    /// Where the agents' budgets come from.
    #[must_use]
    pub fn with_budget(mut self, budget: Budget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Cancels the group's agents with this token, and all that they started.
    #[must_use]
    pub fn with_cancellation(mut self, token: &CancellationToken) -> Self {
        self.cancellation = token.child_token();
        self
    }

    /// Starts an agent, or queues it. A panic, an overrun or a hang ends that agent alone; however it ends, its tool
    /// calls are stopped and its budget's rest goes back.
    ///
    /// # Errors
    /// [`Error::OverBudget`] when the group cannot spare its budget, [`Error::Refused`], [`Error::NoRuntime`].
    pub fn spawn<F, Fut, T>(&self, spec: AgentSpec, run: F) -> Result<AgentHandle<T>, Error>
    where
        F: FnOnce(AgentContext) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, Error>> + Send + 'static,
        T: Send + 'static,
    {
        let budget = match (&self.budget, spec.budget) {
            (Some(group), Some(amount)) => Some(group.carve(&spec.name, amount)?),
            (None, Some(amount)) => Some(Budget::new(&spec.name, amount)),
            (group, None) => group.clone(),
        };
        let carved = spec.budget.is_some().then(|| budget.clone()).flatten();
        let session = format!(
            "agent:{}#{}",
            spec.name,
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        if spec.tool_limit.is_some() {
            self.tools.set_tenant(&session, 1.0, spec.tool_limit);
        }
        let context = AgentContext {
            name: spec.name.clone(),
            session: session.clone(),
            tools: self.tools.clone(),
            cancellation: self.cancellation.child_token(),
            budget,
        };
        let estate = Estate {
            tools: self.tools.clone(),
            session,
            cancellation: context.cancellation.clone(),
            carved: carved.clone(),
        };
        let task = Submission {
            kind: spec.name.clone(),
            priority: spec.priority,
            timeout: Some(spec.timeout.unwrap_or(Duration::from_secs(600))),
            ..Submission::default()
        };
        let group = context.cancellation.clone();
        let life = async move {
            // Dropped with this future, however that comes about.
            let _estate = estate;
            let life = async move { run(context).await };
            let ended = group.run_until_cancelled(life).await;
            ended.unwrap_or(Err(Error::Stopped(crate::Stop::Cancelled)))
        };
        let task = self.agents.submit(task, life)?;
        Ok(AgentHandle {
            name: spec.name,
            task,
            budget: carved,
        })
    }

    /// Starts an agent for each of these and waits until all are over; the reports come in the same order. No more than
    /// the group's limit live at once, the others wait. One that fails, or cannot be started, aborts none: that is what
    /// its report says. Dropping the future stops them all.
    pub async fn deploy<F, Fut, T>(
        &self,
        specs: impl IntoIterator<Item = AgentSpec>,
        run: F,
    ) -> Vec<AgentReport<T>>
    where
        F: Fn(AgentContext) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = Result<T, Error>> + Send + 'static,
        T: Send + 'static,
    {
        let started: Vec<_> = specs
            .into_iter()
            .map(|spec| (spec.name.clone(), self.spawn(spec, run.clone())))
            .collect();
        let mut reports = Vec::with_capacity(started.len());
        for (name, handle) in started {
            reports.push(match handle {
                Ok(handle) => handle.await,
                Err(error) => AgentReport {
                    name,
                    result: Err(error),
                    spent: 0,
                },
            });
        }
        reports
    }

    /// Cancels all agents of the group and all that they started.
    pub fn cancel(&self) {
        self.cancellation.cancel();
    }

    /// The figures of the group: agents are its tasks, names their kinds.
    #[must_use]
    pub fn stats(&self) -> crate::Stats {
        self.agents.stats()
    }
}

/// What an agent leaves behind, settled on drop.
struct Estate {
    tools: Scheduler,
    session: String,
    cancellation: CancellationToken,
    carved: Option<Budget>,
}

impl Drop for Estate {
    fn drop(&mut self) {
        self.cancellation.cancel();
        if let Some(budget) = &self.carved {
            budget.close();
        }
        self.tools.forget_tenant(&self.session);
    }
}

/// What a running agent works with. Clones are the same agent.
#[derive(Debug, Clone)]
pub struct AgentContext {
    name: String,
    session: String,
    tools: Scheduler,
    cancellation: CancellationToken,
    budget: Option<Budget>,
}

impl AgentContext {
    /// The agent's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Cancelled when the agent ends, for whatever reason, or an ancestor does.
    #[must_use]
    pub fn cancellation(&self) -> &CancellationToken {
        &self.cancellation
    }

    /// The agent's budget.
    #[must_use]
    pub fn budget(&self) -> Option<&Budget> {
        self.budget.as_ref()
    }

    /// Runs tool calls in the agent's name: under its limit and its cancellation, paid from its budget.
    pub async fn run(&self, calls: Vec<ToolCall>) -> Vec<ToolOutcome> {
        self.stream(calls).in_call_order().await
    }

    /// As [`run`](Self::run), with outcomes as they come.
    #[must_use]
    pub fn stream(&self, calls: Vec<ToolCall>) -> Outcomes {
        self.tools
            .stream(calls.into_iter().map(|call| self.own(call)).collect())
    }

    fn own(&self, mut call: ToolCall) -> ToolCall {
        call.session.clone_from(&self.session);
        call.cancellation = Some(self.cancellation.clone());
        call.budget = self.budget.clone().or(call.budget);
        call
    }

    /// A group of agents below this one, with a limit of its own (so that an agent that waits for its sub-agents
    /// cannot keep them from starting), paid from this agent's budget and cancelled with it.
    ///
    /// # Errors
    /// [`BuildError::Setting`] for a limit of zero.
    pub fn agents(&self, limit: usize) -> Result<Agents, BuildError> {
        let mut agents = Agents::new(&self.tools, limit)?.with_cancellation(&self.cancellation);
        agents.budget.clone_from(&self.budget);
        Ok(agents)
    }
}

/// How an agent ended.
#[derive(Debug)]
pub struct AgentReport<T> {
    /// Its name.
    pub name: String,
    /// Its result.
    pub result: Result<T, Error>,
    /// What it spent of a budget of its own; 0 without one.
    pub spent: u64,
}

/// A sub-agent under way. Awaiting it gives its report; dropping it stops the agent.
#[must_use = "dropping the handle stops the agent"]
pub struct AgentHandle<T> {
    name: String,
    task: TaskHandle<T>,
    budget: Option<Budget>,
}

impl<T> AgentHandle<T> {
    /// Stops the agent; the report still comes.
    pub fn cancel(&self) {
        self.task.cancel();
    }
}

impl<T> Future for AgentHandle<T> {
    type Output = AgentReport<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(Pin::new(&mut self.task).poll(cx));
        let spent = self.budget.as_ref().map_or(0, Budget::spent);
        self.budget = None;
        Poll::Ready(AgentReport {
            name: std::mem::take(&mut self.name),
            result,
            spent,
        })
    }
}

impl<T> fmt::Debug for AgentHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentHandle")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
