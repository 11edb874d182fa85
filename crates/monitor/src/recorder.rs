//! A recorder for the `metrics` facade: whatever crate reports through it lands in a registry.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use metrics::{Key, KeyName, Metadata, SharedString, Unit};

use crate::counter::Counter;
use crate::error::Error;
use crate::gauge::Gauge;
use crate::histogram::Histogram;
use crate::registry::Registry;

/// Handles kept so that a macro call is one look-up; more keys than this are looked up the long way.
const KEPT: usize = 16_384;

/// Leads the `metrics` facade into a [`Registry`].
///
/// The facade's histograms take floats; they are kept as whole multiples of a step: a nanosecond
/// for what is described in a unit of time or named `…_seconds`, one for bytes and counts (or names
/// in `…_bytes`), and 10⁻⁶ for the rest.
///
/// ```
/// use mainspring_monitor::{Recorder, Registry, Value};
///
/// let registry = Registry::new();
/// let recorder = Recorder::new(&registry);
/// metrics::with_local_recorder(&recorder, || metrics::counter!("jobs", "kind" => "fast").increment(2));
/// assert_eq!(registry.snapshot().get("jobs", &[("kind", "fast")]), Some(&Value::Count(2)));
/// ```
#[derive(Debug)]
pub struct Recorder {
    registry: Registry,
    units: RwLock<HashMap<String, Unit>>,
    counters: Kept<metrics::Counter>,
    gauges: Kept<metrics::Gauge>,
    histograms: Kept<metrics::Histogram>,
    #[cfg(feature = "tokio")]
    task_labels: bool,
}

impl Recorder {
    /// A recorder into `registry`.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        Self {
            registry: registry.clone(),
            units: RwLock::default(),
            counters: Kept::default(),
            gauges: Kept::default(),
            histograms: Kept::default(),
            #[cfg(feature = "tokio")]
            task_labels: false,
        }
    }

    /// Adds the labels of the task that a macro runs in; see [`TaskLabels`](crate::TaskLabels). A
    /// handle that was kept from another task keeps that one's.
    #[cfg(feature = "tokio")]
    #[must_use]
    pub fn task_labels(mut self) -> Self {
        self.task_labels = true;
        self
    }

    /// The key with the task's labels, where there are any that it does not name itself.
    #[cfg(feature = "tokio")]
    fn key_of_task(&self, key: &Key) -> Option<Key> {
        if !self.task_labels {
            return None;
        }
        let task = crate::task::TaskLabels::current();
        let new = task.pairs().into_iter();
        let new = new.filter(|(name, _)| key.labels().all(|label| label.key() != *name));
        let new: Vec<_> = new
            .map(|(name, value)| metrics::Label::new(name.to_owned(), value.to_owned()))
            .collect();
        (!new.is_empty()).then(|| key.with_extra_labels(new))
    }

    #[cfg(not(feature = "tokio"))]
    fn key_of_task(&self, _: &Key) -> Option<Key> {
        None
    }

    /// Installs this recorder for the whole process.
    ///
    /// # Errors
    /// [`Error::RecorderInstalled`] when there is one already.
    pub fn install(self) -> Result<(), Error> {
        metrics::set_global_recorder(self).map_err(|_| Error::RecorderInstalled)
    }

    fn describe(&self, key: &KeyName, unit: Option<Unit>, description: &SharedString) {
        self.registry.describe(key.as_str(), description);
        let mut units = self.units.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(unit) = unit.filter(|_| units.len() < KEPT) {
            units.insert(key.as_str().to_owned(), unit);
        }
    }

    fn step(&self, name: &str) -> f64 {
        let units = self.units.read().unwrap_or_else(PoisonError::into_inner);
        match units.get(name) {
            Some(Unit::Seconds) => 1e-9,
            Some(unit) if unit.is_data_based() || *unit == Unit::Count => 1.0,
            _ if name.ends_with("_seconds") => 1e-9,
            _ if name.ends_with("_bytes") => 1.0,
            _ => 1e-6,
        }
    }
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe(&key, unit, &description);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe(&key, unit, &description);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe(&key, unit, &description);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> metrics::Counter {
        let of_task = self.key_of_task(key);
        let key = of_task.as_ref().unwrap_or(key);
        self.counters.get(key, &self.registry, |labels| {
            let counter = self.registry.counter(key.name(), labels);
            metrics::Counter::from_arc(Arc::new(Counted {
                counter,
                absolute: Mutex::new(()),
            }))
        })
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> metrics::Gauge {
        let of_task = self.key_of_task(key);
        let key = of_task.as_ref().unwrap_or(key);
        self.gauges.get(key, &self.registry, |labels| {
            metrics::Gauge::from_arc(Arc::new(self.registry.gauge(key.name(), labels)))
        })
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> metrics::Histogram {
        let of_task = self.key_of_task(key);
        let key = of_task.as_ref().unwrap_or(key);
        self.histograms.get(key, &self.registry, |labels| {
            // A unit that is described late changes nothing: a family has one step.
            let known = self.registry.scale_of(key.name());
            let step = known.unwrap_or_else(|| self.step(key.name()));
            let histogram = self.registry.histogram_scaled(key.name(), labels, step);
            metrics::Histogram::from_arc(Arc::new(histogram))
        })
    }
}

/// Handles by key, forgotten when the registry removed a series.
#[derive(Debug)]
struct Kept<H> {
    handles: RwLock<Handles<H>>,
}

#[derive(Debug)]
struct Handles<H> {
    by_key: HashMap<Key, H>,
    removals: u64,
}

impl<H> Default for Kept<H> {
    fn default() -> Self {
        Self {
            handles: RwLock::new(Handles {
                by_key: HashMap::default(),
                removals: 0,
            }),
        }
    }
}

impl<H: Clone> Kept<H> {
    fn get(&self, key: &Key, registry: &Registry, make: impl FnOnce(&[(&str, &str)]) -> H) -> H {
        let removals = registry.removals();
        {
            let handles = self.handles.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(handle) = handles
                .by_key
                .get(key)
                .filter(|_| handles.removals == removals)
            {
                return handle.clone();
            }
        }
        let labels: Vec<_> = key
            .labels()
            .map(|label| (label.key(), label.value()))
            .collect();
        let handle = make(&labels);
        let mut handles = self.handles.write().unwrap_or_else(PoisonError::into_inner);
        if handles.removals != removals {
            handles.by_key.clear();
            handles.removals = removals;
        }
        if handles.by_key.len() < KEPT {
            handles.by_key.insert(key.to_retained(), handle.clone());
        }
        handle
    }
}

struct Counted {
    counter: Counter,
    absolute: Mutex<()>,
}

impl metrics::CounterFn for Counted {
    fn increment(&self, value: u64) {
        self.counter.add(value);
    }

    fn absolute(&self, value: u64) {
        // One at a time, so that two callers do not both add the difference.
        let _turn = self.absolute.lock().unwrap_or_else(PoisonError::into_inner);
        self.counter.add(value.saturating_sub(self.counter.value()));
    }
}

impl metrics::GaugeFn for Gauge {
    fn increment(&self, value: f64) {
        self.add(value);
    }

    fn decrement(&self, value: f64) {
        self.add(-value);
    }

    fn set(&self, value: f64) {
        Self::set(self, value);
    }
}

impl metrics::HistogramFn for Histogram {
    fn record(&self, value: f64) {
        self.record_f64(value);
    }
}
