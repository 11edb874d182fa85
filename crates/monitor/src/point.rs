//! The rules of an OpenMetrics family: which samples it may have, in which order, with which values.

use std::collections::HashSet;

use crate::sample::{Sample, number};

type Checked<T> = Result<T, &'static str>;

/// The types of OpenMetrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
    GaugeHistogram,
    Info,
    StateSet,
    Summary,
    #[default]
    Unknown,
}

impl Kind {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "counter" => Self::Counter,
            "gauge" => Self::Gauge,
            "histogram" => Self::Histogram,
            "gaugehistogram" => Self::GaugeHistogram,
            "info" => Self::Info,
            "stateset" => Self::StateSet,
            "summary" => Self::Summary,
            "unknown" => Self::Unknown,
            _ => return None,
        })
    }

    fn suffixes(self) -> &'static [&'static str] {
        match self {
            Self::Counter => &["_total", "_created"],
            Self::Gauge | Self::StateSet | Self::Unknown => &[""],
            Self::Histogram => &["_bucket", "_count", "_sum", "_created"],
            Self::GaugeHistogram => &["_bucket", "_gcount", "_gsum"],
            Self::Info => &["_info"],
            Self::Summary => &["", "_count", "_sum", "_created"],
        }
    }

    fn has_buckets(self) -> bool {
        matches!(self, Self::Histogram | Self::GaugeHistogram)
    }
}

/// A family being read.
#[derive(Debug, Default)]
pub(crate) struct Family {
    pub(crate) name: String,
    pub(crate) help: Option<String>,
    pub(crate) unit: Option<String>,
    pub(crate) kind: Option<Kind>,
    point: Option<Point>,
    /// Label sets whose samples are complete.
    ended: HashSet<Labels>,
}

type Labels = Vec<(String, String)>;

/// The samples of one label set at one time.
#[derive(Debug, Default)]
struct Point {
    labels: Labels,
    timestamp: Option<f64>,
    /// Suffix and remaining label of samples without a timestamp, which may come once.
    seen: HashSet<(&'static str, String)>,
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: Option<f64>,
}

impl Family {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    pub(crate) fn has_samples(&self) -> bool {
        self.point.is_some()
    }

    fn kind(&self) -> Kind {
        self.kind.unwrap_or_default()
    }

    /// The suffix by which a sample belongs to this family.
    pub(crate) fn suffix_of(&self, sample: &str) -> Option<&'static str> {
        let suffix = sample.strip_prefix(self.name.as_str())?;
        self.kind()
            .suffixes()
            .iter()
            .find(|allowed| **allowed == suffix)
            .copied()
    }

    pub(crate) fn sample(&mut self, mut sample: Sample) -> Checked<()> {
        let suffix = self
            .suffix_of(&sample.name)
            .ok_or("a sample of another family")?;
        let special = self.check_labels(&sample, suffix)?;
        self.check_value(&sample, suffix)?;
        let counts = self.kind() == Kind::Counter && suffix == "_total";
        if sample.has_exemplar && !counts && suffix != "_bucket" {
            return Err("an exemplar where none may be");
        }
        let own = special.map(|name| sample.label(name).unwrap_or_default().to_owned());
        sample
            .labels
            .retain(|(name, _)| Some(name.as_str()) != special);
        self.move_to(sample.labels, sample.timestamp)?;
        let kind = self.kind();
        let Some(point) = &mut self.point else {
            return Err("no point");
        };
        point.add(kind, suffix, own.unwrap_or_default(), sample.value)
    }

