//! Threads: none of their updates is lost, and their memory serves the next ones.

use std::sync::atomic::{AtomicBool, Ordering};

use mainspring_monitor::{Registry, slab_stats};

use crate::alone::in_own_process;

#[test]
fn tens_of_thousands_of_short_threads_lose_nothing_and_use_memory_again() {
    const THREADS: u64 = 20_000;
    let registry = Registry::new();
    let (counter, histogram) = (registry.counter("c", &[]), registry.histogram("h", &[]));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut last, mut scrapes) = (0, 0);
            while !stop.load(Ordering::Relaxed) {
                let now = counter.value();
                assert!(now >= last, "{now} after {last}");
                (last, scrapes) = (now, scrapes + 1);
                std::thread::yield_now();
            }
            scrapes
        });
        for batch in 0..THREADS / 50 {
            std::thread::scope(|threads| {
                for thread in 0..50 {
                    let (counter, histogram) = (&counter, &histogram);
                    threads.spawn(move || {
                        counter.add(3);
                        histogram.record(batch * 50 + thread);
                    });
                }
            });
        }
        stop.store(true, Ordering::Relaxed);
        assert!(reader.join().expect("scraped totals only grew") > 0);
    });
    let values = histogram.snapshot();
    assert_eq!((counter.value(), values.count()), (THREADS * 3, THREADS));
    assert_eq!((values.min(), values.max()), (0.0, THREADS as f64 - 1.0));
    // Far below 20,000 × 8 KiB, with other tests running meanwhile; and what is held is held once.
    assert!(slab_stats().bytes < 32 << 20, "{:?}", slab_stats());
    assert!(slab_stats().free_bytes <= slab_stats().bytes);
}

#[test]
fn handles_used_while_a_thread_ends_still_count() {
    use std::cell::RefCell;
    struct Late(mainspring_monitor::Counter, mainspring_monitor::Histogram);
    impl Drop for Late {
        fn drop(&mut self) {
            self.0.add(1);
            self.1.record(7);
        }
    }
    thread_local! {
        static BEFORE: RefCell<Option<Late>> = const { RefCell::new(None) };
        static AFTER: RefCell<Option<Late>> = const { RefCell::new(None) };
    }
    let registry = Registry::new();
    let (counter, histogram) = (registry.counter("c", &[]), registry.histogram("h", &[]));
    // Destructors run in an order that nobody promises: one is registered on either side.
    let (ours, theirs) = (
        (counter.clone(), histogram.clone()),
        (counter.clone(), histogram.clone()),
    );
    let thread = std::thread::spawn(move || {
        BEFORE.set(Some(Late(ours.0.clone(), ours.1.clone())));
        ours.0.add(1);
        ours.1.record(1);
        AFTER.set(Some(Late(theirs.0, theirs.1)));
    });
    // Joining the thread waits for its destructors, which a scope does not.
    thread.join().expect("ended");
    assert_eq!((counter.value(), histogram.snapshot().count()), (3, 3));
    assert_eq!(histogram.snapshot().sum(), 15.0);
}

/// In a process of its own, because the limit is the process's.
#[test]
fn above_the_slab_limit_threads_share_and_lose_nothing() {
    if !in_own_process("threads::above_the_slab_limit_threads_share_and_lose_nothing") {
        return;
    }
    // Room for four of the sixteen pairs of cells, then for nothing.
    mainspring_monitor::set_slab_limit(8 * 4096);
    let registry = Registry::new();
    let (counter, histogram) = (registry.counter("c", &[]), registry.histogram("h", &[]));
    let start = std::sync::Barrier::new(16);
    std::thread::scope(|scope| {
        for thread in 0..16u64 {
            let (counter, histogram, start) = (&counter, &histogram, &start);
            scope.spawn(move || {
                start.wait();
                for value in 0..5_000 {
                    counter.add(2);
                    histogram.record(thread * 5_000 + value);
                    // Sums that carry, shared and not.
                    histogram.record(u64::MAX);
                }
            });
        }
    });
    let values = histogram.snapshot();
    assert_eq!((counter.value(), values.count()), (160_000, 160_000));
    let small = (80_000u128 * 79_999) / 2;
    assert_eq!(values.sum(), (small + u128::from(u64::MAX) * 80_000) as f64);
    assert_eq!((values.min(), values.max()), (0.0, u64::MAX as f64));
    assert!(slab_stats().bytes <= 8 * 4096);
}

#[test]
fn more_histograms_than_the_near_table_holds_all_count() {
    let registry = Registry::new();
    let label = |at: u64| at.to_string();
    let all: Vec<_> = (0..700)
        .map(|at| registry.histogram("h", &[("at", &label(at))]))
        .collect();
    std::thread::scope(|scope| {
        scope.spawn(|| (0..700u64).for_each(|at| all[at as usize].record(at)));
    });
    (0..700u64).for_each(|at| all[at as usize].record(at));
    for (at, histogram) in all.iter().enumerate() {
        let values = histogram.snapshot();
        assert_eq!((values.count(), values.sum()), (2, 2.0 * at as f64));
    }
}

#[test]
fn more_counters_than_the_tables_hold_still_count() {
    // 255 pages of 512 and some more.
    let registry = Registry::builder().series_cap(140_000).build();
    let label = |at: u64| at.to_string();
    let all: Vec<_> = (0..132_000)
        .map(|at| registry.counter("c", &[("at", &label(at))]))
        .collect();
    std::thread::scope(|scope| {
        scope.spawn(|| all.iter().step_by(97).for_each(|counter| counter.add(3)));
    });
    all.iter().step_by(97).for_each(|counter| counter.add(4));
    all.iter()
        .rev()
        .step_by(1013)
        .for_each(|counter| counter.add(0));
    assert!(all.iter().step_by(97).all(|counter| counter.value() == 7));
    assert_eq!(all[1].value(), 0);
}

#[test]
fn everything_a_service_shares_can_be_shared() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Registry>();
    shared::<mainspring_monitor::Counter>();
    shared::<mainspring_monitor::Histogram>();
    shared::<mainspring_monitor::Timer>();
    shared::<mainspring_monitor::Timing<'static>>();
    shared::<mainspring_monitor::Operation>();
    shared::<mainspring_monitor::Scope<'static>>();
    fn moved<T: Send + 'static>() {}
    moved::<mainspring_monitor::Watch>();
    moved::<mainspring_monitor::Pressure>();
    moved::<mainspring_monitor::Alerts>();
}
