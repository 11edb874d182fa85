//! The registry: names to series.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::clock::Clock;
use crate::counter::{Counter, ObservedCounter};
use crate::error::Error;
use crate::family::{Description, Family, Series, Wanted, suffixes};
use crate::gauge::Gauge;
use crate::histogram::Histogram;
use crate::label::{Labels, metric_name};
use crate::reading::Reading;
use crate::snapshot::Snapshot;
use crate::text::{self, Format};
use crate::timer::Timer;

const SERIES_CAP: usize = 2_000;
const FAMILY_CAP: usize = 5_000;
const PROBLEMS_KEPT: usize = 32;
const NANOSECOND: f64 = 1e-9;
/// The family that says what the series cap swallowed.
const OVERFLOW: &str = "monitor_series_overflow";

/// All metrics of a process or of one part of it. Cheap to clone: clones share everything.
///
/// Handles are bound to a series once and then cost next to nothing; look them up outside loops.
/// The same name and labels give the same series.
///
/// # Names
/// Names and labels are made legal rather than refused: characters that the formats do not allow
/// become `_`. A handle that cannot be exported (a counter asked for under a gauge's name, a name
/// that collides with another family's samples) works, is kept out of the output, and is reported
/// by [`Registry::problems`].
///
/// # Bounds
/// At most 2,000 series per family and 5,000 families by default. What comes on top lands in the
/// family's series `{overflow="true"}` and is counted in `monitor_series_overflow_total{family}`.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

type Hook = Arc<dyn Fn() + Send + Sync>;

struct Inner {
    directory: RwLock<Directory>,
    hooks: Mutex<Vec<Hook>>,
    problems: Mutex<VecDeque<Arc<Error>>>,
    refused: AtomicU64,
    overflowed: AtomicU64,
    /// Grows with every removal, for those who keep handles on behalf of others.
    removals: AtomicU64,
    clock: Clock,
    series_cap: usize,
    family_cap: usize,
}

#[derive(Default)]
struct Directory {
    families: Vec<Family>,
    by_name: HashMap<String, usize>,
    /// Every sample name that some family prints.
    samples: HashMap<String, usize>,
    /// Descriptions that came before their family.
    described: HashMap<String, Description>,
}

/// Figures about a registry itself; see [`Registry::stats`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegistryStats {
    /// Families.
    pub families: usize,
    /// Series in all of them.
    pub series: usize,
    /// Requests for a series that the series cap turned into the overflow series.
    pub overflowed: u64,
    /// Requests for a series that cannot be exported; see [`Registry::problems`].
    pub refused: u64,
}

/// Settings of a [`Registry`].
#[derive(Debug, Clone)]
#[must_use]
pub struct RegistryBuilder {
    clock: Clock,
    series_cap: usize,
    family_cap: usize,
}

impl RegistryBuilder {
    /// The clock that timers ask. Default: the system's.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Most series in one family, at least one. Default: 2,000. A counter costs about 400 bytes
    /// and 8 per recording thread, a histogram 4 KiB per recording thread.
    pub fn series_cap(mut self, series: usize) -> Self {
        self.series_cap = series.max(1);
        self
    }

    /// Most families. Default: 5,000.
    pub fn family_cap(mut self, families: usize) -> Self {
        self.family_cap = families;
        self
    }

