//! Families of series: one name, one kind, many label sets.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use crate::distribution::{bucket_of, bucket_range};
use crate::label::Labels;
use crate::number::push_f64;
use crate::slab::{Place, Slot};
use crate::snapshot::Kind;

/// One series: its labels and where its value lives.
#[derive(Debug)]
pub(crate) struct Series {
    /// No other series of the process has or had it.
    #[cfg(feature = "otlp")]
    pub(crate) id: u64,
    pub(crate) labels: Labels,
    /// The labels as the formats print them, without braces.
    pub(crate) body: String,
    pub(crate) store: Store,
}

/// Where a value lives.
#[derive(Debug)]
pub(crate) enum Store {
    Counter(Slot),
    /// A gauge or an observed counter: the bits of a float.
    Level(AtomicU64),
    Histogram {
        slot: Slot,
        scale: f64,
        exemplar: Mutex<Option<Exemplar>>,
    },
}

impl Series {
    pub(crate) fn new(labels: Labels, store: Store) -> Arc<Self> {
        #[cfg(feature = "otlp")]
        static IDS: AtomicU64 = AtomicU64::new(0);
        let body = labels.body();
        Arc::new(Self {
            #[cfg(feature = "otlp")]
            id: IDS.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
            labels,
            body,
            store,
        })
    }

    /// The place of a counter.
    pub(crate) fn slot(&self) -> &Slot {
        let Store::Counter(slot) = &self.store else {
            unreachable!("bound by kind")
        };
        slot
    }

    /// The bits of a gauge.
    pub(crate) fn level(&self) -> &AtomicU64 {
        let Store::Level(bits) = &self.store else {
            unreachable!("bound by kind")
        };
        bits
    }
}

/// One case that stands for a bucket.
#[derive(Debug, Clone)]
pub(crate) struct Exemplar {
    pub(crate) value: u64,
    pub(crate) bucket: usize,
    pub(crate) labels: Labels,
}

impl Exemplar {
    pub(crate) fn new(value: u64, labels: &[(&str, &str)]) -> Self {
        Self {
            value,
            bucket: bucket_of(value),
            labels: Labels::of_exemplar(labels),
        }
    }
}

/// What a caller wants a series to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Wanted {
    Counter,
    Observed,
    Gauge,
    Histogram { scale: f64 },
}

impl Wanted {
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Counter | Self::Observed => Kind::Counter,
            Self::Gauge => Kind::Gauge,
            Self::Histogram { .. } => Kind::Histogram,
        }
    }

    pub(crate) fn store(self) -> Store {
        match self {
            Self::Counter => Store::Counter(Slot::counter()),
            Self::Observed | Self::Gauge => Store::Level(AtomicU64::new(0)),
            Self::Histogram { scale } => Store::Histogram {
                slot: Slot::histogram(),
                scale,
                exemplar: Mutex::new(None),
            },
        }
    }
}

/// A family and its series.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) name: String,
    pub(crate) wanted: Wanted,
    pub(crate) help: Option<String>,
    pub(crate) bounds: Vec<Bound>,
    pub(crate) series: Vec<Arc<Series>>,
    /// What a page needs of single-valued series, side by side: a scrape of thousands reads memory
    /// in order instead of following a pointer for each.
    pub(crate) lines: Lines,
    index: HashMap<Labels, usize>,
}

impl Family {
    pub(crate) fn new(name: String, wanted: Wanted, about: Description) -> Self {
        let bounds = match wanted {
            Wanted::Histogram { scale } => match about.bounds {
                Some(bounds) => bounds_at(&bounds, scale),
                None => default_bounds(scale),
            },
            _ => Vec::new(),
        };
        let (series, index) = (Vec::new(), HashMap::new());
        Self {
            name,
            wanted,
            help: about.help,
            bounds,
            series,
            lines: Lines::default(),
            index,
        }
    }

    pub(crate) fn get(&self, labels: &Labels) -> Option<&Arc<Series>> {
        self.index.get(labels).map(|at| &self.series[*at])
    }

    pub(crate) fn insert(&mut self, labels: Labels) -> Arc<Series> {
        let series = Series::new(labels.clone(), self.wanted.store());
        self.index.insert(labels, self.series.len());
        self.lines.push(&self.name, self.wanted.kind(), &series);
        self.series.push(Arc::clone(&series));
        series
    }

