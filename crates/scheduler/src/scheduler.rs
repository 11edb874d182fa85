//! The scheduler and how it is set up.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use crate::approval::Authorise;
use crate::driver::{Clock, Driver};
use crate::services::Services;
use crate::task::{Detached, Plain};
use crate::{
    Access, Budget, BuildError, Cooldowns, Decision, Error, Event, Machine, Measures, Outcomes,
    Policy, RateLimiter, Retry, Scaling, Stats, Submission, TaskHandle, TaskId, TaskStream,
    ToolCall, ToolOutcome, Toolbox,
};

/// Runs tool calls and tasks side by side: at most `limit` at once, conflicting ones in order.
///
/// A cheap handle: clones share everything. It belongs to the tokio runtime in which it was first used, and is
/// closed when that runtime goes away. Dropping the last handle stops nothing that was detached.
#[derive(Clone)]
pub struct Scheduler {
    driver: Arc<Driver>,
    services: Arc<Services>,
    toolbox: Arc<Toolbox>,
}

impl Scheduler {
    /// Starts setting one up.
    pub fn builder() -> SchedulerBuilder {
        SchedulerBuilder::default()
    }

    /// This scheduler with other tools: limit, order, budgets and figures are shared. Cheap; one per session if
    /// sessions have tools of their own.
    #[must_use]
    pub fn with_toolbox(&self, toolbox: impl Into<Arc<Toolbox>>) -> Self {
        Self {
            toolbox: toolbox.into(),
            ..self.clone()
        }
    }

    /// Runs the calls and gives one outcome for each, in the order of the calls. Dropping the future cancels what
    /// is not over; running calls are then dropped at their next await.
    pub async fn run(&self, calls: Vec<ToolCall>) -> Vec<ToolOutcome> {
        self.stream(calls).in_call_order().await
    }

    /// Runs the calls; outcomes come as they end. Calls are submitted at once, whether or not the stream is polled
    /// (except those that wait for an approval).
    #[must_use]
    pub fn stream(&self, calls: Vec<ToolCall>) -> Outcomes {
        Outcomes::start(calls, &self.toolbox, &self.services, &self.driver)
    }

    /// Runs a future of any kind under the same limit, policy and key order.
    ///
    /// # Errors
    /// [`Error::Refused`] or [`Error::NoRuntime`].
    pub fn submit<F, T>(&self, task: Submission, future: F) -> Result<TaskHandle<T>, Error>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
        T: Send + 'static,
    {
        let (reply, receiver) = oneshot::channel();
        let work = Plain::new(future, reply);
        let id = self.driver.submit_one(task, Box::pin(work))?;
        Ok(TaskHandle {
            driver: self.driver.clone(),
            id,
            receiver: Some(receiver),
        })
    }

