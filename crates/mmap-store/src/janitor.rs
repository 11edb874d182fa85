//! The thread that compacts by itself.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};

use crate::error::{Error, Result};
use crate::queue::lock;
use crate::segment::{START, Segment};
use crate::store::Inner;

#[derive(Debug, Default)]
struct Mood {
    /// A segment was sealed since the last look.
    due: bool,
    stop: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Janitor {
    shared: Arc<(Mutex<Mood>, Condvar)>,
}

impl Janitor {
    pub(crate) fn start(&self, inner: &Arc<Inner>, percent: u8) -> Result<()> {
        let (store, shared) = (Arc::downgrade(inner), Arc::clone(&self.shared));
        std::thread::Builder::new()
            .name("mmap-store-compact".into())
            .spawn(move || run(&store, &shared, percent))
            .map(drop)
            .map_err(|e| Error::io("start the thread that compacts", "the store", e))
    }

    /// There may be something to compact.
    pub(crate) fn wake(&self) {
        let (mood, changed) = &*self.shared;
        lock(mood).due = true;
        changed.notify_one();
    }

    pub(crate) fn stop(&self) {
        let (mood, changed) = &*self.shared;
        lock(mood).stop = true;
        changed.notify_one();
    }
}

fn run(store: &Weak<Inner>, shared: &(Mutex<Mood>, Condvar), percent: u8) {
    let (mood, changed) = shared;
    loop {
        let mut state = changed
            .wait_while(lock(mood), |m| !m.due && !m.stop)
            .unwrap_or_else(PoisonError::into_inner);
        if state.stop {
            return;
        }
        state.due = false;
        drop(state);
        let Some(inner) = store.upgrade() else {
            return;
        };
        if inner.is_worth_compacting(percent) {
            // A full disk leaves everything as it was, and the next sealed segment tries again;
            // anything worse poisons the store, and the next writer is told.
            let _ = inner.compact();
        }
    }
}

impl Inner {
    fn is_worth_compacting(&self, percent: u8) -> bool {
        let view = self.view.load();
        // Of the records alone: headers and footers are not given back.
        let sum = |of: &dyn Fn(&Segment) -> u64| view.members.iter().map(|s| of(s)).sum::<u64>();
        let log = sum(&|s| s.records_end().saturating_sub(START));
        let dead = log.saturating_sub(sum(&|s| s.live.get().records));
        let is_open = !self.closed.load(Ordering::Acquire);
        is_open && dead >= self.options.segment_size && dead >= log / 100 * u64::from(percent)
    }
}
