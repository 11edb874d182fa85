//! The price of a figure.

mod export;
mod sample;
mod updates;

use super::Benchmark;

pub(super) const ROWS: &[(&str, Benchmark)] = &[
    ("monitor.counter", updates::counter_ratio),
    ("monitor.counter_ns", updates::counter_time),
    ("monitor.histogram", updates::histogram_ratio),
    ("monitor.histogram_ns", updates::histogram_time),
    ("monitor.timer", updates::timer),
    ("monitor.export", export::time),
    ("monitor.export_ratio", export::ratio),
    ("monitor.sample", sample::process),
];
