//! The thread behind `Durability::Interval`, and behind loads with `Durability::Os`: it syncs, and saves
//! the index, while writers go on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::queue::lock;
use crate::store::Inner;

#[derive(Debug, Default)]
struct Mood {
    /// Since when something waits for a sync.
    dirty: Option<Instant>,
    /// What is dirty is older than the interval already.
    overdue: bool,
    /// What changed in the index is to be saved.
    unsaved: bool,
    stop: bool,
}

impl Mood {
    /// How long what is dirty may wait. It did so already while the thread was at what came before.
    fn left(&self, every: Duration, now: Instant) -> Duration {
        let waited = self.dirty.map(|since| now.saturating_duration_since(since));
        every.saturating_sub(waited.unwrap_or_default())
    }
}

#[derive(Debug, Default)]
pub(crate) struct Flusher {
    shared: Arc<(Mutex<Mood>, Condvar)>,
    wanted: AtomicBool,
    runs: AtomicBool,
}

impl Flusher {
    /// Much was written with nobody to sync it: asks for it to be done soon.
    pub(crate) fn want(&self) {
        match self.runs.load(Ordering::Relaxed) {
            true => self.wake(),
            false => self.wanted.store(true, Ordering::Relaxed),
        }
    }

    /// Starts the thread if that was asked for. Without one the system writes when it likes.
    pub(crate) fn start_if_wanted(&self, inner: &Arc<Inner>) {
        if self.wanted.load(Ordering::Relaxed)
            && self.wanted.swap(false, Ordering::Relaxed)
            && !self.runs.swap(true, Ordering::Relaxed)
        {
            let _ = self.start(inner, Duration::ZERO);
            self.wake();
        }
    }

    pub(crate) fn start(&self, inner: &Arc<Inner>, every: Duration) -> Result<()> {
        self.runs.store(true, Ordering::Relaxed);
        let (store, shared) = (Arc::downgrade(inner), Arc::clone(&self.shared));
        std::thread::Builder::new()
            .name("mmap-store-flush".into())
            .spawn(move || run(&store, &shared, every))
            .map(drop)
            .map_err(|e| {
                // Else what is due would be left to a thread that is not there.
                self.runs.store(false, Ordering::Relaxed);
                Error::io("start the thread that flushes", "the store", e)
            })
    }

    /// Something was written that the interval applies to.
    pub(crate) fn wake(&self) {
        let (mood, changed) = &*self.shared;
        let mut state = lock(mood);
        if state.dirty.is_none() {
            state.dirty = Some(Instant::now());
            changed.notify_one();
        }
    }

    /// Something was written longer ago than the interval.
    pub(crate) fn hurry(&self) {
        let (mood, changed) = &*self.shared;
        let mut state = lock(mood);
        state.dirty.get_or_insert_with(Instant::now);
        state.overdue = true;
        changed.notify_one();
    }

    /// Has the index saved by the thread; false if there is none.
    pub(crate) fn save(&self) -> bool {
        let runs = self.runs.load(Ordering::Relaxed);
        if runs {
            let (mood, changed) = &*self.shared;
            lock(mood).unsaved = true;
            changed.notify_one();
        }
        runs
    }

    pub(crate) fn stop(&self) {
        let (mood, changed) = &*self.shared;
        lock(mood).stop = true;
        changed.notify_one();
    }
}

fn run(store: &Weak<Inner>, shared: &(Mutex<Mood>, Condvar), every: Duration) {
    let (mood, changed) = shared;
    loop {
        let mut state = changed
            .wait_while(lock(mood), |m| m.dirty.is_none() && !m.unsaved && !m.stop)
            .unwrap_or_else(PoisonError::into_inner);
        let left = state.left(every, Instant::now());
        state = changed
            .wait_timeout_while(state, left, |m| !m.stop && !m.overdue && !m.unsaved)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
        if state.stop {
            return;
        }
        let is_unsaved = std::mem::take(&mut state.unsaved);
        (state.dirty, state.overdue) = (None, false);
        drop(state);
        // A failure poisons the store; the next writer is told.
        let Some(inner) = store.upgrade() else {
            return;
        };
        let _ = inner.sync();
        if is_unsaved {
            inner.save_quietly();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was written while the thread synced or saved does not wait for a whole interval more.
    #[test]
    fn the_interval_counts_from_the_first_write() {
        let (every, begun) = (Duration::from_secs(60), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut mood = Mood::default();
        assert_eq!(mood.left(every, at(7)), every);
        mood.dirty = Some(begun);
        let left = [0, 20, 60, 90].map(|s| mood.left(every, at(s)).as_secs());
        assert_eq!(left, [60, 40, 0, 0]);
        let flusher = Flusher::default();
        let since = || lock(&flusher.shared.0).dirty;
        flusher.wake();
        let first = since();
        flusher.wake();
        assert!(first.is_some() && since() == first);
    }
}
