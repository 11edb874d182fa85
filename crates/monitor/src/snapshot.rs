//! Everything a registry knows at one moment, as plain values.

use std::fmt;

use crate::distribution::HistogramSnapshot;

/// What a family is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// All families of a registry at one moment; see [`Registry::snapshot`](crate::Registry::snapshot).
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// The families, in the order in which they came to be.
    pub families: Vec<FamilySnapshot>,
}

/// One family at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct FamilySnapshot {
    /// Its name, a counter's without `_total`.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// Its help text, empty when none was given.
    pub help: String,
    /// Its series.
    pub series: Vec<SeriesSnapshot>,
}

/// One series at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesSnapshot {
    /// Its labels, sorted by name.
    pub labels: Vec<(String, String)>,
    /// Its value.
    pub value: Value,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Of a counter.
    Count(u64),
    /// Of a gauge or an observed counter.
    Number(f64),
    /// Of a histogram.
    Distribution(HistogramSnapshot),
}

impl Snapshot {
    /// The value of one series, labels in any order; None when there is no such series.
    #[must_use]
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<&Value> {
        let family = self.families.iter().find(|family| family.name == name)?;
        let same = |series: &&SeriesSnapshot| {
            series.labels.len() == labels.len()
                && labels
                    .iter()
                    .all(|(name, value)| series.labels.iter().any(|(n, v)| n == name && v == value))
        };
        family.series.iter().find(same).map(|series| &series.value)
    }
}
