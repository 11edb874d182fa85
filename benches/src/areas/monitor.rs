//! The price of a figure.

use std::hint::black_box;

use anyhow::Result;
use mainspring_monitor::Registry;
use prometheus_client::metrics::{counter::Counter, histogram::Histogram};

use super::Benchmark;
use crate::{Bench, Contest, Measured, check};

pub(super) const ROWS: &[(&str, Benchmark)] = &[
    ("monitor.counter", counter),
    ("monitor.histogram", histogram),
];

const UPDATES: u64 = 100_000;

fn counter(bench: &Bench) -> Result<Measured> {
    let registry = Registry::new();
    let ours = registry.counter("requests", &[("route", "/")]);
    let theirs: Counter = Counter::default();
    let standing = Contest::new(bench, UPDATES)
        .side("mainspring-monitor", "", || {
            (0..UPDATES).for_each(|_| black_box(&ours).add(1));
        })
        .side("prometheus-client", "0.25", || {
            for _ in 0..UPDATES {
                black_box(&theirs).inc();
            }
        })
        .run();
    let counted = bench.answer(ours.value());
    check(
        counted == bench.answer(theirs.get()),
        "the counters disagree",
    )?;
    Ok(standing.ratio("prometheus-client"))
}

fn histogram(bench: &Bench) -> Result<Measured> {
    let registry = Registry::new();
    let ours = registry.histogram("sizes", &[]);
    let theirs = Histogram::new((0..14).map(|power| f64::from(1 << power)));
    let standing = Contest::new(bench, UPDATES)
        .side("mainspring-monitor", "", || {
            (0..UPDATES).for_each(|value| black_box(&ours).record(value & 0xfff));
        })
        .side("prometheus-client", "0.25", || {
            (0..UPDATES).for_each(|value| black_box(&theirs).observe((value & 0xfff) as f64));
        })
        .run();
    let snapshot = ours.snapshot();
    let count = bench.answer(snapshot.count());
    check(
        count.is_multiple_of(UPDATES) && count > 0,
        "records were lost",
    )?;
    let (median, wanted) = (bench.answer(snapshot.p50()), 2_047.0);
    check(
        (median - wanted).abs() < wanted * 0.07,
        "the median is off by more than 7 %",
    )?;
    Ok(standing.ratio("prometheus-client"))
}
