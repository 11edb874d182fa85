//! A page of ten thousand series.

use std::hint::black_box;

use anyhow::Result;
use mainspring_inputs::Random;
use mainspring_monitor::{Format, Registry, validate_openmetrics};
use metrics::{Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use prometheus_client::{
    encoding::text,
    metrics::{counter::Counter as ClientCounter, family::Family},
};

use crate::{Bench, Contest, Measured, check};

const FAMILIES: usize = 10;
const METRICS: &str = "metrics-exporter-prometheus";

/// As Prometheus text, our time.
pub(super) fn time(bench: &Bench) -> Result<Measured> {
    let pages = Pages::fill(bench.scale().pick(100, 1_000, 1_000))?;
    Ok(pages.contest(bench, Format::Text)?.run().time(1e6))
}

/// As OpenMetrics, which is what prometheus-client writes.
pub(super) fn ratio(bench: &Bench) -> Result<Measured> {
    let pages = Pages::fill(bench.scale().pick(100, 1_000, 1_000))?;
    let standing = pages.contest(bench, Format::OpenMetrics)?.run();
    Ok(standing.ratio("prometheus-client"))
}

/// As Prometheus text, which is what metrics' exporter writes.
pub(super) fn against_metrics(bench: &Bench) -> Result<Measured> {
    let pages = Pages::fill(bench.scale().pick(100, 1_000, 1_000))?;
    Ok(pages.contest(bench, Format::Text)?.run().ratio(METRICS))
}

/// The same counters with the same values in every library.
struct Pages {
    series: usize,
    sum: u64,
    ours: Registry,
    client: prometheus_client::registry::Registry,
    prometheus: prometheus::Registry,
    metrics: PrometheusHandle,
}

type ClientLabels = [(&'static str, String); 2];

impl Pages {
    fn fill(in_family: usize) -> Result<Self> {
        let mut random = Random::new(11);
        let recorder = PrometheusBuilder::new().build_recorder();
        let mut pages = Self {
            series: FAMILIES * in_family,
            sum: 0,
            ours: Registry::new(),
            client: prometheus_client::registry::Registry::default(),
            prometheus: prometheus::Registry::new(),
            metrics: recorder.handle(),
        };
        for family in 0..FAMILIES {
            let name = format!("family_{family}_calls");
            let client = Family::<ClientLabels, ClientCounter>::default();
            pages.client.register(&name, "calls", client.clone());
            let options = prometheus::Opts::new(format!("{name}_total"), "calls");
            let vector = prometheus::IntCounterVec::new(options, &["tool", "session"])?;
            pages.prometheus.register(Box::new(vector.clone()))?;
            pages.ours.describe(&name, "calls");
            for series in 0..in_family {
                let (tool, session) = (format!("tool-{series}"), format!("s{}", series % 50));
                let value = random.below(1_000_000) as u64;
                pages.sum += value;
                let ours = [("tool", tool.as_str()), ("session", session.as_str())];
                pages.ours.counter(&name, &ours).add(value);
                vector.with_label_values(&[&tool, &session]).inc_by(value);
                let labels = vec![
                    Label::new("tool", tool.clone()),
                    Label::new("session", session.clone()),
                ];
                let key = Key::from_parts(format!("{name}_total"), labels);
                let metadata = Metadata::new("benches", Level::INFO, None);
                recorder.register_counter(&key, &metadata).increment(value);
                client
                    .get_or_create(&[("tool", tool), ("session", session)])
                    .inc_by(value);
            }
        }
        Ok(pages)
    }

    fn contest<'a>(&'a self, bench: &Bench, format: Format) -> Result<Contest<'a>> {
        self.check(bench, format)?;
        let (mut ours, mut client, mut prometheus) = (String::new(), String::new(), String::new());
        let encoder = prometheus::TextEncoder::new();
        Ok(Contest::new(bench, 1)
            .side("mainspring-monitor", "", move || {
                ours.clear();
                self.ours.render_into(format, &mut ours);
                black_box(&ours);
            })
            .side("prometheus-client", "0.25", move || {
                client.clear();
                text::encode(&mut client, &self.client).expect("a string takes all");
                black_box(&client);
            })
            .side("prometheus", "0.14", move || {
                prometheus.clear();
                let families = self.prometheus.gather();
                encoder
                    .encode_utf8(&families, &mut prometheus)
                    .expect("it was encoded before");
                black_box(&prometheus);
            })
            .side(METRICS, "0.18", || {
                black_box(self.metrics.render());
            }))
    }

    /// Every page has every series, and they add up.
    fn check(&self, bench: &Bench, format: Format) -> Result<()> {
        let ours = self.ours.render(format);
        let mut client = String::new();
        text::encode(&mut client, &self.client)?;
        let prometheus =
            prometheus::TextEncoder::new().encode_to_string(&self.prometheus.gather())?;
        for page in [ours, client, prometheus, self.metrics.render()] {
            let (series, sum) = read(&page);
            check(bench.answer(series) == self.series, "series are missing")?;
            check(bench.answer(sum) == self.sum, "the values do not add up")?;
        }
        let open = self.ours.render(Format::OpenMetrics);
        let valid = bench.answer(validate_openmetrics(open.as_bytes()).is_ok());
        check(valid, "our page is no OpenMetrics")
    }
}

/// How many samples a page has, and their sum.
fn read(page: &str) -> (usize, u64) {
    let samples = page
        .lines()
        .filter(|line| line.starts_with("family_") && line.contains("_total{"));
    samples.fold((0, 0), |(count, sum), line| {
        let value = line.rsplit(' ').next().and_then(|value| value.parse().ok());
        (count + 1, sum + value.unwrap_or(0u64))
    })
}