    /// As [`submit`](Self::submit), for work whose result nobody waits for: a handle and its channel less.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub fn submit_detached<F>(&self, task: Submission, future: F) -> Result<TaskId, Error>
    where
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        self.driver
            .submit_one(task, Box::pin(Detached::new(future)))
    }

    /// Runs the futures of an iterator, however long, taking from it as there is room: at most 128 more than the
    /// limit are submitted at a time, so memory is O(limit). Results come as tasks end; nothing starts before the stream is
    /// polled, and nothing new while it is not. A task that is refused gives [`Error::Refused`] as its result.
    ///
    /// ```
    /// use mainspring_scheduler::{Scheduler, Submission};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let scheduler = Scheduler::builder().limit(4).build().unwrap();
    /// let squares = (0u64..1_000).map(|n| (Submission::default(), async move { Ok(n * n) }));
    /// let mut results = scheduler.submit_each(squares);
    /// let mut sum = 0;
    /// while let Some((_position, square)) = results.next().await {
    ///     sum += square.unwrap();
    /// }
    /// assert_eq!(sum, 332_833_500);
    /// # }
    /// ```
    pub fn submit_each<I, F, T>(&self, tasks: I) -> TaskStream<I::IntoIter, T>
    where
        I: IntoIterator<Item = (Submission, F)>,
        F: Future<Output = Result<T, Error>> + Send + 'static,
        T: Send + 'static,
    {
        TaskStream::new(self.driver.clone(), tasks.into_iter())
    }

    /// Stops tasks, by the ids that [`submit_detached`](Self::submit_detached) gave.
    pub fn cancel(&self, tasks: &[TaskId]) {
        self.driver.cancel(tasks);
    }

    pub(crate) fn driver(&self) -> Arc<Driver> {
        self.driver.clone()
    }

    /// Changes the limit on running tasks (at least 1; within its bounds when it scales, and from there it goes on).
    /// Lowering it interrupts nothing.
    pub fn set_limit(&self, limit: usize) {
        self.driver.apply(&[Event::Resize(limit)]);
    }

    /// Sets a session's share under round robin (relative, default 1.0) and how many of its tasks may run at once
    /// (default: no limit but the scheduler's). Without effect for a session beyond the 65,536 that are told apart.
    pub fn set_tenant(&self, session: &str, weight: f64, limit: Option<usize>) {
        self.driver
            .with_machine(|machine| machine.set_tenant(session, weight, limit));
        self.driver.apply(&[Event::Tick]);
    }

    /// Drops a session's settings; do so when it ends. Sessions without settings are forgotten by themselves; of
    /// more than 65,536 the rest count as one.
    pub fn forget_tenant(&self, session: &str) {
        self.driver
            .with_machine(|machine| machine.forget_tenant(session));
    }

    /// Stops everything: what waits is cancelled, what runs interrupted, what comes refused.
    pub fn close(&self) {
        self.driver.apply(&[Event::Close]);
    }

    /// The tools.
    #[must_use]
    pub fn toolbox(&self) -> &Toolbox {
        &self.toolbox
    }

    /// The cooldowns of the endpoints, shared by everybody on this scheduler.
    #[must_use]
    pub fn cooldowns(&self) -> &Arc<Cooldowns> {
        &self.services.cooldowns
    }

    /// The time on the scheduler's clock.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.driver.now()
    }

    /// What the adaptive policy currently sees.
    #[must_use]
    pub fn measures(&self) -> Measures {
        self.driver.with_machine(|machine| machine.measures())
    }

    /// The figures.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let counts = &self.services.counts;
        let mut stats = self.driver.with_machine(|machine| machine.stats());
        stats.phases = counts.snapshot();
        stats.retries = counts.retries();
        stats
    }
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler")
            .field("toolbox", &self.toolbox)
            .finish_non_exhaustive()
    }
}

/// Settings of a [`Scheduler`].
#[must_use = "call `build`"]
pub struct SchedulerBuilder {
    limit: usize,
    scaling: Option<Scaling>,
    policy: Policy,
    ageing: Duration,
    max_queued: usize,
    seed: u64,
    clock: Option<Clock>,
    wall_clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    toolbox: Toolbox,
    retry: Retry,
    rates: HashMap<String, RateLimiter>,
    budget: Option<Budget>,
    timeout: Duration,
    max_output: usize,
    authorise: Option<Authorise>,
}

impl Default for SchedulerBuilder {
    fn default() -> Self {
        Self {
            limit: 10,
            scaling: None,
            policy: Policy::default(),
            ageing: Duration::from_secs(30),
            max_queued: 1_000_000,
            seed: 0,
            clock: None,
            wall_clock: Arc::new(SystemTime::now),
            toolbox: Toolbox::new(),
            retry: Retry::default(),
            rates: HashMap::new(),
            budget: None,
            timeout: Duration::from_secs(120),
            max_output: 8 << 20,
            authorise: None,
        }
    }
}

impl SchedulerBuilder {
    /// How many tasks run at once. Default 10.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Lets the limit move between bounds with the measured load; it starts at [`limit`](Self::limit). Default: it stays.
    pub fn scaling(mut self, bounds: Scaling) -> Self {
        self.scaling = Some(bounds);
        self
    }

    /// Which task goes first. Default [`Policy::Adaptive`].
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// A task is never overtaken by one that became ready this much later. Default 30 s.
    pub fn ageing(mut self, bound: Duration) -> Self {
        self.ageing = bound;
        self
    }

    /// Most tasks unfinished at once; further ones are refused. Default 1,000,000, at about 200 bytes each.
    pub fn max_queued(mut self, tasks: usize) -> Self {
        self.max_queued = tasks;
        self
    }

