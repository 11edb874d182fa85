//! Many small requests as few large ones.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::driver::panic_message;
use crate::{BoxFuture, Error, Refused};

/// Results of one batch, in the order of its items.
pub type BatchResults<R> = Vec<Result<R, Error>>;

/// When a batch goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSettings {
    /// As soon as it has this many items (default 10).
    pub max_items: usize,
    /// At the latest this long after its first item came (default 100 ms).
    pub max_delay: Duration,
    /// Unless this many batches are under way (default 5).
    pub concurrency: usize,
    /// Callers beyond this many waiting ones are refused (default 10,000).
    pub max_waiting: usize,
    /// Goes out at once when no batch is under way: quick when there is little to do, large when there is much
    /// (default off).
    pub flush_when_idle: bool,
}

impl Default for BatchSettings {
    fn default() -> Self {
        Self {
            max_items: 10,
            max_delay: Duration::from_millis(100),
            concurrency: 5,
            max_waiting: 10_000,
            flush_when_idle: false,
        }
    }
}

impl BatchSettings {
    /// For input and output: 50 items.
    #[must_use]
    pub fn io() -> Self {
        Self {
            max_items: 50,
            ..Self::default()
        }
    }
}

/// Figures of a batcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct BatchStats {
    /// Batches sent.
    pub batches: u64,
    /// Items in them.
    pub items: u64,
    /// Items whose callers had left before their batch went out; these were never sent.
    pub abandoned: u64,
    /// Batches stopped because all their callers left.
    pub stopped: u64,
    /// Waiting now.
    pub waiting: usize,
    /// Batches under way now.
    pub in_flight: usize,
}

struct Entry<T, R> {
    item: T,
    reply: oneshot::Sender<Result<R, Error>>,
    since: Instant,
}

struct State<T, R> {
    waiting: VecDeque<Entry<T, R>>,
    in_flight: usize,
    /// Number of the timer that counts, when one runs.
    timer: Option<u64>,
    timers: u64,
    /// The delay is over but no batch could go out.
    due: bool,
    stats: BatchStats,
}

type Run<T, R> = dyn Fn(Vec<T>) -> BoxFuture<'static, BatchResults<R>> + Send + Sync;

struct Shared<T, R> {
    state: Mutex<State<T, R>>,
    settings: BatchSettings,
    run: Box<Run<T, R>>,
}

/// Collects items from many callers and runs them together; every caller gets the result of its own item.
/// Callers who left before their batch goes out are not in it; when all callers of a batch left, it is stopped.
///
/// ```
/// # use mainspring_scheduler::{Batcher, BatchSettings};
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let squares = Batcher::new(BatchSettings::default(), |items: Vec<u64>| async move {
///     items.into_iter().map(|n| Ok(n * n)).collect()
/// });
/// assert_eq!(squares.call(7).await, Ok(49));
/// # }
/// ```
pub struct Batcher<T, R> {
    shared: Arc<Shared<T, R>>,
}

impl<T: Send + 'static, R: Send + 'static> Batcher<T, R> {
    /// A batcher that gives batches to `run`, which must return one result per item, in order. Bounds of zero count
    /// as one.
    pub fn new<F, Fut>(settings: BatchSettings, run: F) -> Self
    where
        F: Fn(Vec<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = BatchResults<R>> + Send + 'static,
    {
        let settings = BatchSettings {
            max_items: settings.max_items.max(1),
            concurrency: settings.concurrency.max(1),
            max_waiting: settings.max_waiting.max(1),
            ..settings
        };
        let state = State {
            waiting: VecDeque::new(),
            in_flight: 0,
            timer: None,
            timers: 0,
            due: false,
            stats: BatchStats::default(),
        };
        let run = Box::new(move |items| -> BoxFuture<'static, _> { Box::pin(run(items)) });
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                settings,
                run,
            }),
        }
    }

    /// Waits for the item's batch and gives the item's result. Dropping the future takes the item out.
    ///
    /// # Errors
    /// What the batch said about the item; [`Error::Panicked`] or [`Error::Failed`] when the batch panicked or gave
    /// another number of results; [`Error::Refused`] when too many wait; [`Error::NoRuntime`].
    pub async fn call(&self, item: T) -> Result<R, Error> {
        Handle::try_current().map_err(|_| Error::NoRuntime)?;
        let (reply, result) = oneshot::channel();
        let entry = Entry {
            item,
            reply,
            since: Instant::now(),
        };
        self.shared.push(entry)?;
        result.await.unwrap_or_else(|_| {
            Err(Error::Failed {
                message: "the batch was dropped".to_owned(),
            })
        })
    }

    /// Runs the item at once, alone, outside all bounds.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn urgent(&self, item: T) -> Result<R, Error> {
        Handle::try_current().map_err(|_| Error::NoRuntime)?;
        let (reply, result) = oneshot::channel();
        let entry = Entry {
            item,
            reply,
            since: Instant::now(),
        };
        self.shared.lock().in_flight += 1;
        tokio::spawn(self.shared.send(vec![entry]));
        result.await.unwrap_or_else(|_| {
            Err(Error::Failed {
                message: "the batch was dropped".to_owned(),
            })
        })
    }

    /// The figures.
    #[must_use]
    pub fn stats(&self) -> BatchStats {
        let state = self.shared.lock();
        BatchStats {
            waiting: state.waiting.len(),
            in_flight: state.in_flight,
            ..state.stats
        }
    }
}