    pub(crate) fn remove(&mut self, labels: &Labels) -> bool {
        let Some(at) = self.index.remove(labels) else {
            return false;
        };
        self.series.remove(at);
        self.lines.remove(at);
        self.index
            .values_mut()
            .filter(|index| **index > at)
            .for_each(|index| *index -= 1);
        true
    }
}

/// The fixed parts of a family's lines. Histograms, which print many lines each, have none.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// `name{labels} ` of all series, one after the other.
    heads: String,
    each: Vec<Line>,
}

#[derive(Debug, Clone, Copy)]
struct Line {
    /// Where its head ends.
    end: usize,
    place: Place,
}

impl Lines {
    fn push(&mut self, name: &str, kind: Kind, series: &Series) {
        let place = match &series.store {
            Store::Counter(slot) => slot.place(),
            Store::Level(_) => Place::Elsewhere,
            Store::Histogram { .. } => return,
        };
        let suffix = if kind == Kind::Counter { "_total" } else { "" };
        self.heads.push_str(name);
        self.heads.push_str(suffix);
        if !series.body.is_empty() {
            for part in ["{", &series.body, "}"] {
                self.heads.push_str(part);
            }
        }
        self.heads.push(' ');
        let end = self.heads.len();
        self.each.push(Line { end, place });
    }

    fn remove(&mut self, at: usize) {
        if at >= self.each.len() {
            return;
        }
        let start = at.checked_sub(1).map_or(0, |before| self.each[before].end);
        let gone = self.each.remove(at).end - start;
        self.heads.replace_range(start..start + gone, "");
        self.each[at..].iter_mut().for_each(|line| line.end -= gone);
    }

    /// Bytes of all heads.
    pub(crate) fn bytes(&self) -> usize {
        self.heads.len()
    }

    /// The head of each line and where its value is.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Place)> {
        let mut start = 0;
        self.each.iter().map(move |line| {
            let head = &self.heads[start..line.end];
            start = line.end;
            (head, line.place)
        })
    }
}

/// The sample names a family prints or reserves, after its own.
pub(crate) fn suffixes(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Counter => &["", "_total", "_created"],
        Kind::Gauge => &[""],
        Kind::Histogram => &["", "_bucket", "_count", "_sum", "_created"],
    }
}

/// What is known of a family before it exists.
#[derive(Debug, Clone, Default)]
pub(crate) struct Description {
    pub(crate) help: Option<String>,
    pub(crate) bounds: Option<Vec<f64>>,
}

/// A bucket boundary as exported.
#[derive(Debug, Clone)]
pub(crate) struct Bound {
    /// The last of our buckets below it.
    pub(crate) bucket: usize,
    /// Its `le` value as printed.
    pub(crate) le: String,
}

impl Bound {
    fn at(bucket: usize, scale: f64) -> Self {
        let mut le = String::new();
        push_f64(&mut le, bucket_range(bucket).1 as f64 * scale);
        Self { bucket, le }
    }
}

/// Powers of four: 1 µs to 275 s for durations, 1 to 2⁴⁰ for the rest.
fn default_bounds(scale: f64) -> Vec<Bound> {
    let powers = if scale == 1e-9 {
        (10..=38).step_by(2)
    } else {
        (0..=40).step_by(2)
    };
    powers
        .map(|power| Bound::at(bucket_of((1 << power) - 1), scale))
        .collect()
}

/// The bucket ends nearest to the wanted bounds.
fn bounds_at(wanted: &[f64], scale: f64) -> Vec<Bound> {
    let mut buckets: Vec<usize> = wanted
        .iter()
        .filter(|bound| bound.is_finite() && **bound >= 0.0)
        .map(|bound| nearest_end((bound / scale).round() as u64))
        .collect();
    buckets.sort_unstable();
    buckets.dedup();
    buckets
        .into_iter()
        .map(|bucket| Bound::at(bucket, scale))
        .collect()
}

fn nearest_end(value: u64) -> usize {
    let bucket = bucket_of(value);
    let (low, high) = bucket_range(bucket);
    // The end of the bucket before is `low - 1`.
    if bucket > 0 && value - low < high - value {
        bucket - 1
    } else {
        bucket
    }
}
