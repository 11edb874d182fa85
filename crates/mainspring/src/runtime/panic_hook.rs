//! Making everything durable when a thread panics.

use std::{
    panic,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use mainspring_mmap_store::Durability;

use super::{Inner, Runtime};
use crate::Error;

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
            if !flushing.swap(true, Ordering::AcqRel) {
                flush(&inner, &flushing, patience);
            }
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

/// On a thread of its own: the panicking one may hold a lock that flushing needs.
fn flush(inner: &Weak<Inner>, flushing: &Arc<AtomicBool>, patience: Duration) {
    let Some(inner) = inner.upgrade() else {
        return;
    };
    let (done, wait) = mpsc::channel();
    let flushing = Arc::clone(flushing);
    let spawned = thread::Builder::new()
        .name("mainspring-flush".to_owned())
        .spawn(move || {
            // Nobody is left to be told of a failure.
            let _ = inner.flush();
            drop(inner);
            flushing.store(false, Ordering::Release);
            let _ = done.send(());
        });
    if spawned.is_ok() {
        let _ = wait.recv_timeout(patience);
    }
}
