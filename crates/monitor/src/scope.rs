//! Operations: duration, memory and errors of one kind of work, by a guard around each run of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Stamp;
use crate::counter::Counter;
use crate::gauge::{Gauge, InFlight};
use crate::registry::Registry;
use crate::timer::Timer;

type MemorySource = Arc<dyn Fn() -> u64 + Send + Sync>;

/// One kind of work. Bound once, entered as often as it runs. Cheap to clone.
///
/// For `name` it exports `name_duration_seconds` (a histogram), `name_errors_total`,
/// `name_in_flight`, and with [`Operation::with_memory`] the gauge `name_memory_delta_bytes`.
///
/// ```
/// use mainspring_monitor::{Operation, Registry};
///
/// let registry = Registry::new();
/// let load = Operation::new(&registry, "session_load", &[("kind", "cold")]);
/// let answer: Result<u32, String> = load.run(|| Err("no such session".into()));
/// assert!(answer.is_err());
/// assert_eq!((load.timer().snapshot().count(), load.errors().value()), (1, 1));
/// ```
#[derive(Clone)]
pub struct Operation {
    timer: Timer,
    errors: Counter,
    in_flight: Gauge,
    memory: Option<(MemorySource, Gauge)>,
    registry: Registry,
    name: Arc<str>,
    labels: Arc<[(String, String)]>,
}

impl Operation {
    /// Binds the series of an operation.
    #[must_use]
    pub fn new(registry: &Registry, name: &str, labels: &[(&str, &str)]) -> Self {
        let owned = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self {
            timer: registry.timer(&format!("{name}_duration_seconds"), labels),
            errors: registry.counter(&format!("{name}_errors"), labels),
            in_flight: registry.gauge(&format!("{name}_in_flight"), labels),
            memory: None,
            registry: registry.clone(),
            name: name.into(),
            labels: owned.collect(),
        }
    }

    /// The executions of an agent: `agent_execution_duration_seconds{agent}` and the rest.
    #[must_use]
    pub fn agent(registry: &Registry, name: &str) -> Self {
        Self::new(registry, "agent_execution", &[("agent", name)])
    }

    /// Also measures memory: what `source` says in bytes at the end minus at the start of each run.
    /// The gauge holds the last delta. What runs side by side counts in, so read it as an indication.
    #[must_use]
    pub fn with_memory(mut self, source: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        let labels: Vec<_> = self
            .labels
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        let gauge = self
            .registry
            .gauge(&format!("{}_memory_delta_bytes", self.name), &labels);
        self.memory = Some((Arc::new(source), gauge));
        self
    }

    /// Enters the operation; the guard leaves it when it is dropped.
    #[must_use = "the operation ends where the guard is dropped"]
    pub fn enter(&self) -> Scope<'_> {
        Scope {
            operation: self,
            start: self.timer.clock().stamp(),
            memory: self.memory.as_ref().map(|(source, _)| source()),
            failed: false,
            _in_flight: self.in_flight.enter(),
        }
    }

    /// Runs fallible work inside a scope; an `Err` counts as an error.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn run<R, E>(&self, work: impl FnOnce() -> Result<R, E>) -> Result<R, E> {
        let mut scope = self.enter();
        let result = work();
        scope.failed |= result.is_err();
        result
    }

    /// The durations so far.
    #[must_use]
    pub fn timer(&self) -> &Timer {
        &self.timer
    }

    /// The errors so far.
    #[must_use]
    pub fn errors(&self) -> &Counter {
        &self.errors
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// One run of an [`Operation`]. Dropping it records; dropped by a panic it counts as an error.
#[derive(Debug)]
pub struct Scope<'a> {
    operation: &'a Operation,
    start: Stamp,
    memory: Option<u64>,
    failed: bool,
    _in_flight: InFlight,
}

impl Scope<'_> {
    /// This run failed.
    pub fn fail(&mut self) {
        self.failed = true;
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.operation.timer.clock().nanos_since(self.start))
    }
}

impl Drop for Scope<'_> {
    fn drop(&mut self) {
        self.operation.timer.record(self.elapsed());
        if self.failed || std::thread::panicking() {
            self.operation.errors.increment();
        }
        if let (Some(before), Some((source, gauge))) = (self.memory, &self.operation.memory) {
            gauge.set(source() as f64 - before as f64);
        }
    }
}