    /// Seed of the jitter. Default 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The clock: time since some start, never going back. Default: tokio's, which tests can pause.
    pub fn clock(mut self, clock: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// The calendar, for `Retry-After` dates. Default: the system's.
    pub fn wall_clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.wall_clock = Arc::new(clock);
        self
    }

    /// The tools. Default: none.
    pub fn toolbox(mut self, toolbox: Toolbox) -> Self {
        self.toolbox = toolbox;
        self
    }

    /// How failures that may pass are retried. Default: three times, within 5 min.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Limits the rate of an endpoint, in the unit of [`Cost::tokens`](crate::Cost::tokens). Default: no limit.
    pub fn rate(mut self, endpoint: impl Into<String>, limiter: RateLimiter) -> Self {
        self.rates.insert(endpoint.into(), limiter);
        self
    }

    /// Who pays for calls that do not say. Default: nobody counts.
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Longest run of a tool that does not say. Default 120 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Largest result in bytes (of text, or of JSON). Default 8 MiB.
    pub fn max_output(mut self, bytes: usize) -> Self {
        self.max_output = bytes;
        self
    }

    /// The hook that allows, denies or asks about every call. Default: all are allowed.
    pub fn authorise(
        mut self,
        hook: impl Fn(&ToolCall, &Access) -> Decision + Send + Sync + 'static,
    ) -> Self {
        self.authorise = Some(Arc::new(hook));
        self
    }

    /// The scheduler.
    ///
    /// # Errors
    /// [`BuildError::Setting`] for a limit, queue, timeout or output bound of zero.
    pub fn build(self) -> Result<Scheduler, BuildError> {
        let zero = |name: &'static str, is_zero: bool| match is_zero {
            true => Err(BuildError::Setting {
                name,
                what: "must be more than 0".to_owned(),
            }),
            false => Ok(()),
        };
        zero("limit", self.limit == 0)?;
        zero("max_queued", self.max_queued == 0)?;
        zero("timeout", self.timeout.is_zero())?;
        zero("max_output", self.max_output == 0)?;
        let mut machine = Machine::new(self.limit, self.policy, self.ageing);
        machine.set_max_queued(self.max_queued);
        if let Some(bounds) = self.scaling {
            machine.set_scaling(bounds);
        }
        let clock = self.clock.unwrap_or_else(|| {
            let start = tokio::time::Instant::now();
            Arc::new(move || start.elapsed())
        });
        let services = Services {
            retry: self.retry,
            cooldowns: Arc::new(Cooldowns::new()),
            rates: self.rates,
            budget: self.budget,
            timeout: self.timeout,
            max_output: self.max_output,
            authorise: self.authorise,
            wall_clock: self.wall_clock,
            random: Mutex::new(fastrand::Rng::with_seed(self.seed)),
            counts: crate::counts::PhaseCounts::default(),
        };
        Ok(Scheduler {
            driver: Driver::new(machine, clock),
            services: Arc::new(services),
            toolbox: Arc::new(self.toolbox),
        })
    }
}

impl fmt::Debug for SchedulerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SchedulerBuilder")
            .field("limit", &self.limit)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;
    use crate::{CallErrorKind, FnTool, Stop, ToolOutput};

    #[test]
    fn a_call_that_vanishes_has_an_outcome() {
        let tool = FnTool::new("look", |_, _| async { Ok(ToolOutput::text("seen")) });
        let scheduler = Scheduler::builder()
            .toolbox(Toolbox::new().with(tool).unwrap())
            .build()
            .unwrap();
        let (reply, mut outcomes) = tokio::sync::mpsc::unbounded_channel();
        let prepared = crate::call::prepare(
            ToolCall::new("a", "look", serde_json::Value::Null),
            4,
            &scheduler.toolbox,
            &scheduler.services,
            &scheduler.driver,
            &reply,
        );
        drop(prepared.ok());
        let outcome = outcomes.try_recv().unwrap();
        assert_eq!((outcome.index, outcome.id.as_str()), (4, "a"));
        let kind = outcome.result.map_err(|error| error.kind);
        assert_eq!(kind, Err(CallErrorKind::Stopped(Stop::Closed)));
    }
}