    /// An empty registry with these settings.
    #[must_use]
    pub fn build(self) -> Registry {
        let inner = Inner {
            directory: RwLock::default(),
            hooks: Mutex::default(),
            problems: Mutex::default(),
            refused: AtomicU64::new(0),
            overflowed: AtomicU64::new(0),
            removals: AtomicU64::new(0),
            clock: self.clock,
            series_cap: self.series_cap,
            family_cap: self.family_cap,
        };
        let registry = Registry {
            inner: Arc::new(inner),
        };
        registry.describe(
            OVERFLOW,
            "Requests for a series that its family's cap swallowed.",
        );
        registry
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl Registry {
    /// An empty registry with the default settings.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Settings, at their defaults.
    pub fn builder() -> RegistryBuilder {
        RegistryBuilder {
            clock: Clock::system(),
            series_cap: SERIES_CAP,
            family_cap: FAMILY_CAP,
        }
    }

    /// A counter. It is exported as `name_total`, whether `name` ends so or not.
    #[must_use]
    pub fn counter(&self, name: &str, labels: &[(&str, &str)]) -> Counter {
        Counter::bind(self.series(name, labels, Wanted::Counter))
    }

    /// A counter that something else keeps and that is set now and then.
    #[must_use]
    pub fn observed_counter(&self, name: &str, labels: &[(&str, &str)]) -> ObservedCounter {
        ObservedCounter::bind(self.series(name, labels, Wanted::Observed))
    }

    /// A gauge.
    #[must_use]
    pub fn gauge(&self, name: &str, labels: &[(&str, &str)]) -> Gauge {
        Gauge::bind(self.series(name, labels, Wanted::Gauge))
    }

    /// A histogram of whole numbers.
    #[must_use]
    pub fn histogram(&self, name: &str, labels: &[(&str, &str)]) -> Histogram {
        self.histogram_scaled(name, labels, 1.0)
    }

    /// A histogram whose recorded integers are multiplied by `scale` on the way out.
    pub(crate) fn histogram_scaled(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        scale: f64,
    ) -> Histogram {
        Histogram::bind(self.series(name, labels, Wanted::Histogram { scale }))
    }

    /// A histogram of durations, exported in seconds under `name_seconds` (as given when it ends so).
    #[must_use]
    pub fn timer(&self, name: &str, labels: &[(&str, &str)]) -> Timer {
        let suffix = if name.ends_with("_seconds") {
            ""
        } else {
            "_seconds"
        };
        let histogram = self.histogram_scaled(&format!("{name}{suffix}"), labels, NANOSECOND);
        Timer::new(histogram, self.inner.clock.clone())
    }

    /// Sets the help text of a family, before or after it exists. The last one wins.
    pub fn describe(&self, name: &str, help: &str) {
        self.edit_description(name, |about| about.help = Some(help.to_owned()));
    }

    /// Sets the exported bucket bounds of a histogram, in its exported unit; only for a family that
    /// does not exist yet. Default: powers of four.
    ///
    /// Each bound moves to the nearest end of one of our buckets (at most 6.25 % away), so that what
    /// is exported is exact. Quantiles of [`HistogramSnapshot`](crate::HistogramSnapshot) always
    /// use all 496 buckets.
    pub fn bounds(&self, name: &str, bounds: &[f64]) {
        self.edit_description(name, |about| about.bounds = Some(bounds.to_vec()));
    }

    fn edit_description(&self, name: &str, edit: impl FnOnce(&mut Description)) {
        let mut directory = self.write();
        let known = [metric_name(name, false), metric_name(name, true)];
        if let Some(&at) = known.iter().find_map(|name| directory.by_name.get(&**name)) {
            let family = &mut directory.families[at];
            let mut about = Description {
                help: family.help.take(),
                bounds: None,
            };
            edit(&mut about);
            family.help = about.help;
        } else if directory.described.len() < self.inner.family_cap {
            edit(directory.described.entry(name.to_owned()).or_default());
        }
    }

    /// Forgets a series. Handles to it keep working but are no longer exported; the next request
    /// for it starts at zero. True when there was one. O(series of the family).
    pub fn remove(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        let labels = Labels::new(labels);
        let mut directory = self.write();
        let known = [metric_name(name, false), metric_name(name, true)];
        let at = known
            .iter()
            .find_map(|name| directory.by_name.get(&**name).copied());
        let removed = at.is_some_and(|at| directory.families[at].remove(&labels));
        self.inner
            .removals
            .fetch_add(removed.into(), Ordering::Release);
        removed
    }

    /// What the integers of a histogram that exists already are multiplied by.
    #[cfg(feature = "metrics")]
    pub(crate) fn scale_of(&self, name: &str) -> Option<f64> {
        let directory = self.read();
        let at = directory.by_name.get(&*metric_name(name, false))?;
        match directory.families[*at].wanted {
            Wanted::Histogram { scale } => Some(scale),
            _ => None,
        }
    }

    /// How many series were removed so far.
    #[cfg(any(feature = "metrics", feature = "tracing-layer"))]
    pub(crate) fn removals(&self) -> u64 {
        self.inner.removals.load(Ordering::Acquire)
    }

    /// Runs `hook` before every scrape and snapshot, to set gauges that are cheaper to ask than to
    /// keep. A hook must hold handles and not this registry, which would never be freed.
    pub fn before_scrape(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.hooks().push(Arc::new(hook));
    }

    /// All values now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.run_hooks();
        Reading::default().snapshot(&self.read().families)
    }

    /// The page of metrics in `format`. O(series); series that threads write meanwhile are not held up.
    #[must_use]
    pub fn render(&self, format: Format) -> String {
        let mut page = String::new();
        self.render_into(format, &mut page);
        page
    }

    /// Appends the page of metrics in `format`, to spare the allocation.
    pub fn render_into(&self, format: Format, page: &mut String) {
        self.run_hooks();
        text::render(&self.read().families, format, page);
    }

    /// Runs `read` on all families, after the hooks.
    #[cfg(feature = "otlp")]
    pub(crate) fn with_families<R>(&self, read: impl FnOnce(&[Family]) -> R) -> R {
        self.run_hooks();
        read(&self.read().families)
    }

    /// Figures about this registry.
    #[must_use]
    pub fn stats(&self) -> RegistryStats {
        let directory = self.read();
        RegistryStats {
            families: directory.families.len(),
            series: directory
                .families
                .iter()
                .map(|family| family.series.len())
                .sum(),
            overflowed: self.inner.overflowed.load(Ordering::Relaxed),
            refused: self.inner.refused.load(Ordering::Relaxed),
        }
    }

    /// Why some handles are not exported: the last 32 reasons, oldest first.
    #[must_use]
    pub fn problems(&self) -> Vec<Arc<Error>> {
        self.inner
            .problems
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }

    /// The clock that timers ask.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    fn series(&self, name: &str, labels: &[(&str, &str)], wanted: Wanted) -> Arc<Series> {
        let labels = Labels::new(labels);
        let name = metric_name(name, wanted.kind() == crate::snapshot::Kind::Counter);
        if let Some(series) = self.read().find(&name, &labels, wanted) {
            return series;
        }
        let found = self
            .write()
            .find_or_insert(&name, &labels, wanted, &self.inner);
        found.unwrap_or_else(|error| {
            self.inner.refuse(error);
            Series::new(labels, wanted.store())
        })
    }

