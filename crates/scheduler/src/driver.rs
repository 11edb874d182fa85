//! Feeds the machine from tokio and does what it says.
//!
//! Work runs on worker tasks, one per used slot, each taking the next task over as it ends one. Nobody has to poll
//! for that to go on: a slot is never held by a future that its owner does not poll.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use crate::sync::{AtomicBool, Handle, Mutex, MutexGuard, sleep};
use crate::task::{Flow, Halt, Work};
use crate::{Action, Error, Event, Machine, Stop, Submission, TaskId, Verdict};

/// The time since some start.
pub(crate) type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;
pub(crate) type BoxedWork = Pin<Box<dyn Work>>;

/// Tasks that a worker runs to their end before it lets others have the thread: tokio's own budget of one poll.
const AT_ONCE: usize = 128;

enum Job {
    Vacant,
    Waiting(BoxedWork),
    Running(Arc<Signal>),
}

/// How a running task is told to stop. Reasons are set under the driver's lock.
#[derive(Default)]
struct Signal {
    /// Whether there is a reason: asked for every task, so without the lock.
    told: AtomicBool,
    state: Mutex<(Option<Stop>, Option<Waker>)>,
}

impl Signal {
    fn lock(&self) -> MutexGuard<'_, (Option<Stop>, Option<Waker>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, why: Stop) {
        self.lock().0 = Some(why);
        self.told.store(true, Ordering::Release);
    }

    fn wake(&self) {
        let waker = self.lock().1.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn reason(&self) -> Option<Stop> {
        if !self.told.load(Ordering::Acquire) {
            return None;
        }
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
        if self.told.load(Ordering::Acquire) {
            self.lock().0 = None;
            self.told.store(false, Ordering::Release);
        }
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
        mut submission: Submission,
        work: BoxedWork,
    ) -> Result<TaskId, Error> {
        self.runtime()?;
        let now = self.now();
        let mut state = self.lock();
        let result = state.take_in(&mut submission, work, now);
        if state.machine.is_saturated() {
            // Work that was refused is somebody else's code to drop, so not under the lock.
            drop(state);
        } else {
            let todo = self.step(state, &[Event::Tick], now, None);
            self.act(todo);
        }
        result.map_err(|(error, _work)| error)
    }

    /// Takes a batch in under one lock: `taken` is told of each, by position, and must not call back. What is refused
    /// comes back, with its position and why. Both lists are empty afterwards and can be used again.
    pub(crate) fn submit(
        self: &Arc<Self>,
        submissions: &mut Vec<Submission>,
        works: &mut Vec<BoxedWork>,
        mut taken: impl FnMut(usize, TaskId),
    ) -> Vec<(usize, Error, BoxedWork)> {
        let mut refused = Vec::new();
        if let Err(error) = self.runtime() {
            submissions.clear();
            let all = works.drain(..).enumerate();
            return all
                .map(|(position, work)| (position, error.clone(), work))
                .collect();
        }
        let now = self.now();
        let mut state = self.lock();
        for (position, (submission, work)) in
            submissions.iter_mut().zip(works.drain(..)).enumerate()
        {
            match state.take_in(submission, work, now) {
                Ok(id) => taken(position, id),
                Err((error, work)) => refused.push((position, error, work)),
            }
        }
        let todo = self.step(state, &[Event::Tick], now, None);
        submissions.clear();
        self.act(todo);
        refused
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
            match state.take_in(&mut submission, work, now) {
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
            runtime.spawn(Worker {
                driver: self.clone(),
                start: Some(start),
            });
        }
    }

    /// A run ended: books it, then hands the result over. Returns what this worker does next.
    fn ended(self: &Arc<Self>, start: Start, flow: Flow) -> Option<Start> {
        match flow {
            Flow::Done(verdict) => self.finished(start, verdict),
            Flow::Again(at) => self.deferred(start, at),
        }
    }

    fn finished(self: &Arc<Self>, start: Start, verdict: Verdict) -> Option<Start> {
        let Start { id, work, signal } = start;
        let now = self.now();
        let mut state = self.lock();
        if let Some((id, next)) = state.follow(id, verdict, now) {
            signal.reset();
            drop(state);
            deliver(work);
            return Some(Start {
                id,
                work: next,
                signal,
            });
        }
        let next = self.carry_on(state, now, signal);
        deliver(work);
        next
    }

    fn deferred(self: &Arc<Self>, start: Start, at: Duration) -> Option<Start> {
        let Start {
            id,
            mut work,
            signal,
        } = start;
        let now = self.now();
        let mut state = self.lock();
        if let Some(why) = signal.reason() {
            // Told to stop while it was about to wait. What it holds is somebody else's code to drop.
            drop(state);
            halt(&mut work, Halt::Stop(why));
            let start = Start { id, work, signal };
            return self.finished(start, Verdict::Cancelled);
        }
        state.jobs[id.index as usize] = Job::Waiting(work);
        state.decide(&[Event::Deferred(id, at)], now);
        self.carry_on(state, now, signal)
    }

    /// Does what was decided; the first task to start goes to the worker that asks.
    fn carry_on(
        self: &Arc<Self>,
        state: MutexGuard<'_, State>,
        now: Duration,
        signal: Arc<Signal>,
    ) -> Option<Start> {
        let mut todo = self.step(state, &[], now, Some(signal));
        // Swapped in, so that `start` is only empty when there are none.
        let next = todo.start.take();
        todo.start = todo.starts.pop();
        self.act(todo);
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
        submission: &mut Submission,
        work: BoxedWork,
        now: Duration,
    ) -> Result<TaskId, (Error, BoxedWork)> {
        let id = match self.machine.admit(submission, now) {
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

    /// Applies events; what the machine wants done is left in `actions`.
    fn decide(&mut self, events: &[Event], now: Duration) {
        for &event in events {
            self.machine.apply(event, now, &mut self.actions);
        }
    }

    /// Books the end of a task. Usually all there is to do then is to start the next one in its place, signal
    /// included: that one. Else nothing, and the actions are left.
    fn follow(
        &mut self,
        id: TaskId,
        verdict: Verdict,
        now: Duration,
    ) -> Option<(TaskId, BoxedWork)> {
        self.decide(&[Event::Finished(id, verdict)], now);
        let job = std::mem::replace(&mut self.jobs[id.index as usize], Job::Vacant);
        let &[Action::Start(next)] = self.actions.as_slice() else {
            return None;
        };
        let place = &mut self.jobs[next.index as usize];
        if !matches!(place, Job::Waiting(_)) {
            return None;
        }
        self.actions.clear();
        match std::mem::replace(place, job) {
            Job::Waiting(work) => Some((next, work)),
            _ => None,
        }
    }

    /// Applies events and turns actions into things to do. `reuse` is the signal of a worker that is free now.
    fn apply(&mut self, events: &[Event], now: Duration, mut reuse: Option<Arc<Signal>>) -> Todo {
        self.decide(events, now);
        let mut actions = std::mem::take(&mut self.actions);
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
        sleep(wait).await;
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

impl Future for Worker {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..AT_ONCE {
            let Some(Start { work, signal, .. }) = &mut self.start else {
                return Poll::Ready(());
            };
            let flow = ready!(supervise(work, signal, cx));
            if let Some(start) = self.start.take() {
                self.start = self.driver.ended(start, flow);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
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
        return end(work, Halt::Stop(why), Verdict::Cancelled, cx);
    }
    match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
        Ok(Poll::Pending) => {}
        Ok(ready) => return ready,
        Err(panic) => {
            let why = Halt::Panic(panic_message(&*panic));
            return end(work, why, Verdict::Failure, cx);
        }
    }
    // Asked again after registering, so that a reason set in between is not missed.
    match signal.watch(cx) {
        Some(why) => end(work, Halt::Stop(why), Verdict::Cancelled, cx),
        None => Poll::Pending,
    }
}

/// Halts work; it is over once it has settled.
fn end(work: &mut BoxedWork, why: Halt, verdict: Verdict, cx: &mut Context<'_>) -> Poll<Flow> {
    halt(work, why);
    work.as_mut().settle(cx).map(|()| Flow::Done(verdict))
}

/// Ends work from outside; a panic while its future is dropped ends here.
fn halt(work: &mut BoxedWork, why: Halt) {
    let _ = catch_unwind(AssertUnwindSafe(|| work.as_mut().halt(why)));
}

pub(crate) fn deliver(mut work: BoxedWork) {
    let _ = catch_unwind(AssertUnwindSafe(move || {
        work.as_mut().deliver();
        drop(work);
    }));
}

/// Hands work that was never taken in back to who waits for its result.
pub(crate) fn refuse(mut work: BoxedWork, error: Error) {
    halt(&mut work, Halt::Refused(error));
    deliver(work);
}

/// Drops what somebody else wrote; a panic ends here.
pub(crate) fn discard<T>(what: T) {
    let _ = catch_unwind(AssertUnwindSafe(move || drop(what)));
}

pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}
