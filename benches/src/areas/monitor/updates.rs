//! Counters, histograms and timers, through handles bound beforehand.

use std::{
    cell::Cell,
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

const METRICS: &str = "metrics, bound handle";

thread_local! {
    /// The floor of every counter by thread: nobody else can ever read it.
    static BARE: Cell<u64> = const { Cell::new(0) };
}

const METADATA: Metadata<'static> = Metadata::new("benches", Level::INFO, None);

pub(super) fn counter_ratio(bench: &Bench) -> Result<Measured> {
    Ok(counter(bench)?.ratio("prometheus-client"))
}

pub(super) fn counter_against_metrics(bench: &Bench) -> Result<Measured> {
    Ok(counter(bench)?.ratio(METRICS))
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
    BARE.set(first);
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
        .side(METRICS, "0.24", || {
            (0..updates).for_each(|_| black_box(&metrics).increment(1));
        })
        .side("a bare thread-local cell, read by nobody", "std", || {
            let cell = 0;
            for _ in 0..updates {
                black_box(&cell);
                BARE.with(|bare| bare.set(bare.get() + 1));
            }
        })
        .run();
    let counted = bench.answer(ours.value());
    check(
        counted == bench.answer(BARE.get()),
        "the bare cell lost something",
    )?;
    check(
        counted == bench.answer(client.get()),
        "the counters disagree",
    )?;
    Ok(standing)
}

pub(super) fn histogram_ratio(bench: &Bench) -> Result<Measured> {
    Ok(histogram(bench)?.ratio("prometheus-client"))
}

pub(super) fn histogram_against_metrics(bench: &Bench) -> Result<Measured> {
    Ok(histogram(bench)?.ratio(METRICS))
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
        total(&page_of(&client)?, "sizes_count"),
    ];
    for count in counts {
        check(bench.answer(count) == updates, "records were lost")?;
    }
    let right = values(updates).sum::<u64>() as f64;
    let sums = [
        snapshot.sum(),
        prometheus.get_sample_sum(),
        sample(&page, "sizes_sum").unwrap_or(-1.0),
        sample(&page_of(&client)?, "sizes_sum").unwrap_or(-1.0),
    ];
    for sum in sums {
        check(bench.answer(sum) == right, "the records do not add up")?;
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
        .side_timed(METRICS, "0.24", |clock| {
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

/// One timer of each library that has some.
struct Timers {
    ours: mainspring_monitor::Timer,
    prometheus: prometheus::Histogram,
    client: Histogram,
}

pub(super) fn timer(bench: &Bench) -> Result<Measured> {
    const TIMINGS: u64 = 20_000;
    let options = prometheus::HistogramOpts::new("latency", "latency");
    let timers = Timers {
        ours: Registry::new().timer("latency", &[]),
        prometheus: prometheus::Histogram::with_opts(options)?,
        client: Histogram::new([0.001, 0.01, 0.1, 1.0]),
    };
    timers.check_a_timing(bench)?;
    let standing = Contest::new(bench, TIMINGS)
        .side("mainspring-monitor", "", || {
            for _ in 0..TIMINGS {
                drop(black_box(timers.ours.start()));
            }
        })
        .side("prometheus", "0.14", || {
            for _ in 0..TIMINGS {
                drop(black_box(timers.prometheus.start_timer()));
            }
        })
        .side("prometheus-client and two Instants", "0.25", || {
            for _ in 0..TIMINGS {
                let started = black_box(Instant::now());
                timers.client.observe(started.elapsed().as_secs_f64());
            }
        })
        .side("two Instants, kept nowhere", "std", || {
            for _ in 0..TIMINGS {
                black_box(black_box(Instant::now()).elapsed());
            }
        })
        .run();
    for (recorded, _) in timers.read()? {
        let rounds = bench.answer(recorded) - 1;
        check(
            rounds > 0 && rounds.is_multiple_of(TIMINGS),
            "timings were lost",
        )?;
    }
    Ok(standing.time(1.0))
}

impl Timers {
    /// How many timings each library has, and their sum in seconds.
    fn read(&self) -> Result<[(u64, f64); 3]> {
        let ours = self.ours.snapshot();
        let page = page_of(&self.client)?;
        let sum = sample(&page, "sizes_sum").unwrap_or(0.0);
        Ok([
            (ours.count(), ours.sum()),
            (
                self.prometheus.get_sample_count(),
                self.prometheus.get_sample_sum(),
            ),
            (total(&page, "sizes_count"), sum),
        ])
    }

    /// A timing tells what a clock beside it tells.
    fn check_a_timing(&self, bench: &Bench) -> Result<()> {
        let slept = Duration::from_millis(3);
        let outside = Instant::now();
        {
            let _ours = self.ours.start();
            let _prometheus = self.prometheus.start_timer();
            let started = Instant::now();
            std::thread::sleep(slept);
            self.client.observe(started.elapsed().as_secs_f64());
        }
        let longest = outside.elapsed().as_secs_f64() * 1.07;
        let shortest = slept.as_secs_f64() * 0.93;
        for (count, sum) in self.read()? {
            check(bench.answer(count) == 1, "a timing was lost")?;
            check(
                (shortest..=longest).contains(&bench.answer(sum)),
                "a timing is off by more than 7 %",
            )?;
        }
        Ok(())
    }
}

/// The value of the sample of that name without labels.
fn sample(page: &str, name: &str) -> Option<f64> {
    let mut lines = page.lines().filter_map(|line| line.strip_prefix(name));
    let value = lines.find_map(|rest| rest.strip_prefix(' '))?;
    value.trim().parse().ok()
}

/// The same of a count.
fn total(page: &str, name: &str) -> u64 {
    sample(page, name).map_or(0, |value| value as u64)
}

/// The histogram on a page of its own.
fn page_of(histogram: &Histogram) -> Result<String> {
    let mut registry = prometheus_client::registry::Registry::default();
    registry.register("sizes", "sizes", histogram.clone());
    let mut page = String::new();
    prometheus_client::encoding::text::encode(&mut page, &registry)?;
    Ok(page)
}