impl<T, R> Clone for Batcher<T, R> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<T, R> fmt::Debug for Batcher<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batcher")
            .field("settings", &self.shared.settings)
            .finish_non_exhaustive()
    }
}

impl<T, R> Shared<T, R> {
    fn lock(&self) -> MutexGuard<'_, State<T, R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send + 'static, R: Send + 'static> Shared<T, R> {
    fn push(self: &Arc<Self>, entry: Entry<T, R>) -> Result<(), Error> {
        let gone = {
            let mut state = self.lock();
            let mut gone = Vec::new();
            if state.waiting.len() >= self.settings.max_waiting {
                gone = state.remove_abandoned();
            }
            if state.waiting.len() >= self.settings.max_waiting {
                return Err(Error::Refused(Refused::Full {
                    limit: self.settings.max_waiting,
                }));
            }
            state.waiting.push_back(entry);
            gone
        };
        // Somebody else's code to drop, so not under the lock.
        drop(gone);
        self.dispatch();
        Ok(())
    }

    /// Sends what may go out, and sets the timer for what may not.
    fn dispatch(self: &Arc<Self>) {
        loop {
            let mut state = self.lock();
            let idle = self.settings.flush_when_idle && state.in_flight == 0;
            let full = state.waiting.len() >= self.settings.max_items;
            let (mut batch, mut gone) = (Vec::new(), Vec::new());
            if (full || state.due || idle) && state.in_flight < self.settings.concurrency {
                batch = state.gather(self.settings.max_items, &mut gone);
                if batch.len() < self.settings.max_items && !state.due && !idle {
                    // It was only full with those who left.
                    state.waiting.extend(batch.drain(..));
                }
            }
            state.due &= !state.waiting.is_empty();
            if batch.is_empty() {
                let timer = self.new_timer(&mut state);
                drop(state);
                drop(gone);
                if let Some(timer) = timer {
                    tokio::spawn(timer.run());
                }
                return;
            }
            state.timer = None;
            state.in_flight += 1;
            drop(state);
            drop(gone);
            tokio::spawn(self.send(batch));
        }
    }

    /// For the first one that waits, unless it is counted for already.
    fn new_timer(self: &Arc<Self>, state: &mut State<T, R>) -> Option<Due<T, R>> {
        let first = state.waiting.front()?;
        if state.due || state.timer.is_some() {
            return None;
        }
        let wait = self
            .settings
            .max_delay
            .saturating_sub(first.since.elapsed());
        state.timers += 1;
        state.timer = Some(state.timers);
        Some(Due {
            shared: self.clone(),
            timer: state.timers,
            wait,
        })
    }

    /// Runs one batch that is already counted as under way.
    fn send(self: &Arc<Self>, batch: Vec<Entry<T, R>>) -> impl Future<Output = ()> + use<T, R> {
        // From here on, so that the place is freed even when the runtime never polls the batch.
        let end = BatchEnd {
            shared: self.clone(),
            over: false,
        };
        end.run(batch)
    }
}

impl<T: Send + 'static, R: Send + 'static> BatchEnd<T, R> {
    async fn run(mut self, batch: Vec<Entry<T, R>>) {
        let shared = &self.shared;
        // Others of the same moment may still be leaving.
        let (asked, mut items, mut replies) = (batch.len(), Vec::new(), Vec::new());
        for entry in batch {
            if !entry.reply.is_closed() {
                items.push(entry.item);
                replies.push(entry.reply);
            }
        }
        {
            let mut state = shared.lock();
            state.stats.batches += u64::from(!items.is_empty());
            state.stats.items += items.len() as u64;
            state.stats.abandoned += (asked - items.len()) as u64;
        }
        if !items.is_empty() {
            match catch_unwind(AssertUnwindSafe(|| (shared.run)(items))) {
                Ok(run) => {
                    if let Some(results) = race(run, &mut replies).await {
                        answer(replies, results);
                    } else {
                        shared.lock().stats.stopped += 1;
                    }
                }
                Err(panic) => answer(replies, Err(panic_message(&*panic))),
            }
        }
        self.over = true;
    }
}

/// The batch's results, or `None` once every caller has left.
async fn race<R>(
    mut run: BoxFuture<'static, BatchResults<R>>,
    replies: &mut [oneshot::Sender<Result<R, Error>>],
) -> Option<Result<BatchResults<R>, String>> {
    poll_fn(|cx| {
        match catch_unwind(AssertUnwindSafe(|| run.as_mut().poll(cx))) {
            Ok(Poll::Ready(results)) => return Poll::Ready(Some(Ok(results))),
            Ok(Poll::Pending) => {}
            Err(panic) => return Poll::Ready(Some(Err(panic_message(&*panic)))),
        }
        let left = replies
            .iter_mut()
            .map(|reply| usize::from(reply.poll_closed(cx).is_pending()))
            .sum::<usize>();
        if left == 0 {
            Poll::Ready(None)
        } else {
            Poll::Pending
        }
    })
    .await
}

