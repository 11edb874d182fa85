//! Watches the process: samples it, looks for leaks, relieves pressure, raises alerts.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::alert::{Alert, Alerts};
use crate::counter::ObservedCounter;
use crate::error::Error;
use crate::gauge::Gauge;
use crate::leak::{Leak, LeakDetector};
use crate::log;
use crate::pressure::{Pressure, Relief};
use crate::process::{ProcessProbe, ProcessSample};
use crate::registry::Registry;

const SAMPLES_KEPT: usize = 100;
const INTERVAL: Duration = Duration::from_secs(30);
/// The alert that the process's anonymous memory is given to.
const MEMORY_ALERT: &str = "high_memory";

type Callback = Box<dyn FnMut(&Finding) + Send>;
type HeapSource = Box<dyn Fn() -> HeapFigures + Send>;
type BytesSource = Box<dyn Fn() -> u64 + Send>;

/// What one look at the process found.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Finding {
    /// The sample.
    pub sample: ProcessSample,
    /// What seems to leak now.
    pub leaks: Vec<Leak>,
    /// What was done against memory pressure.
    pub reliefs: Vec<Relief>,
    /// Alerts that began or ended.
    pub alerts: Vec<Alert>,
}

/// Looks at the process now and then.
///
/// Drive it with [`Watch::look`], or let [`Watch::start`] do so every 30 s on a thread of its own.
/// Exports `process_resident_memory_bytes`, `process_anonymous_memory_bytes`,
/// `process_peak_memory_bytes`, `process_cpu_seconds_total{mode}`, `process_threads`,
/// `process_open_fds`, `process_uptime_seconds`, `memory_owner_bytes{owner}` and
/// `memory_leak_suspected{owner}`.
pub struct Watch {
    registry: Registry,
    probe: ProcessProbe,
    metrics: ProcessMetrics,
    process: Suspect,
    owners: Vec<(Suspect, BytesSource)>,
    heap: Option<HeapSource>,
    pressure: Option<Pressure>,
    alerts: Alerts,
    on_finding: Option<Callback>,
    interval: Duration,
    samples: VecDeque<(Duration, ProcessSample)>,
}

/// What an allocator says about its heap; see [`Watch::heap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeapFigures {
    /// Bytes taken from the system.
    pub total_bytes: Option<u64>,
    /// Bytes of these that the program holds.
    pub used_bytes: Option<u64>,
    /// Bytes that the program holds elsewhere: mapped files, buffers of foreign libraries.
    pub external_bytes: Option<u64>,
}

/// Something that may leak, and how it is exported.
struct Suspect {
    detector: LeakDetector,
    bytes: Gauge,
    suspected: Gauge,
}

impl Suspect {
    fn new(registry: &Registry, owner: &str, detector: LeakDetector) -> Self {
        Self {
            detector,
            bytes: registry.gauge("memory_owner_bytes", &[("owner", owner)]),
            suspected: registry.gauge("memory_leak_suspected", &[("owner", owner)]),
        }
    }

    fn push(&mut self, now: Duration, bytes: u64) -> Option<Leak> {
        let leak = self.detector.push(now, bytes);
        self.bytes.set(bytes as f64);
        self.suspected.set(f64::from(u8::from(leak.is_some())));
        leak
    }
}

