//! Metrics as OTLP: the protocol buffers of OpenTelemetry's metrics, version 1.

use std::collections::HashMap;
use std::sync::PoisonError;

use crate::distribution::{HistogramSnapshot, bucket_range};
use crate::family::{Exemplar, Family, Series, Store};
use crate::protobuf::{double, fixed64, message, number, packed, text};
use crate::reading::{Reading, histogram, level};
use crate::snapshot::Kind;

/// Whether counters and histograms are told since the beginning or since they were told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Temporality {
    /// Since the beginning: what Prometheus keeps.
    #[default]
    Cumulative,
    /// Since the last push that was accepted.
    Delta,
}

impl Temporality {
    fn number(self) -> u64 {
        match self {
            Self::Delta => 1,
            Self::Cumulative => 2,
        }
    }
}

/// What a series was when it was told last, by its number.
pub(crate) type Told = HashMap<u64, Value>;

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Count(u64),
    Number(f64),
    Distribution(HistogramSnapshot),
}

/// One page of metrics.
pub(crate) struct Batch<'a> {
    pub(crate) temporality: Temporality,
    pub(crate) resource: &'a [(String, String)],
    /// Unix time in nanoseconds: since when the figures count, and now.
    pub(crate) times: (u64, u64),
    /// What was told before.
    pub(crate) before: &'a Told,
}

impl Batch<'_> {
    /// The request, what it tells of each series, and its number of data points.
    pub(crate) fn encode(&self, families: &[Family]) -> (Vec<u8>, Told, usize) {
        let mut out = Vec::new();
        let mut writing = Writing {
            batch: self,
            reading: Reading::default(),
            now: Told::new(),
            points: 0,
        };
        let filled = || families.iter().filter(|family| !family.series.is_empty());
        message(&mut out, 1, |out| {
            message(out, 1, |out| {
                for (name, value) in self.resource {
                    attribute(out, 1, name, value);
                }
            });
            message(out, 2, |out| {
                message(out, 1, |out| {
                    text(out, 1, env!("CARGO_PKG_NAME"));
                    text(out, 2, env!("CARGO_PKG_VERSION"));
                });
                filled().for_each(|family| writing.family(out, family));
            });
        });
        (out, writing.now, writing.points)
    }
}

struct Writing<'a> {
    batch: &'a Batch<'a>,
    reading: Reading,
    now: Told,
    points: usize,
}

impl Writing<'_> {
    fn family(&mut self, out: &mut Vec<u8>, family: &Family) {
        message(out, 2, |out| {
            text(out, 1, &family.name);
            text(out, 2, family.help.as_deref().unwrap_or(""));
            text(out, 3, unit(&family.name));
            let temporality = self.batch.temporality.number();
            match family.wanted.kind() {
                Kind::Gauge => message(out, 5, |out| self.numbers(out, family)),
                Kind::Counter => message(out, 7, |out| {
                    self.numbers(out, family);
                    number(out, 2, temporality);
                    number(out, 3, 1);
                }),
                Kind::Histogram => message(out, 9, |out| {
                    for series in &family.series {
                        self.points += 1;
                        message(out, 1, |out| self.distribution(out, family, series));
                    }
                    number(out, 2, temporality);
                }),
            }
        });
    }

    fn numbers(&mut self, out: &mut Vec<u8>, family: &Family) {
        for series in &family.series {
            self.points += 1;
            message(out, 1, |out| {
                self.times(out);
                match &series.store {
                    Store::Counter(slot) => {
                        let total = self.reading.counter(slot);
                        let told = self.told(series, Value::Count(total));
                        let before = match told {
                            Some(Value::Count(before)) => before,
                            _ => 0,
                        };
                        fixed64(out, 6, total.wrapping_sub(before));
                    }
                    _ if family.wanted.kind() == Kind::Counter => {
                        let total = level(series);
                        let told = self.told(series, Value::Number(total));
                        let before = match told {
                            // Whoever keeps it began anew.
                            Some(Value::Number(before)) if before <= total => before,
                            _ => 0.0,
                        };
                        double(out, 4, total - before);
                    }
                    _ => double(out, 4, level(series)),
                }
                attributes(out, 7, series);
            });
        }
    }

    fn distribution(&mut self, out: &mut Vec<u8>, family: &Family, series: &Series) {
        let Store::Histogram {
            slot,
            scale,
            exemplar,
        } = &series.store
        else {
            return;
        };
        let total = histogram(slot, *scale);
        let told = self.told(series, Value::Distribution(total.clone()));
        let since = match told {
            Some(Value::Distribution(before)) => total.since(&before),
            _ => total,
        };
        self.times(out);
        fixed64(out, 4, since.count());
        double(out, 5, since.sum());
        let mut below = 0;
        let mut counts: Vec<u64> = Vec::with_capacity(family.bounds.len() + 1);
        for bucket in family.bounds.iter().map(|bound| bound.bucket) {
            let up_to = since.up_to(bucket);
            counts.push(up_to - below);
            below = up_to;
        }
        counts.push(since.count() - below);
        packed(out, 6, counts.into_iter());
        let bounds = family.bounds.iter();
        let bounds = bounds.map(|bound| (bucket_range(bound.bucket).1 as f64 * scale).to_bits());
        packed(out, 7, bounds);
        let exemplar = exemplar
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(exemplar) = exemplar {
            message(out, 8, |out| self.exemplar(out, &exemplar, *scale));
        }
        attributes(out, 9, series);
        if since.count() > 0 {
            double(out, 11, since.min());
            double(out, 12, since.max());
        }
    }

    fn exemplar(&self, out: &mut Vec<u8>, exemplar: &Exemplar, scale: f64) {
        fixed64(out, 2, self.batch.times.1);
        double(out, 3, exemplar.value as f64 * scale);
        for (name, value) in exemplar.labels.iter() {
            attribute(out, 7, name, value);
        }
    }

    /// Notes what is told of a series now; what was told before, if that is to be taken off.
    fn told(&mut self, series: &Series, now: Value) -> Option<Value> {
        match self.batch.temporality {
            Temporality::Cumulative => None,
            Temporality::Delta => {
                self.now.insert(series.id, now);
                self.batch.before.get(&series.id).cloned()
            }
        }
    }

    fn times(&self, out: &mut Vec<u8>) {
        fixed64(out, 2, self.batch.times.0);
        fixed64(out, 3, self.batch.times.1);
    }
}

fn attributes(out: &mut Vec<u8>, field: u32, series: &Series) {
    for (name, value) in series.labels.iter() {
        attribute(out, field, name, value);
    }
}

fn attribute(out: &mut Vec<u8>, field: u32, name: &str, value: &str) {
    message(out, field, |out| {
        text(out, 1, name);
        message(out, 2, |out| text(out, 1, value));
    });
}

/// The unit as UCUM writes it, from the name's ending.
fn unit(name: &str) -> &'static str {
    let endings = [("_seconds", "s"), ("_bytes", "By"), ("_ratio", "1")];
    let known = endings.iter().find(|(ending, _)| name.ends_with(ending));
    known.map_or("", |(_, unit)| unit)
}
