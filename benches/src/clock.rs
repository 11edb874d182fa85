//! The clocks a row can rest on.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// What counts as time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// CPU time of the calling thread: other processes do not lengthen it. Work on other threads is
    /// not seen.
    Thread,
    /// CPU time of the whole process: sees every thread, ours and a peer's, at work or spinning.
    Process,
    /// Elapsed time, for work that waits for a disk or another thread.
    Wall,
}

impl Clock {
    /// Nanoseconds since some fixed point.
    #[must_use]
    pub fn now(self) -> f64 {
        let now = clock_gettime(match self {
            Self::Thread => ClockId::ThreadCPUTime,
            Self::Process => ClockId::ProcessCPUTime,
            Self::Wall => ClockId::Monotonic,
        });
        now.tv_sec as f64 * 1e9 + now.tv_nsec as f64
    }

    /// Nanoseconds that `work` takes.
    pub fn time(self, work: impl FnOnce()) -> f64 {
        let before = self.now();
        work();
        self.now() - before
    }
}

/// Runs `work` on `threads` threads that start together; the mean of what each spent, by its own CPU
/// clock, nanoseconds.
///
/// # Panics
/// When a thread panics.
pub fn on_threads(threads: usize, work: impl Fn(usize) + Sync) -> f64 {
    let gate = std::sync::Barrier::new(threads);
    let spent: Vec<f64> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..threads)
            .map(|thread| {
                let (gate, work) = (&gate, &work);
                scope.spawn(move || {
                    gate.wait();
                    Clock::Thread.time(|| work(thread))
                })
            })
            .collect();
        started
            .into_iter()
            .map(|thread| thread.join().expect("a worker of the benchmark panicked"))
            .collect()
    });
    spent.iter().sum::<f64>() / threads.max(1) as f64
}

/// A duration in nanoseconds.
#[must_use]
pub fn nanoseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e9
}
