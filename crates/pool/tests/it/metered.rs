//! What a pool with a name tells a recorder of metrics.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use mainspring_pool::{BufferPool, KeyedPool, ObjectPool, Pressure, ResourcePool};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit, with_local_recorder,
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

/// Every instrument panics at every use.
#[derive(Clone, Copy)]
struct Angry;

fn panic() -> ! {
    resume_unwind(Box::new("planned"))
}

impl CounterFn for Angry {
    fn increment(&self, _: u64) {
        panic();
    }

    fn absolute(&self, _: u64) {
        panic();
    }
}

impl GaugeFn for Angry {
    fn increment(&self, _: f64) {
        panic();
    }

    fn decrement(&self, _: f64) {
        panic();
    }

    fn set(&self, _: f64) {
        panic();
    }
}

impl HistogramFn for Angry {
    fn record(&self, _: f64) {
        panic();
    }
}

impl Recorder for Angry {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        if key.name() == "pool_resources_discarded_total" {
            panic();
        }
        Counter::from_arc(Arc::new(Self))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Arc::new(Self))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Self))
    }
}

#[test]
fn a_recorder_that_panics_costs_no_place() {
    with_local_recorder(&Angry, || {
        let sim = Sim::fifo();
        let manager = FaultyManager::new(&sim, Faults::default());
        let ledger = Arc::clone(&manager.ledger);
        let builder = ResourcePool::builder(manager).min(0).max(1).max_waiters(1);
        let builder = builder.check_after(SECOND).idle_timeout(100 * SECOND);
        let pool = builder.name("db").build_with(sim.clone()).unwrap();
        let holder = pool.clone();
        let lease = sim.block_on(async move { holder.get_owned().await.unwrap() });
        let served = Arc::new(AtomicU64::new(0));
        let (user, count) = (pool.clone(), Arc::clone(&served));
        sim.start(async move {
            drop(user.get().await.unwrap());
            count.fetch_add(1, Ordering::Relaxed);
        });
        sim.settle();
        // One too many, and one that leaves.
        let user = pool.clone();
        assert!(sim.block_on(async move { user.get_owned().await.is_err() }));
        drop(lease);
        sim.run_for(SECOND / 2);
        assert_eq!(served.load(Ordering::Relaxed), 1, "{:?}", pool.stats());
        // Idle for so long that it is checked first.
        sim.run_for(3 * SECOND);
        let user = pool.clone();
        sim.block_on(async move { drop(user.get().await.unwrap()) });
        assert!(ledger.checks() > 0);
        pool.trim(Pressure::Critical);
        let stats = pool.stats();
        assert_eq!((stats.total, stats.in_use, stats.waiting), (0, 0, 0));
    });
}

/// An instrument that panics does not keep the others from being used.
#[test]
fn a_counter_that_panics_leaves_the_gauges_alone() {
    struct Half(Book);

    impl Recorder for Half {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(Arc::new(Angry))
        }

        fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
            self.0.register_gauge(key, metadata)
        }

        fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
            self.0.register_histogram(key, metadata)
        }
    }

    let half = Half(Book::default());
    with_local_recorder(&half, || {
        let sim = Sim::fifo();
        let manager = FaultyManager::new(&sim, Faults::default());
        let builder = ResourcePool::builder(manager).min(0).name("db");
        let pool = builder.build_with(sim.clone()).unwrap();
        let user = pool.clone();
        let lease = sim.block_on(async move { user.get_owned().await.unwrap() });
        assert_eq!(half.0.gauge("pool_resources[db]"), 1.0);
        assert_eq!(half.0.gauge("pool_resources_in_use[db]"), 1.0);
        drop(lease);
        assert_eq!(half.0.gauge("pool_resources_in_use[db]"), 0.0);
    });
}

#[test]
fn a_retain_that_panics_leaves_the_gauges_alone() {
    let book = Book::default();
    with_local_recorder(&book, || {
        let sim = Sim::fifo();
        let manager = FaultyManager::new(&sim, Faults::default());
        let builder = ResourcePool::builder(manager).min(2).name("db");
        let pool = builder.build_with(sim.clone()).unwrap();
        sim.run_for(SECOND);
        let gauges = || {
            let gauge = |name: &str| book.gauge(&format!("{name}[db]"));
            (gauge("pool_resources"), gauge("pool_resources_in_use"))
        };
        assert_eq!(gauges(), (2.0, 0.0));
        let panicked = catch_unwind(AssertUnwindSafe(|| pool.retain(|_, _| panic())));
        assert!(panicked.is_err());
        let stats = pool.stats();
        assert_eq!((stats.in_use, stats.available), (0, 1));
        assert_eq!(gauges(), (1.0, 0.0));
        assert_eq!(book.counter("pool_returns_total[db]"), 0);
        sim.run_for(SECOND);
        assert_eq!(gauges(), (2.0, 0.0));
    });
}

