//! Feeds the machine from tokio and does what it says.
//!
//! Work runs on worker tasks, one per used slot, each taking the next task over as it ends one. Nobody has to poll
//! for that to go on: a slot is never held by a future that its owner does not poll.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::Handle;

use crate::task::{Flow, Halt, Work};
use crate::{Action, Error, Event, Machine, Stop, Submission, TaskId, Verdict};

/// The time since some start.
pub(crate) type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;
pub(crate) type BoxedWork = Pin<Box<dyn Work>>;

enum Job {
    Vacant,
    Waiting(BoxedWork),
    Running(Arc<Signal>),
}

/// How a running task is told to stop. Reasons are set under the driver's lock.
#[derive(Default)]
struct Signal {
    state: Mutex<(Option<Stop>, Option<Waker>)>,
}

impl Signal {
    fn lock(&self) -> MutexGuard<'_, (Option<Stop>, Option<Waker>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, why: Stop) {
        self.lock().0 = Some(why);
    }

    fn wake(&self) {
        let waker = self.lock().1.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn reason(&self) -> Option<Stop> {
        self.lock().0
    }

    /// The reason, or a promise to wake `cx` when there is one.
    fn watch(&self, cx: &Context<'_>) -> Option<Stop> {
        let mut state = self.lock();
        if state.0.is_none() {
            state.1 = Some(cx.waker().clone());
        }
        state.0
    }

    fn reset(&self) {
        self.lock().0 = None;
    }
}

struct State {
    machine: Machine,
    jobs: Vec<Job>,
    actions: Vec<Action>,
    /// When the timers that run will tick, latest first. There is only a further one when it is to be earlier than all
    /// of them: each tick asks for the next.
    armed: Vec<Duration>,
    /// Keeps the driver alive for work that nobody holds a handle of, from the first unfinished task to the last.
    own: Option<Arc<Driver>>,
}

struct Start {
    id: TaskId,
    work: BoxedWork,
    signal: Arc<Signal>,
}

/// What is to be done once the lock is released.
#[derive(Default)]
struct Todo {
    /// The first one apart: usually it is the only one.
    start: Option<Start>,
    starts: Vec<Start>,
    drops: Vec<(BoxedWork, Stop)>,
    wakes: Vec<Arc<Signal>>,
    timers: Vec<Duration>,
}

impl Todo {
    fn is_empty(&self) -> bool {
        self.start.is_none()
            && self.drops.is_empty()
            && self.wakes.is_empty()
            && self.timers.is_empty()
    }
}

pub(crate) struct Driver {
    state: Mutex<State>,
    clock: Clock,
    runtime: OnceLock<Handle>,
}

