//! A deterministic, seeded runtime with virtual time: tasks that are ready run in an order drawn from
//! the seed, and time advances only when none is.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::BinaryHeap;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use mainspring_pool::{Runtime, Task};

#[derive(Clone)]
pub(crate) struct Sim {
    world: Arc<Mutex<World>>,
}

struct World {
    now: Duration,
    random: u64,
    next_id: u64,
    tasks: BTreeMap<u64, Option<Task>>,
    ready: Vec<u64>,
    timers: BinaryHeap<Reverse<(Duration, u64)>>,
    wakers: BTreeMap<u64, Waker>,
    fifo: bool,
    /// What happened last, when somebody wants to know.
    trace: Option<VecDeque<String>>,
}

/// Lines of a trace that are kept.
const TRACE: usize = 60;

struct Alarm {
    id: u64,
    world: Weak<Mutex<World>>,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        if let Some(world) = self.world.upgrade() {
            let mut world = locked(&world);
            if !world.ready.contains(&self.id) {
                world.ready.push(self.id);
            }
        }
    }
}

fn locked(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }
}

impl Sim {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            world: Arc::new(Mutex::new(World {
                now: Duration::ZERO,
                random: seed,
                next_id: 0,
                tasks: BTreeMap::new(),
                ready: Vec::new(),
                timers: BinaryHeap::new(),
                wakers: BTreeMap::new(),
                fifo: false,
                trace: None,
            })),
        }
    }

    /// Ready tasks run in the order in which they became ready.
    pub(crate) fn fifo() -> Self {
        let sim = Self::new(0);
        locked(&sim.world).fifo = true;
        sim
    }

    /// As [`new`](Self::new), keeping the last lines of what happens.
    pub(crate) fn traced(seed: u64) -> Self {
        let sim = Self::new(seed);
        locked(&sim.world).trace = Some(VecDeque::new());
        sim
    }

    /// Writes a line into the trace, if one is kept.
    pub(crate) fn note(&self, line: impl FnOnce() -> String) {
        if locked(&self.world).trace.is_none() {
            return;
        }
        let line = line();
        let mut world = locked(&self.world);
        let line = format!("{:>10.3?} {line}", world.now);
        if let Some(trace) = &mut world.trace {
            trace.push_back(line);
            if trace.len() > TRACE {
                trace.pop_front();
            }
        }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let world = locked(&self.world);
        world.trace.iter().flatten().cloned().collect()
    }

    pub(crate) fn below(&self, bound: u64) -> u64 {
        locked(&self.world).below(bound)
    }

    /// True in `percent` of all cases.
    pub(crate) fn chance(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn millis(&self, bound: u64) -> Duration {
        Duration::from_millis(self.below(bound))
    }

    pub(crate) fn start(&self, task: impl Future<Output = ()> + Send + 'static) -> u64 {
        self.adopt(Box::pin(task))
    }

    fn adopt(&self, task: Task) -> u64 {
        let mut world = locked(&self.world);
        let id = world.id();
        world.tasks.insert(id, Some(task));
        world.ready.push(id);
        id
    }

    /// Drops a task where it stands. Whether it was still there.
    pub(crate) fn abort(&self, id: u64) -> bool {
        let task = locked(&self.world).tasks.remove(&id);
        task.is_some()
    }

    /// Drops one of all tasks, whosever it is.
    pub(crate) fn abort_any(&self) -> bool {
        let victim = {
            let mut world = locked(&self.world);
            let count = world.tasks.len() as u64;
            let at = world.below(count) as usize;
            world.tasks.keys().nth(at).copied()
        };
        victim.is_some_and(|id| self.abort(id))
    }

    pub(crate) fn alive(&self) -> usize {
        locked(&self.world).tasks.len()
    }

    pub(crate) fn tasks(&self) -> Vec<u64> {
        locked(&self.world).tasks.keys().copied().collect()
    }

    pub(crate) fn is_alive(&self, id: u64) -> bool {
        locked(&self.world).tasks.contains_key(&id)
    }

    /// Polls one ready task. Returns false when none is ready.
    pub(crate) fn step(&self) -> bool {
        let Some((id, mut task)) = self.next_ready() else {
            return false;
        };
        let waker = Waker::from(Arc::new(Alarm {
            id,
            world: Arc::downgrade(&self.world),
        }));
        let done = task
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready();
        let mut world = locked(&self.world);
        if done {
            world.tasks.remove(&id);
        } else if let Some(place) = world.tasks.get_mut(&id) {
            *place = Some(task);
            return true;
        }
        drop(world);
        drop(task);
        true
    }

    fn next_ready(&self) -> Option<(u64, Task)> {
        let mut world = locked(&self.world);
        while !world.ready.is_empty() {
            let count = world.ready.len() as u64;
            let at = if world.fifo { 0 } else { world.below(count) };
            let id = world.ready.remove(at as usize);
            if let Some(task) = world.tasks.get_mut(&id).and_then(Option::take) {
                return Some((id, task));
            }
        }
        None
    }

    /// Runs everything that is ready.
    pub(crate) fn settle(&self) {
        while self.step() {}
    }

    /// Moves the time to the next timer. Returns false when there is none up to `until`.
    pub(crate) fn advance(&self, until: Duration) -> bool {
        let mut world = locked(&self.world);
        let mut due = Vec::new();
        while let Some(Reverse((at, id))) = world.timers.peek().copied() {
            if at > until || (!due.is_empty() && at > world.now) {
                break;
            }
            world.timers.pop();
            if let Some(waker) = world.wakers.remove(&id) {
                world.now = world.now.max(at);
                due.push(waker);
            }
        }
        drop(world);
        let any = !due.is_empty();
        due.into_iter().for_each(Waker::wake);
        any
    }

    /// Runs until nothing happens any more up to the time `until`, and sets the clock to it.
    pub(crate) fn run_until(&self, until: Duration) {
        loop {
            self.settle();
            if !self.advance(until) {
                break;
            }
        }
        let mut world = locked(&self.world);
        world.now = world.now.max(until);
    }

    pub(crate) fn run_for(&self, time: Duration) {
        self.run_until(self.now() + time);
    }

    /// Runs one future to its end, with all other tasks.
    pub(crate) fn block_on<R: Send + 'static>(
        &self,
        work: impl Future<Output = R> + Send + 'static,
    ) -> R {
        let result = Arc::new(Mutex::new(None));
        let place = Arc::clone(&result);
        let id = self.start(async move {
            let value = work.await;
            *place.lock().unwrap() = Some(value);
        });
        while self.is_alive(id) {
            if !self.step() {
                assert!(
                    self.advance(Duration::MAX),
                    "deadlock: nothing can happen any more"
                );
            }
        }
        result.lock().unwrap().take().expect("the task has ended")
    }

    pub(crate) fn sleep(&self, time: Duration) -> Task {
        self.sleep_until(self.now() + time)
    }
}

struct Sleep {
    at: Duration,
    id: u64,
    sim: Sim,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut world = locked(&self.sim.world);
        if world.now >= self.at {
            return Poll::Ready(());
        }
        if world.wakers.insert(self.id, cx.waker().clone()).is_none() {
            world.timers.push(Reverse((self.at, self.id)));
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let waker = locked(&self.sim.world).wakers.remove(&self.id);
        drop(waker);
    }
}

impl Runtime for Sim {
    fn now(&self) -> Duration {
        locked(&self.world).now
    }

    fn sleep_until(&self, at: Duration) -> Task {
        let id = locked(&self.world).id();
        Box::pin(Sleep {
            at,
            id,
            sim: self.clone(),
        })
    }

    fn spawn(&self, task: Task) {
        self.adopt(task);
    }
}

/// Lets other tasks run once.
pub(crate) async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