#[test]
fn figures_of_buffers_follow_the_pool() {
    let book = Book::default();
    with_local_recorder(&book, || {
        let pool = BufferPool::builder().budget(1 << 20).name("net").build();
        let held: Vec<_> = (0..3).map(|_| pool.get_with_tag(3_000, "reader")).collect();
        drop(pool.get(100));
        drop(pool.get(1 << 20));
        drop(held);
        let stats = pool.stats();
        let count = |name: &str, more: &str| book.counter(&format!("pool_buffer{name}[net{more}]"));
        for class in stats.classes {
            let label = format!(",{}", class.capacity);
            assert_eq!(count("_checkouts_total", &label), class.acquired);
            assert_eq!(count("s_allocated_total", &label), class.allocated);
            let total = format!("pool_buffers[net{label}]");
            assert_eq!(book.gauge(&total), class.total as f64);
        }
        assert_eq!(count("s_allocated_total", ",4096"), 3);
        for (size, wanted) in [(128, 1), (4_096, 3), (1 << 20, 1), (1_024, 0)] {
            assert_eq!(count("_requests_total", &format!(",{size}")), wanted);
        }
        assert_eq!(count("_tagged_checkouts_total", ",reader"), 3);
        assert_eq!(count("_tagged_bytes_total", ",reader"), 9_000);
        assert_eq!(count("_direct_allocations_total", ""), 1);
        assert_eq!(book.gauge("pool_buffer_bytes[net]"), stats.bytes as f64);
        assert_eq!(book.gauge("pool_buffer_budget_bytes[net]"), 1_048_576.0);
        pool.trim(Pressure::Critical);
        assert_eq!(book.gauge("pool_buffer_bytes[net]"), 0.0);
        assert_eq!(count("s_reclaimed_total", ""), 4);
        pool.reclaim_full();
        assert_eq!(count("_passes_total", ",full"), 1);
    });
}

/// Nobody asks for anything: the figures follow all the same.
#[test]
fn figures_of_buffers_follow_by_themselves() {
    let book = Book::default();
    with_local_recorder(&book, || {
        let count = |name: &str| book.counter(&format!("pool_buffer{name}[net,65536]"));
        let pool = BufferPool::builder().name("net").build();
        for _ in 0..1_024 {
            drop(pool.get(64 << 10));
        }
        assert_eq!(
            (count("s_allocated_total"), count("_checkouts_total")),
            (1, 1_024)
        );
        // More than a thread keeps, so that some go through the shared list each time.
        let mut held = Vec::new();
        for _ in 0..100 {
            held.clear();
            held.extend((0..20).map(|_| pool.get(64 << 10)));
        }
        assert_eq!(count("s_allocated_total"), 20);
        drop(held);
        drop(pool);
        assert_eq!(book.gauge("pool_buffer_bytes[net]"), 0.0);
    });
}

#[test]
fn figures_of_objects_follow_the_pool() {
    let book = Book::default();
    with_local_recorder(&book, || {
        let builder = ObjectPool::builder(Vec::<u8>::new).initial(2).max(3);
        let builder = builder.max_weight(1_000, Vec::capacity).pass_after(20);
        let pool = builder.name("lists").build();
        let agree = || {
            let gauge = |name: &str| book.gauge(&format!("pool_objects_{name}[lists]"));
            let stats = pool.stats();
            let seen = (gauge("idle"), gauge("in_use"));
            assert_eq!(seen, (stats.idle as f64, stats.in_use as f64));
            let created = book.counter("pool_objects_created_total[lists]");
            let acquired = book.counter("pool_object_checkouts_total[lists]");
            assert_eq!((created, acquired), (stats.created, stats.acquired));
        };
        let discarded =
            |why: &str| book.counter(&format!("pool_objects_discarded_total[lists,{why}]"));
        agree();
        let held: Vec<_> = (0..5).map(|_| pool.get()).collect();
        agree();
        drop(held);
        agree();
        assert_eq!(discarded("surplus"), 2);
        pool.get().reserve(2_000);
        assert_eq!(discarded("unfit"), 1);
        drop(pool.get().detach());
        let object = pool.get_owned();
        let left = catch_unwind(AssertUnwindSafe(move || {
            let _object = object;
            panic();
        }));
        assert!(left.is_err());
        assert_eq!(discarded("panicked"), 1);
        agree();
        for _ in 0..3 {
            let held: Vec<_> = (0..3).map(|_| pool.get()).collect();
            drop(held);
        }
        // The third one is not needed for two passes.
        for _ in 0..60 {
            drop(pool.get());
        }
        assert!(discarded("surplus") > 2);
        agree();
        pool.trim(Pressure::Critical);
        agree();
        assert_eq!(discarded("trimmed"), 2);
        drop(pool.get());
        agree();
        let idle = || book.gauge("pool_objects_idle[lists]");
        assert_eq!(idle(), 1.0);
    });
    // The last handle is gone.
    assert_eq!(book.gauge("pool_objects_idle[lists]"), 0.0);
}

#[test]
fn a_recorder_that_panics_costs_neither_buffers_nor_objects() {
    with_local_recorder(&Angry, || {
        let pool = BufferPool::builder().name("net").build();
        for _ in 0..200 {
            let held: Vec<_> = (0..20).map(|_| pool.get(64 << 10)).collect();
            drop(held);
        }
        pool.trim(Pressure::Critical);
        assert_eq!(pool.stats().bytes, 0);
        let pool = ObjectPool::builder(String::new)
            .initial(1)
            .name("s")
            .build();
        drop((pool.get(), pool.get()));
        assert_eq!((pool.stats().idle, pool.stats().in_use), (2, 0));
    });
}