impl Driver {
    pub(crate) fn new(machine: Machine, clock: Clock) -> Arc<Self> {
        let state = State {
            machine,
            jobs: Vec::new(),
            actions: Vec::new(),
            armed: Vec::new(),
            own: None,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            clock,
            runtime: OnceLock::new(),
        })
    }

    pub(crate) fn now(&self) -> Duration {
        (self.clock)()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn with_machine<T>(&self, look: impl FnOnce(&mut Machine) -> T) -> T {
        look(&mut self.lock().machine)
    }

    fn runtime(&self) -> Result<&Handle, Error> {
        if let Some(handle) = self.runtime.get() {
            return Ok(handle);
        }
        let handle = Handle::try_current().map_err(|_| Error::NoRuntime)?;
        Ok(self.runtime.get_or_init(|| handle))
    }

    /// Takes one task in.
    pub(crate) fn submit_one(
        self: &Arc<Self>,
        submission: Submission,
        work: BoxedWork,
    ) -> Result<TaskId, Error> {
        self.runtime()?;
        let now = self.now();
        let mut state = self.lock();
        let result = state.take_in(submission, work, now);
        if state.machine.is_saturated() {
            // Work that was refused is somebody else's code to drop, so not under the lock.
            drop(state);
        } else {
            let todo = self.step(state, &[Event::Tick], now, None);
            self.act(todo);
        }
        result.map_err(|(error, _work)| error)
    }

    /// Takes a batch in under one lock. Per item its id, or the work back with what refused it.
    pub(crate) fn submit(
        self: &Arc<Self>,
        batch: impl IntoIterator<Item = (Submission, BoxedWork)>,
    ) -> Vec<Result<TaskId, (Error, BoxedWork)>> {
        let runtime = self.runtime().map(|_| ());
        let now = self.now();
        let mut state = self.lock();
        let results = batch
            .into_iter()
            .map(|(submission, work)| match &runtime {
                Ok(()) => state.take_in(submission, work, now),
                Err(error) => Err((error.clone(), work)),
            })
            .collect();
        let todo = self.step(state, &[Event::Tick], now, None);
        self.act(todo);
        results
    }

    /// Takes a graph in under one lock: `after` names earlier nodes of the same batch by position. The work of
    /// nodes that were refused, and of their descendants, comes back.
    pub(crate) fn submit_graph(
        self: &Arc<Self>,
        batch: Vec<(Submission, Vec<usize>, BoxedWork)>,
    ) -> Result<Vec<TaskId>, Error> {
        self.runtime()?;
        let now = self.now();
        let mut ids = Vec::with_capacity(batch.len());
        let mut refused = None;
        // Outlives the lock: what is left in it after a refusal is somebody else's code to drop.
        let mut batch = batch.into_iter();
        let mut state = self.lock();
        for (mut submission, after, work) in batch.by_ref() {
            submission.after = after.iter().map(|&position| ids[position]).collect();
            match state.take_in(submission, work, now) {
                Ok(id) => ids.push(id),
                Err(why) => {
                    refused = Some(why);
                    break;
                }
            }
        }
        let events: Vec<Event> = match refused {
            Some(_) => ids.iter().map(|&id| Event::Cancel(id)).collect(),
            None => vec![Event::Tick],
        };
        let todo = self.step(state, &events, now, None);
        self.act(todo);
        refused.map_or(Ok(ids), |(error, _work)| Err(error))
    }

    pub(crate) fn cancel(self: &Arc<Self>, ids: &[TaskId]) {
        let events: Vec<Event> = ids.iter().map(|&id| Event::Cancel(id)).collect();
        self.apply(&events);
    }

    pub(crate) fn apply(self: &Arc<Self>, events: &[Event]) {
        let now = self.now();
        let todo = self.step(self.lock(), events, now, None);
        self.act(todo);
    }

    /// Applies events and unlocks.
    fn step(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        events: &[Event],
        now: Duration,
        reuse: Option<Arc<Signal>>,
    ) -> Todo {
        let todo = state.apply(events, now, reuse);
        let unfinished = state.machine.unfinished() > 0;
        if unfinished != state.own.is_some() {
            state.own = unfinished.then(|| self.clone());
        }
        todo
    }

    fn disarm(&self, at: Duration) {
        let mut state = self.lock();
        if let Some(position) = state.armed.iter().position(|&armed| armed == at) {
            state.armed.remove(position);
        }
    }

    fn act(self: &Arc<Self>, todo: Todo) {
        if todo.is_empty() {
            return;
        }
        for signal in todo.wakes {
            signal.wake();
        }
        for (mut work, why) in todo.drops {
            halt(&mut work, Halt::Stop(why));
            deliver(work);
        }
        let Some(runtime) = self.runtime.get() else {
            return;
        };
        for at in todo.timers {
            let timer = Timer {
                driver: Arc::downgrade(self),
                at,
            };
            runtime.spawn(timer.run(at.saturating_sub(self.now())));
        }
        for start in todo.start.into_iter().chain(todo.starts) {
            runtime.spawn(
                Worker {
                    driver: self.clone(),
                    start: Some(start),
                }
                .run(),
            );
        }
    }

    /// A run ended: books it, then hands the result over. Returns what this worker does next.
    fn ended(self: &Arc<Self>, start: Start, flow: Flow) -> Option<Start> {
        let Start {
            id,
            mut work,
            signal,
        } = start;
        let mut flow = flow;
        let now = self.now();
        let mut state = self.lock();
        if let (Flow::Again(_), Some(why)) = (&flow, signal.reason()) {
            // Told to stop while it was about to wait. What it holds is somebody else's code to drop.
            drop(state);
            halt(&mut work, Halt::Stop(why));
            flow = Flow::Done(Verdict::Cancelled);
            state = self.lock();
        }
        let (event, job, over) = match flow {
            Flow::Done(verdict) => (Event::Finished(id, verdict), Job::Vacant, Some(work)),
            Flow::Again(at) => (Event::Deferred(id, at), Job::Waiting(work), None),
        };
        state.jobs[id.index as usize] = job;
        let mut todo = self.step(state, &[event], now, Some(signal));
        // Swapped in, so that `start` is only empty when there are none.
        let next = todo.start.take();
        todo.start = todo.starts.pop();
        self.act(todo);
        if let Some(work) = over {
            deliver(work);
        }
        next
    }

    /// The runtime dropped a worker: it is going away, so nothing can run any more.
    fn abandoned(self: &Arc<Self>, start: Start) {
        let Start { id, mut work, .. } = start;
        halt(&mut work, Halt::Stop(Stop::Closed));
        let now = self.now();
        let mut state = self.lock();
        state.jobs[id.index as usize] = Job::Vacant;
        let events = [Event::Close, Event::Finished(id, Verdict::Cancelled)];
        let todo = self.step(state, &events, now, None);
        self.act(todo);
        deliver(work);
    }
}

