//! Figures about a tokio runtime: how busy it is, and how late it runs what is due.

use std::fmt;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::gauge::Gauge;
use crate::registry::Registry;
use crate::timer::Timer;

const BEATS_PER_SAMPLE: u32 = 10;
const LEAST_BEAT: Duration = Duration::from_millis(1);

/// Reads the stable metrics of a tokio runtime.
///
/// Exports `tokio_workers`, `tokio_alive_tasks`, `tokio_global_queue_depth` and
/// `tokio_busy_ratio` (0 to 1, since the sample before), and with [`RuntimeProbe::start`]
/// `tokio_scheduling_delay_seconds`: how long after its time a timer's task ran.
pub struct RuntimeProbe {
    runtime: Handle,
    delay: Timer,
    workers: Gauge,
    tasks: Gauge,
    queue: Gauge,
    busy: Gauge,
    last: (Instant, Duration),
}

impl RuntimeProbe {
    /// A probe of `runtime`.
    #[must_use]
    pub fn new(registry: &Registry, runtime: &Handle) -> Self {
        Self {
            delay: registry.timer("tokio_scheduling_delay_seconds", &[]),
            workers: registry.gauge("tokio_workers", &[]),
            tasks: registry.gauge("tokio_alive_tasks", &[]),
            queue: registry.gauge("tokio_global_queue_depth", &[]),
            busy: registry.gauge("tokio_busy_ratio", &[]),
            last: (Instant::now(), busy(runtime)),
            runtime: runtime.clone(),
        }
    }

    /// Sets the gauges.
    pub fn sample(&mut self) {
        let metrics = self.runtime.metrics();
        self.workers.set(metrics.num_workers() as f64);
        self.tasks.set(metrics.num_alive_tasks() as f64);
        self.queue.set(metrics.global_queue_depth() as f64);
        let now = (Instant::now(), busy(&self.runtime));
        let time = (now.0 - self.last.0).as_secs_f64() * metrics.num_workers() as f64;
        if time > 0.0 {
            let busy = now.1.saturating_sub(self.last.1).as_secs_f64();
            self.busy.set((busy / time).min(1.0));
            self.last = now;
        }
    }

    /// Runs a heartbeat on the runtime: every `beat` (at least 1 ms; 100 ms is a good choice) it
    /// records how late it was, and every ten beats it samples. Ends when the handle is dropped.
    #[must_use = "the heartbeat stops when the handle is dropped"]
    pub fn start(mut self, beat: Duration) -> RuntimeWatching {
        let runtime = self.runtime.clone();
        let task = runtime.spawn(async move {
            let mut beats = 0u32;
            loop {
                if beats.is_multiple_of(BEATS_PER_SAMPLE) {
                    self.sample();
                }
                beats = beats.wrapping_add(1);
                let due = Instant::now() + beat.max(LEAST_BEAT);
                sleep_until(due).await;
                self.delay.record(due.elapsed());
            }
        });
        RuntimeWatching { task }
    }
}

fn busy(runtime: &Handle) -> Duration {
    let metrics = runtime.metrics();
    (0..metrics.num_workers())
        .map(|worker| metrics.worker_total_busy_duration(worker))
        .sum()
}

impl fmt::Debug for RuntimeProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuntimeProbe")
            .field("runtime", &self.runtime.id())
            .finish_non_exhaustive()
    }
}

/// A running heartbeat; see [`RuntimeProbe::start`].
#[derive(Debug)]
pub struct RuntimeWatching {
    task: JoinHandle<()>,
}

impl Drop for RuntimeWatching {
    fn drop(&mut self) {
        self.task.abort();
    }
}
