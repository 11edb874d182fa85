//! What the features `metrics` and `tracing` tell.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use mainspring_mmap_store::{Durability, Options, Store};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, SharedString, Unit};
use tracing::span::{Attributes, Id, Record};

use crate::sim::SimDisk;

/// Sums of counters, and how often each histogram was told something.
#[derive(Default)]
struct Told(Mutex<BTreeMap<String, Arc<Sum>>>);

#[derive(Default)]
struct Sum(AtomicU64);

impl metrics::CounterFn for Sum {
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }

    fn absolute(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

impl metrics::HistogramFn for Sum {
    fn record(&self, seconds: f64) {
        assert!((0.0..60.0).contains(&seconds));
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Told {
    fn sum(&self, key: &Key) -> Arc<Sum> {
        let label = key.labels().next().map_or("", |label| label.value());
        let name = format!("{} {label}", key.name());
        let mut known = self.0.lock().unwrap();
        Arc::clone(known.entry(name.trim_end().to_owned()).or_default())
    }

    fn of(&self, name: &str) -> u64 {
        let known = self.0.lock().unwrap();
        known
            .get(name)
            .map_or(0, |sum| sum.0.load(Ordering::Relaxed))
    }
}

impl metrics::Recorder for Told {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.sum(key))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.sum(key))
    }
}

fn work(store: &Store) {
    store.put(b"key", &[1; 5000]).unwrap();
    store.put(b"key", &[2; 50]).unwrap();
    assert!(!store.compare_and_set(b"key", None, None).unwrap());
    store.get(b"key").unwrap().unwrap();
    assert!(store.get(b"none").unwrap().is_none());
    store.flush(Durability::Always).unwrap();
    store.compact().unwrap();
    assert!(store.verify().unwrap().is_clean());
}

#[test]
fn counts_bytes_and_latencies_are_those_of_the_calls() {
    let told = Told::default();
    metrics::with_local_recorder(&told, || {
        let disk = SimDisk::new();
        let options = Options::new().create(true).durability(Durability::Os);
        work(&options.open_in(disk.storage()).unwrap());
    });
    let wanted = [
        ("mmap_store_gets_total hit", 1),
        ("mmap_store_gets_total miss", 1),
        ("mmap_store_read_bytes_total", 50),
        ("mmap_store_writes_total applied", 2),
        ("mmap_store_writes_total refused", 1),
        ("mmap_store_written_bytes_total", 5056),
        ("mmap_store_get_seconds", 2),
        ("mmap_store_write_seconds", 3),
        ("mmap_store_flush_seconds", 1),
        ("mmap_store_compact_seconds", 1),
    ];
    for (name, value) in wanted {
        assert_eq!(told.of(name), value, "{name}");
    }
    assert!(told.of("mmap_store_freed_bytes_total") > 0);
}

/// The names of the spans that were entered.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<&'static str>>>);

impl tracing::Subscriber for Spans {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut names = self.0.lock().unwrap();
        names.push(span.metadata().name());
        Id::from_u64(names.len() as u64)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &tracing::Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn each_lengthy_piece_of_work_has_a_span() {
    let spans = Spans::default();
    tracing::subscriber::with_default(spans.clone(), || {
        let disk = SimDisk::new();
        let options = Options::new().create(true).durability(Durability::Os);
        let store = options.open_in(disk.storage()).unwrap();
        work(&store);
        store.close().unwrap();
        Store::repair_in(disk.storage()).unwrap();
    });
    let mut names = spans.0.lock().unwrap().clone();
    names.sort_unstable();
    names.dedup();
    let wanted = ["compact", "flush", "open", "repair", "verify"];
    assert_eq!(names, wanted.map(|name| format!("mmap_store.{name}")));
}