impl State {
    fn take_in(
        &mut self,
        submission: Submission,
        work: BoxedWork,
        now: Duration,
    ) -> Result<TaskId, (Error, BoxedWork)> {
        let id = match self.machine.submit(submission, now) {
            Ok(id) => id,
            Err(why) => return Err((why.into(), work)),
        };
        let index = id.index as usize;
        if index >= self.jobs.len() {
            self.jobs.resize_with(index + 1, || Job::Vacant);
        }
        self.jobs[index] = Job::Waiting(work);
        Ok(id)
    }

    /// Applies events and turns actions into things to do. `reuse` is the signal of a worker that is free now.
    fn apply(&mut self, events: &[Event], now: Duration, mut reuse: Option<Arc<Signal>>) -> Todo {
        let mut actions = std::mem::take(&mut self.actions);
        for &event in events {
            self.machine.apply(event, now, &mut actions);
        }
        let mut todo = Todo::default();
        // A task that one event started may have been stopped by the next: actions are taken in order.
        for action in actions.drain(..) {
            match action {
                Action::Start(id) => {
                    let signal = reuse.take().unwrap_or_default();
                    signal.reset();
                    let job = &mut self.jobs[id.index as usize];
                    if let Job::Waiting(work) = std::mem::replace(job, Job::Running(signal.clone()))
                    {
                        let start = Start { id, work, signal };
                        match todo.start {
                            None => todo.start = Some(start),
                            Some(_) => todo.starts.push(start),
                        }
                    }
                }
                Action::Interrupt(id, why) => {
                    if let Job::Running(signal) = &self.jobs[id.index as usize] {
                        signal.set(why);
                        todo.wakes.push(signal.clone());
                    }
                }
                Action::Drop(id, why) => {
                    let job = &mut self.jobs[id.index as usize];
                    if let Job::Waiting(work) = std::mem::replace(job, Job::Vacant) {
                        todo.drops.push((work, why));
                    }
                }
                Action::WakeAt(at) => {
                    if self.armed.last().is_none_or(|&armed| at < armed) {
                        self.armed.push(at);
                        todo.timers.push(at);
                    }
                }
            }
        }
        self.actions = actions;
        todo
    }
}

/// Ticks once.
struct Timer {
    driver: Weak<Driver>,
    at: Duration,
}

impl Timer {
    async fn run(mut self, wait: Duration) {
        tokio::time::sleep(wait).await;
        if let Some(driver) = std::mem::take(&mut self.driver).upgrade() {
            driver.disarm(self.at);
            driver.apply(&[Event::Tick]);
        }
    }
}

impl Drop for Timer {
    /// Without having ticked: the runtime is going away, so nothing can run any more.
    fn drop(&mut self) {
        // A runtime without timers makes `run` panic; what needs none still works there.
        if std::thread::panicking() {
            return;
        }
        if let Some(driver) = self.driver.upgrade() {
            driver.disarm(self.at);
            driver.apply(&[Event::Close]);
        }
    }
}

/// Runs tasks one after the other for as long as the machine gives it some.
struct Worker {
    driver: Arc<Driver>,
    start: Option<Start>,
}

impl Worker {
    async fn run(mut self) {
        while let Some(flow) = self.run_one().await {
            let Some(start) = self.start.take() else {
                return;
            };
            self.start = self.driver.ended(start, flow);
            tokio::task::coop::consume_budget().await;
        }
    }

    async fn run_one(&mut self) -> Option<Flow> {
        let Start { work, signal, .. } = self.start.as_mut()?;
        Some(poll_fn(|cx| supervise(work, signal, cx)).await)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(start) = self.start.take() {
            self.driver.abandoned(start);
        }
    }
}

fn supervise(work: &mut BoxedWork, signal: &Signal, cx: &mut Context<'_>) -> Poll<Flow> {
    if let Some(why) = signal.reason() {
        halt(work, Halt::Stop(why));
        return Poll::Ready(Flow::Done(Verdict::Cancelled));
    }
    match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
        Ok(Poll::Pending) => {}
        Ok(ready) => return ready,
        Err(panic) => {
            halt(work, Halt::Panic(panic_message(&*panic)));
            return Poll::Ready(Flow::Done(Verdict::Failure));
        }
    }
    // Asked again after registering, so that a reason set in between is not missed.
    match signal.watch(cx) {
        Some(why) => {
            halt(work, Halt::Stop(why));
            Poll::Ready(Flow::Done(Verdict::Cancelled))
        }
        None => Poll::Pending,
    }
}

/// Ends work from outside; a panic while its future is dropped ends here.
fn halt(work: &mut BoxedWork, why: Halt) {
    let _ = catch_unwind(AssertUnwindSafe(|| work.as_mut().halt(why)));
}

fn deliver(mut work: BoxedWork) {
    let _ = catch_unwind(AssertUnwindSafe(move || {
        work.as_mut().deliver();
        drop(work);
    }));
}

pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}
