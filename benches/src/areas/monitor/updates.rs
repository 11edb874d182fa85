//! Counters, histograms and timers, through handles bound beforehand.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use anyhow::Result;
use hdrhistogram::Histogram as HdrHistogram;
use mainspring_monitor::Registry;
use metrics::{Key, Level, Metadata, Recorder};
use metrics_exporter_prometheus::PrometheusBuilder;
use prometheus_client::metrics::{counter::Counter, histogram::Histogram};

use crate::{Bench, Contest, Measured, Standing, check};

/// Updates in one run; whole rounds of [`values`].
fn updates(bench: &Bench) -> u64 {
    bench.scale().pick(2, 24, 24) * RANGE
}

/// The values recorded are those below it, again and again.
const RANGE: u64 = 4_096;

const METADATA: Metadata<'static> = Metadata::new("benches", Level::INFO, None);

pub(super) fn counter_ratio(bench: &Bench) -> Result<Measured> {
    Ok(counter(bench)?.ratio("prometheus-client"))
}

pub(super) fn counter_time(bench: &Bench) -> Result<Measured> {
    Ok(counter(bench)?.time(1.0))
}

fn counter(bench: &Bench) -> Result<Standing> {
    let updates = updates(bench);
    let registry = Registry::new();
    let ours = registry.counter("requests", &[("route", "/")]);
    let client: Counter = Counter::default();
    let prometheus = prometheus::IntCounter::new("requests", "requests")?;
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.register_counter(&Key::from_name("requests"), &METADATA);
    let first = 7;
    ours.add(first);
    client.inc_by(first);
    prometheus.inc_by(first);
    metrics.increment(first);
    let shown = total(&recorder.handle().render(), "requests");
    for counted in [ours.value(), client.get(), prometheus.get(), shown] {
        check(bench.answer(counted) == first, "a counter lost something")?;
    }
    let standing = Contest::new(bench, updates)
        .side("mainspring-monitor", "", || {
            (0..updates).for_each(|_| black_box(&ours).add(1));
        })
        .side("prometheus-client", "0.25", || {
            for _ in 0..updates {
                black_box(&client).inc();
            }
        })
        .side("prometheus", "0.14", || {
            (0..updates).for_each(|_| black_box(&prometheus).inc());
        })
        .side("metrics, bound handle", "0.24", || {
            (0..updates).for_each(|_| black_box(&metrics).increment(1));
        })
        .run();
    let counted = bench.answer(ours.value());
    check(
        counted == bench.answer(client.get()),
        "the counters disagree",
    )?;
    Ok(standing)
}

pub(super) fn histogram_ratio(bench: &Bench) -> Result<Measured> {
    Ok(histogram(bench)?.ratio("prometheus-client"))
}

pub(super) fn histogram_time(bench: &Bench) -> Result<Measured> {
    Ok(histogram(bench)?.time(1.0))
}

