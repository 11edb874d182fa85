//! Counters, gauges and histograms that do not let a panic of the recorder through.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Label, counter, gauge, histogram};

use super::quietly;

/// What the figures of a pool are told apart by.
#[derive(Debug, Clone)]
pub(super) struct Labels(Vec<Label>);

impl Labels {
    pub(super) fn of(pool: &str) -> Self {
        Self(vec![Label::new("pool", pool.to_owned())])
    }

    pub(super) fn and(&self, key: &'static str, value: impl Into<String>) -> Self {
        let mut labels = self.0.clone();
        labels.push(Label::new(key, value.into()));
        Self(labels)
    }
}

pub(super) struct Count(Counter);

impl Count {
    pub(super) fn new(name: &'static str, labels: &Labels) -> Self {
        let registered = quietly(|| counter!(name, labels.0.iter()));
        Self(registered.unwrap_or_else(Counter::noop))
    }

    pub(super) fn add(&self, count: u64) {
        quietly(|| self.0.increment(count));
    }

    /// Raises it to a sum that is kept elsewhere.
    pub(super) fn reach(&self, sum: u64) {
        quietly(|| self.0.absolute(sum));
    }
}

pub(super) struct Level(Gauge);

impl Level {
    pub(super) fn new(name: &'static str, labels: &Labels) -> Self {
        let registered = quietly(|| gauge!(name, labels.0.iter()));
        Self(registered.unwrap_or_else(Gauge::noop))
    }

    pub(super) fn up(&self) {
        quietly(|| self.0.increment(1.0));
    }

    pub(super) fn down(&self, by: usize) {
        quietly(|| self.0.decrement(by as f64));
    }

    pub(super) fn set(&self, value: usize) {
        quietly(|| self.0.set(value as f64));
    }
}

pub(super) struct Spread(Histogram);

impl Spread {
    pub(super) fn new(name: &'static str, labels: &Labels) -> Self {
        let registered = quietly(|| histogram!(name, labels.0.iter()));
        Self(registered.unwrap_or_else(Histogram::noop))
    }

    pub(super) fn record(&self, took: Duration) {
        quietly(|| self.0.record(took));
    }
}