impl Watch {
    /// A watch with leak detection on the process's anonymous memory, no pressure stages, no alerts.
    ///
    /// # Errors
    /// Where there is no `/proc` (anything but Linux).
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        Ok(Self {
            registry: registry.clone(),
            probe: ProcessProbe::open()?,
            metrics: ProcessMetrics::new(registry),
            process: Suspect::new(registry, "process", LeakDetector::new("process")),
            owners: Vec::new(),
            heap: None,
            pressure: None,
            alerts: Alerts::new(),
            on_finding: None,
            interval: INTERVAL,
            samples: VecDeque::with_capacity(SAMPLES_KEPT),
        })
    }

    /// How often the thread looks. Default 30 s, at least 1 ms.
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval.max(Duration::from_millis(1));
        self
    }

    /// Also watches what an owner (a pool, a cache, the allocator) says it holds, in bytes, so that
    /// a leak has a name.
    #[must_use]
    pub fn owner(mut self, name: &str, bytes: impl Fn() -> u64 + Send + 'static) -> Self {
        let suspect = Suspect::new(&self.registry, name, LeakDetector::new(name));
        self.owners.push((suspect, Box::new(bytes)));
        self
    }

    /// Also exports what the allocator tells at each look: `heap_total_bytes`, `heap_used_bytes` and
    /// `heap_external_bytes`, each where there is a figure.
    #[must_use]
    pub fn heap(mut self, figures: impl Fn() -> HeapFigures + Send + 'static) -> Self {
        self.heap = Some(Box::new(figures));
        self
    }

    /// The stages to run by anonymous memory.
    #[must_use]
    pub fn pressure(mut self, pressure: Pressure) -> Self {
        self.pressure = Some(pressure);
        self
    }

    /// The alerts; anonymous memory goes to the rule `high_memory`.
    #[must_use]
    pub fn alerts(mut self, alerts: Alerts) -> Self {
        self.alerts = alerts;
        self
    }

    /// Calls `callback` with every finding.
    #[must_use]
    pub fn on_finding(mut self, callback: impl FnMut(&Finding) + Send + 'static) -> Self {
        self.on_finding = Some(Box::new(callback));
        self
    }

    /// Samples the process and acts on what it finds.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn look(&mut self) -> Result<Finding, Error> {
        let sample = self.probe.sample()?;
        let now = self.registry.clock().now();
        let (probe, mut failed) = (&mut self.probe, None);
        let memory = || match probe.memory() {
            Ok(memory) => memory.rss_anon_bytes,
            Err(error) => {
                failed = Some(error);
                0
            }
        };
        let reliefs = self
            .pressure
            .as_mut()
            .map_or_else(Vec::new, |pressure| pressure.check(now, memory));
        match failed {
            Some(error) => Err(error),
            None => Ok(self.conclude(now, sample, reliefs)),
        }
    }

    fn conclude(&mut self, now: Duration, sample: ProcessSample, reliefs: Vec<Relief>) -> Finding {
        self.metrics.set(&sample);
        if let Some(figures) = self.heap.as_ref().map(|heap| heap()) {
            let named = [
                ("heap_total_bytes", figures.total_bytes),
                ("heap_used_bytes", figures.used_bytes),
                ("heap_external_bytes", figures.external_bytes),
            ];
            for (name, bytes) in named {
                if let Some(bytes) = bytes {
                    self.registry.gauge(name, &[]).set(bytes as f64);
                }
            }
        }
        if self.samples.len() == SAMPLES_KEPT {
            self.samples.pop_front();
        }
        self.samples.push_back((now, sample));
        let mut leaks: Vec<Leak> = self
            .process
            .push(now, sample.rss_anon_bytes)
            .into_iter()
            .collect();
        for (suspect, bytes) in &mut self.owners {
            leaks.extend(suspect.push(now, bytes()));
        }
        let alerts = self
            .alerts
            .observe(MEMORY_ALERT, sample.rss_anon_bytes as f64, now);
        leaks.iter().for_each(log::leak);
        reliefs.iter().for_each(log::relief);
        let finding = Finding {
            sample,
            leaks,
            reliefs,
            alerts,
        };
        if let Some(callback) = &mut self.on_finding {
            callback(&finding);
        }
        finding
    }

    /// The samples kept, oldest first, at most 100, with the time by the registry's clock.
    pub fn samples(&self) -> impl Iterator<Item = &(Duration, ProcessSample)> {
        self.samples.iter()
    }

    /// Looks once now, and then every interval on a thread of its own until the handle is dropped.
    /// Looks that fail, and those whose callbacks panic, are counted in
    /// `monitor_watch_failures_total`.
    ///
    /// # Errors
    /// When the first look fails or no thread can be started.
    pub fn start(mut self) -> Result<Watching, Error> {
        self.look()?;
        let signal = Arc::new(Signal::default());
        let theirs = Arc::clone(&signal);
        let failures = self.registry.counter("monitor_watch_failures", &[]);
        let work = move || {
            while !theirs.stopped_within(self.interval) {
                // A callback that panics has said so; the watch goes on.
                let looked = catch_unwind(AssertUnwindSafe(|| self.look()));
                if !matches!(looked, Ok(Ok(_))) {
                    failures.increment();
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("mainspring-watch".to_owned())
            .spawn(work);
        let thread = thread.map_err(|source| Error::Io {
            what: "start the watch thread".to_owned(),
            source,
        })?;
        Ok(Watching {
            signal,
            thread: Some(thread),
        })
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let owners: Vec<_> = self
            .owners
            .iter()
            .map(|(suspect, _)| &suspect.detector)
            .collect();
        f.debug_struct("Watch")
            .field("interval", &self.interval)
            .field("owners", &owners)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Signal {
    stop: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    /// Waits; true when it is time to stop.
    fn stopped_within(&self, interval: Duration) -> bool {
        let stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .changed
            .wait_timeout_while(stop, interval, |stop| !*stop);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn stop(&self) {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }
}

/// A running [`Watch`]. Dropping it stops and joins the thread.
#[derive(Debug)]
pub struct Watching {
    signal: Arc<Signal>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.signal.stop();
        if let Some(thread) = self.thread.take() {
            // A panic of a callback has been printed; there is nothing to add.
            let _ended = thread.join();
        }
    }
}

/// A process sample as metrics.
#[derive(Debug)]
struct ProcessMetrics {
    rss: Gauge,
    anonymous: Gauge,
    peak: Gauge,
    threads: Gauge,
    descriptors: Gauge,
    uptime: Gauge,
    user: ObservedCounter,
    system: ObservedCounter,
}

impl ProcessMetrics {
    fn new(registry: &Registry) -> Self {
        Self {
            rss: registry.gauge("process_resident_memory_bytes", &[]),
            anonymous: registry.gauge("process_anonymous_memory_bytes", &[]),
            peak: registry.gauge("process_peak_memory_bytes", &[]),
            threads: registry.gauge("process_threads", &[]),
            descriptors: registry.gauge("process_open_fds", &[]),
            uptime: registry.gauge("process_uptime_seconds", &[]),
            user: registry.observed_counter("process_cpu_seconds", &[("mode", "user")]),
            system: registry.observed_counter("process_cpu_seconds", &[("mode", "system")]),
        }
    }

    fn set(&self, sample: &ProcessSample) {
        self.rss.set(sample.rss_bytes as f64);
        self.anonymous.set(sample.rss_anon_bytes as f64);
        self.peak.set(sample.peak_rss_bytes as f64);
        self.threads.set(sample.threads as f64);
        self.descriptors.set(sample.descriptors as f64);
        self.uptime.set(sample.uptime.as_secs_f64());
        self.user.set(sample.cpu_user.as_secs_f64());
        self.system.set(sample.cpu_system.as_secs_f64());
    }
}