fn histogram(bench: &Bench) -> Result<Standing> {
    let updates = updates(bench);
    let bounds: Vec<f64> = (0..14).map(|power| f64::from(1 << power)).collect();
    let registry = Registry::new();
    let ours = registry.histogram("sizes", &[]);
    let client = Histogram::new(bounds.iter().copied());
    let options = prometheus::HistogramOpts::new("sizes", "sizes").buckets(bounds.clone());
    let prometheus = prometheus::Histogram::with_opts(options)?;
    let recorder = PrometheusBuilder::new()
        .set_buckets(&bounds)?
        .build_recorder();
    let metrics = recorder.register_histogram(&Key::from_name("sizes"), &METADATA);
    let mut hdr = HdrHistogram::<u64>::new_with_bounds(1, 1 << 40, 2)?;

    for value in values(updates) {
        ours.record(value);
        client.observe(value as f64);
        prometheus.observe(value as f64);
        metrics.record(value as f64);
        hdr.record(value)?;
    }
    let page = recorder.handle().render();
    let snapshot = ours.snapshot();
    let counts = [
        snapshot.count(),
        prometheus.get_sample_count(),
        total(&page, "sizes_count"),
        hdr.len(),
        in_client(&client)?,
    ];
    for count in counts {
        check(bench.answer(count) == updates, "records were lost")?;
    }
    let wanted = 2_047.0;
    for median in [snapshot.p50(), hdr.value_at_quantile(0.5) as f64] {
        let off = (bench.answer(median) - wanted).abs();
        check(off < wanted * 0.07, "the median is off by more than 7 %")?;
    }

    Ok(Contest::new(bench, updates)
        .side("mainspring-monitor", "", || {
            values(updates).for_each(|value| black_box(&ours).record(value));
        })
        .side("prometheus-client", "0.25", || {
            values(updates).for_each(|value| black_box(&client).observe(value as f64));
        })
        .side("prometheus", "0.14", || {
            values(updates).for_each(|value| black_box(&prometheus).observe(value as f64));
        })
        .side_timed("metrics, bound handle", "0.24", |clock| {
            let spent = clock.time(|| {
                values(updates).for_each(|value| black_box(&metrics).record(value as f64));
            });
            // It keeps samples until somebody scrapes.
            recorder.handle().run_upkeep();
            spent
        })
        .side("hdrhistogram, one thread only", "7", || {
            values(updates).for_each(|value| black_box(&mut hdr).saturating_record(value));
        })
        .run())
}

fn values(updates: u64) -> impl Iterator<Item = u64> {
    (0..updates).map(|value| value % RANGE)
}

pub(super) fn timer(bench: &Bench) -> Result<Measured> {
    const TIMINGS: u64 = 20_000;
    let registry = Registry::new();
    let ours = registry.timer("latency", &[]);
    let client = Histogram::new([0.001, 0.01, 0.1, 1.0]);
    let options = prometheus::HistogramOpts::new("latency", "latency");
    let prometheus = prometheus::Histogram::with_opts(options)?;
    check_a_timing(bench, &registry)?;
    let standing = Contest::new(bench, TIMINGS)
        .side("mainspring-monitor", "", || {
            for _ in 0..TIMINGS {
                drop(black_box(ours.start()));
            }
        })
        .side("prometheus", "0.14", || {
            for _ in 0..TIMINGS {
                drop(black_box(prometheus.start_timer()));
            }
        })
        .side("prometheus-client and two Instants", "0.25", || {
            for _ in 0..TIMINGS {
                let started = black_box(Instant::now());
                client.observe(started.elapsed().as_secs_f64());
            }
        })
        .side("two Instants, kept nowhere", "std", || {
            for _ in 0..TIMINGS {
                black_box(black_box(Instant::now()).elapsed());
            }
        })
        .run();
    let recorded = bench.answer(ours.snapshot().count());
    check(
        recorded > 0 && recorded.is_multiple_of(TIMINGS),
        "timings were lost",
    )?;
    Ok(standing.time(1.0))
}

/// A timing tells what a clock beside it tells.
fn check_a_timing(bench: &Bench, registry: &Registry) -> Result<()> {
    let timer = registry.timer("slept", &[]);
    let slept = Duration::from_millis(3);
    let started = Instant::now();
    {
        let _timing = timer.start();
        std::thread::sleep(slept);
    }
    let longest = started.elapsed().as_secs_f64() * 1.07;
    let timed = bench.answer(timer.snapshot().max());
    check(
        (slept.as_secs_f64() * 0.93..=longest).contains(&timed),
        "a timing is off by more than 7 %",
    )
}

/// The value of the sample of that name without labels.
fn total(page: &str, name: &str) -> u64 {
    let lines = page.lines().filter_map(|line| line.strip_prefix(name));
    lines
        .filter_map(|rest| rest.strip_prefix(' '))
        .find_map(|value| value.trim().parse().ok())
        .unwrap_or(0)
}

fn in_client(histogram: &Histogram) -> Result<u64> {
    let mut registry = prometheus_client::registry::Registry::default();
    registry.register("sizes", "sizes", histogram.clone());
    let mut page = String::new();
    prometheus_client::encoding::text::encode(&mut page, &registry)?;
    Ok(total(&page, "sizes_count"))
}
