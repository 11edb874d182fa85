//! The two text formats: Prometheus text 0.0.4 and OpenMetrics 1.0.

use std::sync::PoisonError;

use crate::family::{Exemplar, Family, Series, Store};
use crate::label::escape;
use crate::number::{push_f64, push_u64};
use crate::reading::{Reading, histogram, level};
use crate::slab::Place;
use crate::snapshot::Kind;

/// What a value and its line break usually take.
const VALUE_BYTES: usize = 10;

/// A text format of a page of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Prometheus text 0.0.4.
    #[default]
    Text,
    /// OpenMetrics 1.0, with units, exemplars and an end mark.
    OpenMetrics,
}

impl Format {
    /// The MIME type to send it with.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The format that an HTTP `Accept` header prefers; text 0.0.4 when it does not mention
    /// OpenMetrics, or prefers plain text by `q`.
    #[must_use]
    pub fn negotiate(accept: &str) -> Self {
        let weight = |wanted: &str| {
            accept
                .split(',')
                .filter_map(|range| weigh(range, wanted))
                .fold(0.0, f64::max)
        };
        let open = weight("application/openmetrics-text");
        let plain = weight("text/plain");
        if open > 0.0 && open >= plain {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }
}

/// The weight of one media range if it is `wanted` in a version that we speak.
fn weigh(range: &str, wanted: &str) -> Option<f64> {
    let mut parts = range.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case(wanted) {
        return None;
    }
    let mut weight = 1.0;
    for part in parts {
        match part.split_once('=') {
            Some(("q", q)) => weight = q.trim().parse().ok().filter(|q| (0.0..=1.0).contains(q))?,
            Some(("version", version)) if wanted.starts_with("application") => {
                ["0.0.1", "1.0.0"].contains(&version).then_some(())?;
            }
            _ => {}
        }
    }
    Some(weight)
}

/// Appends the page of all families that have series.
pub(crate) fn render(families: &[Family], format: Format, page: &mut String) {
    let mut page = Page {
        out: page,
        format,
        reading: Reading::default(),
    };
    for family in families.iter().filter(|family| !family.series.is_empty()) {
        page.family(family);
    }
    if format == Format::OpenMetrics {
        page.out.push_str("# EOF\n");
    }
}

struct Page<'a> {
    out: &'a mut String,
    format: Format,
    reading: Reading,
}

impl Page<'_> {
    fn family(&mut self, family: &Family) {
        self.head(family);
        if family.wanted.kind() == Kind::Histogram {
            for series in &family.series {
                self.histogram(family, series);
            }
            return;
        }
        self.out
            .reserve(family.lines.bytes() + family.series.len() * VALUE_BYTES);
        for ((head, place), series) in family.lines.iter().zip(&family.series) {
            self.out.push_str(head);
            match place {
                Place::Cell { page, index } => {
                    let value = self.reading.cell(page, index, || series.slot());
                    push_u64(self.out, value);
                }
                Place::Elsewhere => match &series.store {
                    Store::Counter(slot) => push_u64(self.out, self.reading.counter(slot)),
                    _ => push_f64(self.out, level(series)),
                },
            }
            self.out.push('\n');
        }
    }

    /// TYPE, UNIT and HELP. The older format knows counters by their whole name, and no units.
    fn head(&mut self, family: &Family) {
        let kind = family.wanted.kind();
        let open = self.format == Format::OpenMetrics;
        let total = if kind == Kind::Counter && !open {
            "_total"
        } else {
            ""
        };
        for part in ["# TYPE ", &family.name, total, " ", kind.name(), "\n"] {
            self.out.push_str(part);
        }
        let units = ["seconds", "bytes", "ratio"];
        let ends = |unit: &&&str| {
            family
                .name
                .strip_suffix(**unit)
                .is_some_and(|rest| rest.ends_with('_'))
        };
        if let Some(unit) = units.iter().find(ends).filter(|_| open) {
            for part in ["# UNIT ", &family.name, " ", unit, "\n"] {
                self.out.push_str(part);
            }
        }
        if let Some(help) = &family.help {
            for part in ["# HELP ", &family.name, total, " "] {
                self.out.push_str(part);
            }
            escape(self.out, help, open);
            self.out.push('\n');
        }
    }

    /// `name_suffix{labels,le="…"} `
    fn sample(&mut self, family: &Family, suffix: &str, series: &Series, le: &str) {
        self.out.push_str(&family.name);
        self.out.push_str(suffix);
        if !series.body.is_empty() || !le.is_empty() {
            self.out.push('{');
            self.out.push_str(&series.body);
            if !le.is_empty() {
                self.out.push_str(if series.body.is_empty() {
                    "le=\""
                } else {
                    ",le=\""
                });
                self.out.push_str(le);
                self.out.push('"');
            }
            self.out.push('}');
        }
        self.out.push(' ');
    }

    fn histogram(&mut self, family: &Family, series: &Series) {
        let Store::Histogram {
            slot,
            scale,
            exemplar,
        } = &series.store
        else {
            return;
        };
        let values = histogram(slot, *scale);
        let mut exemplar = match self.format {
            Format::Text => None,
            Format::OpenMetrics => exemplar
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        };
        let ends = family
            .bounds
            .iter()
            .map(|bound| (bound.bucket, bound.le.as_str()));
        for (bucket, le) in ends.chain([(usize::MAX, "+Inf")]) {
            self.sample(family, "_bucket", series, le);
            push_u64(self.out, values.up_to(bucket));
            if let Some(exemplar) = exemplar.take_if(|exemplar| exemplar.bucket <= bucket) {
                self.exemplar(&exemplar, *scale);
            }
            self.out.push('\n');
        }
        self.sample(family, "_sum", series, "");
        push_f64(self.out, values.sum());
        self.out.push('\n');
        self.sample(family, "_count", series, "");
        push_u64(self.out, values.count());
        self.out.push('\n');
    }

    fn exemplar(&mut self, exemplar: &Exemplar, scale: f64) {
        self.out.push_str(" # {");
        self.out.push_str(&exemplar.labels.body());
        self.out.push_str("} ");
        push_f64(self.out, exemplar.value as f64 * scale);
    }
}
