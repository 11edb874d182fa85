//! Making everything durable when a thread panics.

use std::{
    panic,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use mainspring_mmap_store::Durability;

use super::{Inner, Runtime};
use crate::Error;

/// The name of the thread that flushes; its own panics wait for nothing.
const FLUSHER: &str = "mainspring-flush";
/// Between looks whether another panic's flush is done.
const TURN: Duration = Duration::from_millis(1);

impl Runtime {
    /// From now on, a panic of any thread of the process first makes everything durable that was
    /// acknowledged here: for processes that end with a panic, or whose machine does. What the process
    /// wrote is not lost when it alone ends, with or without this.
    ///
    /// The panicking thread waits for that, `patience` at most, and then does what it would have
    /// done: the hook that was set before is called. It holds whatever locks it held, so a panic
    /// inside a store is waited for in vain, and made durable when the locks are free. Call it once; the
    /// hook stays, and does nothing when this runtime is gone.
    pub fn flush_on_panic(&self, patience: Duration) {
        let inner = Arc::downgrade(&self.inner);
        let flushing = Arc::new(AtomicBool::new(false));
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            flush(&inner, &flushing, patience);
            before(info);
        }));
    }

    /// Makes everything durable that was acknowledged: log, checkpoints, then cached results. All are
    /// tried, whatever fails.
    ///
    /// # Errors
    /// The first failure: [`Error::Store`], [`Error::Snapshot`].
    pub fn flush(&self) -> Result<(), Error> {
        self.inner.flush()
    }
}

impl Inner {
    fn flush(&self) -> Result<(), Error> {
        // The log first: a checkpoint should not outlive its messages.
        let log = self.log.store().flush(Durability::Always);
        let snapshots = self.snapshots.sync();
        let cache = self.tier.store().flush(Durability::Always);
        log?;
        snapshots?;
        Ok(cache?)
    }
}

/// On a thread of its own: the panicking one may hold a lock that flushing needs. One at a time, each
/// after its own panic, so that what was acknowledged while another one ran is not left out.
fn flush(inner: &Weak<Inner>, flushing: &Arc<AtomicBool>, patience: Duration) {
    let started = Instant::now();
    if thread::current().name() == Some(FLUSHER) {
        return;
    }
    while flushing.swap(true, Ordering::AcqRel) {
        if started.elapsed() >= patience {
            return;
        }
        thread::sleep(TURN);
    }
    // From here on whatever ends this lets the next one in: no thread to be had, or a panic in it.
    let turn = Turn(Arc::clone(flushing));
    let Some(inner) = inner.upgrade() else {
        return;
    };
    let (done, wait) = mpsc::channel();
    let spawned = thread::Builder::new()
        .name(FLUSHER.to_owned())
        .spawn(move || {
            // Nobody is left to be told of a failure.
            let _ = inner.flush();
            drop(inner);
            drop(turn);
            let _ = done.send(());
        });
    if spawned.is_ok() {
        let _ = wait.recv_timeout(patience.saturating_sub(started.elapsed()));
    }
}

/// The right to flush, given back on drop.
struct Turn(Arc<AtomicBool>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