fn answer<R>(
    replies: Vec<oneshot::Sender<Result<R, Error>>>,
    results: Result<BatchResults<R>, String>,
) {
    let (asked, results) = (replies.len(), results);
    let error = match results {
        Ok(results) if results.len() == asked => {
            for (reply, result) in replies.into_iter().zip(results) {
                // The caller may have left.
                let _ = reply.send(result);
            }
            return;
        }
        Ok(results) => {
            let message = format!("the batch of {asked} items gave {} results", results.len());
            Error::Failed { message }
        }
        Err(message) => Error::Panicked { message },
    };
    for reply in replies {
        let _ = reply.send(Err(error.clone()));
    }
}

/// Frees the batch's place, even when the task that runs it is dropped.
struct BatchEnd<T: Send + 'static, R: Send + 'static> {
    shared: Arc<Shared<T, R>>,
    over: bool,
}

impl<T: Send + 'static, R: Send + 'static> Drop for BatchEnd<T, R> {
    fn drop(&mut self) {
        // Dropped in the middle: the runtime is going away, and another batch would fare no better.
        let ends_here = !self.over && !std::thread::panicking();
        let gone = {
            let mut state = self.shared.lock();
            state.in_flight -= 1;
            if ends_here {
                state.waiting.split_off(0)
            } else {
                VecDeque::new()
            }
        };
        drop(gone);
        if !ends_here && Handle::try_current().is_ok() {
            self.shared.dispatch();
        }
    }
}

/// Sends what waits when its time is up.
struct Due<T: Send + 'static, R: Send + 'static> {
    shared: Arc<Shared<T, R>>,
    timer: u64,
    wait: Duration,
}

impl<T: Send + 'static, R: Send + 'static> Due<T, R> {
    async fn run(self) {
        tokio::time::sleep(self.wait).await;
        {
            let mut state = self.shared.lock();
            if state.timer != Some(self.timer) {
                return;
            }
            state.timer = None;
            state.due = true;
        }
        self.shared.dispatch();
    }
}

impl<T: Send + 'static, R: Send + 'static> Drop for Due<T, R> {
    fn drop(&mut self) {
        let gone = {
            let mut state = self.shared.lock();
            if state.timer != Some(self.timer) {
                return;
            }
            // Its time will never be up: the runtime is going away. Those who wait are told instead of left waiting.
            state.timer = None;
            state.waiting.split_off(0)
        };
        drop(gone);
    }
}

impl<T, R> State<T, R> {
    /// The first `most` that are still wanted; those met on the way that are not go to `gone`.
    fn gather(&mut self, most: usize, gone: &mut Vec<Entry<T, R>>) -> Vec<Entry<T, R>> {
        let mut wanted = Vec::new();
        while wanted.len() < most
            && let Some(entry) = self.waiting.pop_front()
        {
            if entry.reply.is_closed() {
                gone.push(entry);
            } else {
                wanted.push(entry);
            }
        }
        self.stats.abandoned += gone.len() as u64;
        wanted
    }

    fn remove_abandoned(&mut self) -> Vec<Entry<T, R>> {
        let (gone, kept): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|entry| entry.reply.is_closed());
        self.waiting = kept;
        self.stats.abandoned += gone.len() as u64;
        gone.into()
    }
}

/// A batcher per registered type of request.
pub struct BatchQueues<T, R> {
    queues: HashMap<String, Batcher<T, R>>,
}

impl<T: Send + 'static, R: Send + 'static> BatchQueues<T, R> {
    /// No types.
    #[must_use]
    pub fn new() -> Self {
        Self {
            queues: HashMap::new(),
        }
    }

    /// Registers a type; a second registration replaces the first.
    pub fn register(&mut self, name: impl Into<String>, batcher: Batcher<T, R>) {
        self.queues.insert(name.into(), batcher);
    }

    /// Calls the batcher of a type.
    ///
    /// # Errors
    /// [`Error::UnknownType`], or as [`Batcher::call`].
    pub async fn call(&self, name: &str, item: T) -> Result<R, Error> {
        self.find(name)?.call(item).await
    }

    /// Calls the batcher of a type, past its queue.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn urgent(&self, name: &str, item: T) -> Result<R, Error> {
        self.find(name)?.urgent(item).await
    }

    fn find(&self, name: &str) -> Result<&Batcher<T, R>, Error> {
        self.queues.get(name).ok_or_else(|| Error::UnknownType {
            name: name.to_owned(),
        })
    }
}

impl<T: Send + 'static, R: Send + 'static> Default for BatchQueues<T, R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, R> fmt::Debug for BatchQueues<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.queues.keys()).finish()
    }
}
