//! The price of a figure.

use std::hint::black_box;

use anyhow::Result;
use mainspring_monitor::Registry;
use prometheus_client::metrics::{counter::Counter, histogram::Histogram};

use super::{Settings, check, peer, ratio};
use crate::{Measured, paired};

const UPDATES: u64 = 100_000;

pub(super) fn counter(settings: &Settings) -> Result<Measured> {
    let registry = Registry::new();
    let ours = registry.counter("requests", &[("route", "/")]);
    let theirs: Counter = Counter::default();
    let result = paired(
        settings.rounds(),
        UPDATES,
        || (0..UPDATES).for_each(|_| black_box(&ours).add(1)),
        || {
            for _ in 0..UPDATES {
                black_box(&theirs).inc();
            }
        },
    );
    check(ours.value() == theirs.get(), "the counters disagree")?;
    Ok(ratio(
        &result,
        vec![peer("prometheus-client", "0.25", &result)],
    ))
}

pub(super) fn histogram(settings: &Settings) -> Result<Measured> {
    let registry = Registry::new();
    let ours = registry.histogram("sizes", &[]);
    let theirs = Histogram::new((0..14).map(|power| f64::from(1 << power)));
    let result = paired(
        settings.rounds(),
        UPDATES,
        || (0..UPDATES).for_each(|value| black_box(&ours).record(value & 0xfff)),
        || (0..UPDATES).for_each(|value| black_box(&theirs).observe((value & 0xfff) as f64)),
    );
    let snapshot = ours.snapshot();
    check(
        snapshot.count().is_multiple_of(UPDATES) && snapshot.count() > 0,
        "records were lost",
    )?;
    let wanted = 2_047.0;
    check(
        (snapshot.p50() - wanted).abs() < wanted * 0.07,
        "the median is off by more than 7 %",
    )?;
    Ok(ratio(
        &result,
        vec![peer("prometheus-client", "0.25", &result)],
    ))
}