    fn run_hooks(&self) {
        let hooks = self.hooks().clone();
        for hook in hooks.iter() {
            // One that panics costs its own figures and no scrape or push.
            let _panicked = catch_unwind(AssertUnwindSafe(|| hook()));
        }
    }

    fn hooks(&self) -> std::sync::MutexGuard<'_, Vec<Hook>> {
        self.inner
            .hooks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> RwLockReadGuard<'_, Directory> {
        self.inner
            .directory
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Directory> {
        self.inner
            .directory
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn refuse(&self, error: Error) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        if problems.len() == PROBLEMS_KEPT {
            problems.pop_front();
        }
        problems.push_back(Arc::new(error));
    }
}

impl Directory {
    fn find(&self, name: &str, labels: &Labels, wanted: Wanted) -> Option<Arc<Series>> {
        let family = &self.families[*self.by_name.get(name)?];
        (family.wanted == wanted)
            .then(|| family.get(labels).cloned())
            .flatten()
    }

    fn find_or_insert(
        &mut self,
        name: &str,
        labels: &Labels,
        wanted: Wanted,
        limits: &Inner,
    ) -> Result<Arc<Series>, Error> {
        let at = self.family(name, wanted, limits.family_cap)?;
        let family = &mut self.families[at];
        if let Some(series) = family.get(labels) {
            return Ok(Arc::clone(series));
        }
        let counts_overflow = name == OVERFLOW;
        let cap = match counts_overflow {
            // One series for each family there can be.
            true => limits.family_cap.saturating_add(1),
            false => limits.series_cap,
        };
        if family.series.len() < cap {
            return Ok(family.insert(labels.clone()));
        }
        let overflow = Labels::new(&[("overflow", "true")]);
        let series = family
            .get(&overflow)
            .cloned()
            .unwrap_or_else(|| family.insert(overflow));
        limits.overflowed.fetch_add(1, Ordering::Relaxed);
        // Who fills the family that counts is not counted in it.
        if !counts_overflow {
            self.count_overflow(name, limits);
        }
        Ok(series)
    }

    /// Counts one request that a family's cap swallowed. Families are capped, so are these series.
    fn count_overflow(&mut self, family: &str, limits: &Inner) {
        let labels = Labels::new(&[("family", family)]);
        if let Ok(series) = self.find_or_insert(OVERFLOW, &labels, Wanted::Counter, limits) {
            Counter::bind(series).increment();
        }
    }

    fn family(&mut self, name: &str, wanted: Wanted, cap: usize) -> Result<usize, Error> {
        if let Some(&at) = self.by_name.get(name) {
            let existing = self.families[at].wanted;
            if existing == wanted {
                return Ok(at);
            }
            let (existing, wanted) = (existing.kind(), wanted.kind());
            return Err(Error::KindConflict {
                name: name.to_owned(),
                existing,
                wanted,
            });
        }
        // The overflow family may always come on top.
        if self.families.len() >= cap && name != OVERFLOW {
            return Err(Error::FamilyCap {
                name: name.to_owned(),
                cap,
            });
        }
        self.claim_samples(name, wanted)?;
        let at = self.families.len();
        let about = self.take_description(name, wanted);
        self.families
            .push(Family::new(name.to_owned(), wanted, about));
        self.by_name.insert(name.to_owned(), at);
        Ok(at)
    }

    fn claim_samples(&mut self, name: &str, wanted: Wanted) -> Result<(), Error> {
        let samples = suffixes(wanted.kind())
            .iter()
            .map(|suffix| format!("{name}{suffix}"));
        let samples: Vec<String> = samples.collect();
        if let Some(sample) = samples
            .iter()
            .find(|sample| self.samples.contains_key(*sample))
        {
            return Err(Error::NameClash {
                name: name.to_owned(),
                sample: sample.clone(),
            });
        }
        let at = self.families.len();
        self.samples
            .extend(samples.into_iter().map(|sample| (sample, at)));
        Ok(())
    }

    fn take_description(&mut self, name: &str, wanted: Wanted) -> Description {
        let total = format!("{name}_total");
        let given = self.described.remove(name);
        let given = given.or_else(|| match wanted {
            Wanted::Counter | Wanted::Observed => self.described.remove(&total),
            _ => None,
        });
        given.unwrap_or_default()
    }
}