    /// Checks the label that a suffix demands, and names it.
    fn check_labels<'a>(&'a self, sample: &Sample, suffix: &str) -> Checked<Option<&'a str>> {
        let special = match (self.kind(), suffix) {
            (Kind::Histogram | Kind::GaugeHistogram, "_bucket") => "le",
            (Kind::Summary, "") => "quantile",
            (Kind::StateSet, _) => self.name.as_str(),
            _ => return Ok(None),
        };
        let value = sample
            .label(special)
            .ok_or("a label that the type demands is missing")?;
        match special {
            "le" if value != "+Inf" => {
                number(value)
                    .filter(|le| le.is_finite())
                    .ok_or("illegal `le`")?;
            }
            "quantile" => {
                number(value)
                    .filter(|q| (0.0..=1.0).contains(q))
                    .ok_or("illegal `quantile`")?;
            }
            _ => {}
        }
        Ok(Some(special))
    }

    fn check_value(&self, sample: &Sample, suffix: &str) -> Checked<()> {
        let value = sample.value;
        let kind = self.kind();
        if kind == Kind::Info && value != 1.0 {
            return Err("an info sample is 1");
        }
        if kind == Kind::StateSet && value != 0.0 && value != 1.0 {
            return Err("a state is 0 or 1");
        }
        if kind == Kind::Summary && suffix.is_empty() && value < 0.0 {
            return Err("a quantile below zero");
        }
        if ["_total", "_sum", "_count", "_bucket", "_gcount", "_gsum"].contains(&suffix) {
            if value.is_nan() {
                return Err("a count or sum that is not a number");
            }
            if value < 0.0 && suffix != "_gsum" {
                return Err("a count or sum below zero");
            }
        }
        if ["_count", "_bucket", "_gcount"].contains(&suffix) && value.fract() != 0.0 {
            return Err("a count that is not whole");
        }
        Ok(())
    }

    /// Makes the point of these labels and this time the current one.
    fn move_to(&mut self, labels: Labels, timestamp: Option<f64>) -> Checked<()> {
        if let Some(point) = &self.point {
            if point.labels == labels {
                return self.move_in_time(timestamp);
            }
            point.end(self.kind())?;
            let ended = self
                .point
                .take()
                .map(|point| point.labels)
                .unwrap_or_default();
            self.ended.insert(ended);
        }
        if self.ended.contains(&labels) {
            return Err("samples of one label set apart from each other");
        }
        self.point = Some(Point {
            labels,
            timestamp,
            ..Point::default()
        });
        Ok(())
    }

    fn move_in_time(&mut self, timestamp: Option<f64>) -> Checked<()> {
        let kind = self.kind();
        let Some(point) = &mut self.point else {
            return Ok(());
        };
        match (point.timestamp, timestamp) {
            (None, None) => Ok(()),
            (Some(before), Some(now)) if before == now => Ok(()),
            (Some(before), Some(now)) if before < now => {
                point.end(kind)?;
                let labels = std::mem::take(&mut point.labels);
                *point = Point {
                    labels,
                    timestamp,
                    ..Point::default()
                };
                Ok(())
            }
            (Some(_), Some(_)) => Err("time goes back"),
            _ => Err("samples with and without a timestamp"),
        }
    }

    /// Checks what only the end shows, and gives the names this family has taken.
    pub(crate) fn end(self) -> Checked<Vec<String>> {
        let kind = self.kind();
        if let Some(point) = &self.point {
            point.end(kind)?;
        }
        if let Some(unit) = self.unit.filter(|unit| !unit.is_empty()) {
            if matches!(kind, Kind::Info | Kind::StateSet) {
                return Err("this type has no unit");
            }
            if !self
                .name
                .strip_suffix(unit.as_str())
                .is_some_and(|rest| rest.ends_with('_'))
            {
                return Err("the name does not end in its unit");
            }
        }
        let printed = kind.suffixes().iter().filter(|suffix| !suffix.is_empty());
        let mut names: Vec<String> = printed
            .map(|suffix| format!("{}{suffix}", self.name))
            .collect();
        names.push(self.name);
        Ok(names)
    }
}

impl Point {
    fn add(&mut self, kind: Kind, suffix: &'static str, own: String, value: f64) -> Checked<()> {
        if kind.has_buckets() && suffix == "_bucket" {
            let le = if own == "+Inf" {
                f64::INFINITY
            } else {
                number(&own).unwrap_or(f64::NAN)
            };
            if let Some((last_le, last)) = self.buckets.last() {
                if self.timestamp.is_none() && le <= *last_le {
                    return Err("buckets out of order");
                }
                if value < *last {
                    return Err("buckets that do not accumulate");
                }
            }
            self.buckets.push((le, value));
        } else if self.timestamp.is_none() && !self.seen.insert((suffix, own)) {
            return Err("a sample twice");
        }
        match suffix {
            "_count" | "_gcount" => self.count = Some(value),
            "_sum" | "_gsum" => self.sum = Some(value),
            _ => {}
        }
        Ok(())
    }

    fn end(&self, kind: Kind) -> Checked<()> {
        if !kind.has_buckets()
            || (self.buckets.is_empty() && self.count.is_none() && self.sum.is_none())
        {
            return Ok(());
        }
        let all = self.buckets.last().filter(|(le, _)| *le == f64::INFINITY);
        let (_, all) = all.ok_or("no `+Inf` bucket")?;
        if self.count.is_some() != self.sum.is_some() && self.buckets_are_positive() {
            return Err("count and sum come together");
        }
        if self.count.is_some_and(|count| count != *all) {
            return Err("the count differs from the `+Inf` bucket");
        }
        match (kind, self.sum) {
            (Kind::Histogram, Some(_)) if !self.buckets_are_positive() => {
                Err("a sum beside a bucket below zero")
            }
            (Kind::GaugeHistogram, Some(sum)) if sum < 0.0 && self.buckets_are_positive() => {
                Err("a sum below zero without a bucket there")
            }
            _ => Ok(()),
        }
    }

    fn buckets_are_positive(&self) -> bool {
        self.buckets.iter().all(|(le, _)| *le >= 0.0)
    }
}
