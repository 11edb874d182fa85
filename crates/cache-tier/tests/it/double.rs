//! Stand-ins: a clock set by hand, a tier that takes its time, an executor that counts polls.

use mainspring_cache_tier::{
    Change, Clock, Error, Key, Label, Marks, Tell, Tier, TierEntry, TierFuture,
};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

#[derive(Clone, Default)]
pub(crate) struct Hands(Arc<AtomicU64>);

impl Hands {
    pub(crate) fn clock(&self) -> Clock {
        let millis = Arc::clone(&self.0);
        millis.fetch_max(1_000_000, Ordering::Relaxed);
        Clock::new(move || Duration::from_millis(millis.load(Ordering::Relaxed)))
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_millis() as u64, Ordering::Relaxed);
    }
}

/// Polls once.
pub(crate) fn step<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls to the end. The futures here wake themselves, so polling again is always right; one that never
/// ends fails the test.
pub(crate) fn run<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    for _ in 0..100_000 {
        if let Poll::Ready(output) = step(future.as_mut()) {
            return output;
        }
    }
    panic!("a future did not end in 100,000 polls: a wake-up was lost");
}

/// Comes back after so many polls.
pub(crate) async fn pause(polls: usize) {
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(());
        }
        left -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A tier in memory, whose every call is pending once before and once after it acts.
#[derive(Default)]
pub(crate) struct Slow {
    pub(crate) entries: Mutex<HashMap<Key, TierEntry>>,
    pub(crate) marks: Mutex<Marks>,
    pub(crate) broken: AtomicBool,
    /// Fails writes and removals only.
    pub(crate) read_only: AtomicBool,
    /// Several caches use it at the same time.
    pub(crate) shared: AtomicBool,
    /// Fails to tell the marks of labels only.
    pub(crate) deaf: AtomicBool,
    /// Can tell what other processes change.
    pub(crate) telling: AtomicBool,
    /// Whom it tells, while it is watched.
    pub(crate) tell: Mutex<Option<Tell>>,
    pub(crate) gets: AtomicU64,
    pub(crate) batches: AtomicU64,
}

impl Slow {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    fn change<'a, T: Send + 'a>(
        &'a self,
        act: impl FnOnce() -> T + Send + 'a,
    ) -> TierFuture<'a, T> {
        if self.read_only.load(Ordering::Relaxed) {
            return Box::pin(async { Err(Error::tier("slow", "read only")) });
        }
        self.answer(act)
    }

    fn answer<'a, T: Send + 'a>(
        &'a self,
        act: impl FnOnce() -> T + Send + 'a,
    ) -> TierFuture<'a, T> {
        Box::pin(async move {
            pause(1).await;
            if self.broken.load(Ordering::Relaxed) {
                return Err(Error::tier("slow", "broken on purpose"));
            }
            let answer = act();
            pause(1).await;
            Ok(answer)
        })
    }
}

impl Tier for Slow {
    fn name(&self) -> &str {
        "slow"
    }

    fn get<'a>(&'a self, key: &'a Key) -> TierFuture<'a, Option<TierEntry>> {
        self.answer(|| {
            self.gets.fetch_add(1, Ordering::Relaxed);
            self.entries.lock().unwrap().get(key).cloned()
        })
    }

    fn get_many<'a>(&'a self, keys: &'a [Key]) -> TierFuture<'a, Vec<Option<TierEntry>>> {
        self.answer(|| {
            self.batches.fetch_add(1, Ordering::Relaxed);
            let entries = self.entries.lock().unwrap();
            keys.iter().map(|key| entries.get(key).cloned()).collect()
        })
    }

    fn put<'a>(&'a self, key: &'a Key, entry: &'a TierEntry) -> TierFuture<'a, ()> {
        self.change(|| {
            self.entries
                .lock()
                .unwrap()
                .insert(key.clone(), entry.clone());
        })
    }

    fn remove<'a>(&'a self, key: &'a Key) -> TierFuture<'a, ()> {
        self.change(|| {
            self.entries.lock().unwrap().remove(key);
        })
    }

    fn mark<'a>(&'a self, labels: &'a [Label], epoch: u64) -> TierFuture<'a, u64> {
        self.answer(move || {
            let mut marks = self.marks.lock().unwrap();
            let next = marks.latest + u64::from(!labels.is_empty());
            marks.latest = next.max(epoch);
            let epoch = marks.latest;
            marks
                .marks
                .extend(labels.iter().map(|label| (*label, epoch)));
            epoch
        })
    }

    fn marks(&self) -> TierFuture<'_, Marks> {
        self.answer(|| self.marks.lock().unwrap().clone())
    }

    fn observe<'a>(&'a self, labels: &'a [Label]) -> TierFuture<'a, Marks> {
        if self.deaf.load(Ordering::Relaxed) {
            return Box::pin(async { Err(Error::tier("slow", "deaf")) });
        }
        // Of the labels asked for and no others.
        self.answer(|| {
            let mut marks = self.marks.lock().unwrap().clone();
            marks.marks.retain(|(label, _)| labels.contains(label));
            marks
        })
    }

    fn watch(&self, tell: Tell) -> TierFuture<'_, ()> {
        Box::pin(async move {
            if self.telling.load(Ordering::Relaxed) {
                tell.tell(Change::Lost);
                *self.tell.lock().unwrap() = Some(tell);
                let _unheard = Unheard(&self.tell);
                std::future::pending::<()>().await;
            }
            Ok(())
        })
    }

    fn is_shared(&self) -> bool {
        self.shared.load(Ordering::Relaxed)
    }

    fn clear(&self) -> TierFuture<'_, ()> {
        self.change(|| self.entries.lock().unwrap().clear())
    }
}

struct Unheard<'a>(&'a Mutex<Option<Tell>>);

impl Drop for Unheard<'_> {
    fn drop(&mut self) {
        if let Ok(mut tell) = self.0.lock() {
            *tell = None;
        }
    }
}

/// A future with its output, which can be polled on after its end.
pub(crate) struct Task<'a, T> {
    future: Pin<Box<dyn Future<Output = T> + 'a>>,
    output: Option<T>,
}

impl<'a, T> Task<'a, T> {
    pub(crate) fn new(future: impl Future<Output = T> + 'a) -> Self {
        Self {
            future: Box::pin(future),
            output: None,
        }
    }

    /// Polls once, unless it ended; true when it has.
    pub(crate) fn step(&mut self) -> bool {
        if self.output.is_none()
            && let Poll::Ready(output) = step(self.future.as_mut())
        {
            self.output = Some(output);
        }
        self.output.is_some()
    }

    pub(crate) fn steps(&mut self, polls: usize) -> bool {
        for _ in 0..polls {
            self.step();
        }
        self.output.is_some()
    }

    pub(crate) fn finish(mut self) -> T {
        assert!(
            self.steps(10_000),
            "a future did not end: a wake-up was lost"
        );
        self.output.unwrap()
    }
}
