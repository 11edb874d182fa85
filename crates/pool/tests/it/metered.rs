//! What a pool with a name tells a recorder of metrics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use mainspring_pool::{KeyedPool, ResourcePool};
use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    with_local_recorder,
};

use crate::faults::{Faults, FaultyManager, SECOND};
use crate::sim::Sim;

/// Keeps everything by name and labels.
#[derive(Default)]
struct Book {
    counters: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    gauges: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    histograms: Mutex<BTreeMap<String, Arc<Samples>>>,
}

#[derive(Default)]
struct Samples(Mutex<Vec<f64>>);

impl HistogramFn for Samples {
    fn record(&self, value: f64) {
        self.0.lock().unwrap().push(value);
    }
}

fn entry<V: Default>(book: &Mutex<BTreeMap<String, Arc<V>>>, key: &Key) -> Arc<V> {
    let labels: Vec<&str> = key.labels().map(|label| label.value()).collect();
    let name = format!("{}[{}]", key.name(), labels.join(","));
    Arc::clone(book.lock().unwrap().entry(name).or_default())
}

impl Recorder for Book {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(entry(&self.counters, key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(entry(&self.gauges, key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(entry(&self.histograms, key))
    }
}

impl Book {
    fn counter(&self, name: &str) -> u64 {
        let counters = self.counters.lock().unwrap();
        counters.get(name).map_or(0, |c| c.load(Ordering::Relaxed))
    }

    fn gauge(&self, name: &str) -> f64 {
        let gauges = self.gauges.lock().unwrap();
        f64::from_bits(gauges[name].load(Ordering::Relaxed))
    }

    fn samples(&self, name: &str) -> Vec<f64> {
        let histograms = self.histograms.lock().unwrap();
        let samples = histograms[name].0.lock().unwrap();
        samples.clone()
    }
}

#[test]
fn counters_gauges_and_histograms_follow_the_pool() {
    let book = Book::default();
    with_local_recorder(&book, || {
        let sim = Sim::fifo();
        let manager = FaultyManager::new(&sim, Faults::default());
        let builder = ResourcePool::builder(manager).min(0).max(1).max_waiters(1);
        let pool = builder.name("db").build_with(sim.clone()).unwrap();
        let user = pool.clone();
        let lease = sim.block_on(async move { user.get_owned().await }).unwrap();
        let (user, sim2) = (pool.clone(), sim.clone());
        sim.start(async move {
            let lease = user.get().await.unwrap();
            sim2.sleep(SECOND).await;
            lease.discard();
        });
        sim.settle();
        assert_eq!(book.gauge("pool_callers_waiting[db]"), 1.0);
        let user = pool.clone();
        assert!(sim.block_on(async move { user.get_owned().await.is_err() }));
        sim.run_for(SECOND / 2);
        assert_eq!(book.gauge("pool_resources_in_use[db]"), 1.0);
        drop(lease);
        sim.run_for(SECOND / 4);
        assert_eq!(book.gauge("pool_callers_waiting[db]"), 0.0);
        assert_eq!(book.samples("pool_wait_seconds[db]").last(), Some(&0.5));
        sim.run_for(2 * SECOND);
    });
    let counters = ["created", "discarded"].map(|what| {
        let labels = if what == "created" { "db" } else { "db,broken" };
        book.counter(&format!("pool_resources_{what}_total[{labels}]"))
    });
    assert_eq!(counters, [1, 1]);
    assert_eq!(book.counter("pool_checkouts_total[db]"), 2);
    assert_eq!(book.counter("pool_returns_total[db]"), 2);
    assert_eq!(book.counter("pool_refusals_total[db]"), 1);
    assert_eq!(book.gauge("pool_resources[db]"), 0.0);
    assert_eq!(book.gauge("pool_resources_in_use[db]"), 0.0);
    assert_eq!(book.samples("pool_connect_seconds[db]").len(), 1);
}

/// Whatever happens, the gauges agree with the pool in the end.
#[test]
fn gauges_do_not_drift_under_faults() {
    for seed in 0..40 {
        let book = Book::default();
        with_local_recorder(&book, || {
            let sim = Sim::new(seed);
            let faults = Faults {
                connect_time: 30,
                connect_error: 30,
                connect_panic: 10,
                check_time: 30,
                check_error: 40,
                broken: 10,
                ..Faults::default()
            };
            let manager = FaultyManager::new(&sim, faults);
            let pool = KeyedPool::builder(manager)
                .total(3)
                .check_after(SECOND / 20)
                .name("hosts")
                .build_with(sim.clone())
                .unwrap();
            let callers: Vec<u64> = (0..20)
                .map(|caller| {
                    let (pool, sim2) = (pool.clone(), sim.clone());
                    sim.start(async move {
                        let pause = sim2.millis(300);
                        sim2.sleep(pause).await;
                        let lease = pool.get_within(&(caller % 3), SECOND).await;
                        sim2.sleep(SECOND / 50).await;
                        match (lease, caller % 5) {
                            (Ok(lease), 0) => lease.discard(),
                            (Ok(lease), 1) => drop(lease.detach()),
                            (lease, _) => drop(lease),
                        }
                    })
                })
                .collect();
            for _ in 0..15 {
                sim.run_for(SECOND / 20);
                sim.abort(callers[sim.below(20) as usize]);
                sim.abort_any();
            }
            sim.run_for(10 * SECOND);
            let stats = pool.stats();
            let open = (stats.in_use + stats.available + stats.checking) as f64;
            assert_eq!(book.gauge("pool_resources[hosts]"), open, "seed {seed}");
            let in_use = book.gauge("pool_resources_in_use[hosts]");
            assert_eq!(in_use, stats.in_use as f64, "seed {seed}");
            let waiting = book.gauge("pool_callers_waiting[hosts]");
            assert_eq!(waiting, stats.waiting as f64, "seed {seed}");
        });
    }
}
