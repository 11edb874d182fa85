//! The price of a figure.

mod export;
mod sample;
mod updates;

use super::Benchmark;

pub(super) const ROWS: &[(&str, Benchmark)] = &[
    ("monitor.counter", updates::counter_ratio),
    ("monitor.counter_metrics", updates::counter_against_metrics),
    ("monitor.counter_ns", updates::counter_time),
    ("monitor.histogram", updates::histogram_ratio),
    (
        "monitor.histogram_metrics",
        updates::histogram_against_metrics,
    ),
    ("monitor.histogram_ns", updates::histogram_time),
    ("monitor.timer", updates::timer),
    ("monitor.export", export::time),
    ("monitor.export_ratio", export::ratio),
    ("monitor.export_metrics", export::against_metrics),
    ("monitor.sample", sample::process),
];
