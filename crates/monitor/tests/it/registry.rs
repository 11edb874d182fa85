//! The registry against a mutex-and-vector model, and its bounds.

use std::collections::HashMap;
use std::time::Duration;

use mainspring_monitor::{Clock, HistogramSnapshot, Registry, Value};
use proptest::prelude::*;

use crate::alone::in_own_process;

/// The plain thing: every value, kept.
#[derive(Default)]
struct Model(Vec<u64>);

impl Model {
    fn check(&self, values: &HistogramSnapshot) {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let sum: u128 = sorted.iter().map(|value| u128::from(*value)).sum();
        assert_eq!(values.count(), sorted.len() as u64);
        assert_eq!(values.sum(), sum as f64);
        let (Some(min), Some(max)) = (sorted.first(), sorted.last()) else {
            return;
        };
        assert_eq!((values.min(), values.max()), (*min as f64, *max as f64));
        for q in [0.0, 0.01, 0.5, 0.9, 0.95, 0.99, 1.0] {
            let rank = ((q * sorted.len() as f64).ceil() as usize).clamp(1, sorted.len());
            let exact = sorted[rank - 1] as f64;
            let error = (values.quantile(q) - exact).abs();
            assert!(
                error <= exact * 0.0625,
                "q {q}: {} for {exact}",
                values.quantile(q)
            );
        }
    }
}

fn any_value() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..20u64,
        any::<u64>(),
        (0..64u32).prop_map(|bit| 1 << bit),
        Just(u64::MAX)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn histograms_match_a_list_of_values(
        batches in prop::collection::vec(prop::collection::vec(any_value(), 0..40), 1..4),
        window in prop::collection::vec(any_value(), 0..40),
    ) {
        let registry = Registry::new();
        let histogram = registry.histogram("h", &[]);
        let mut model = Model::default();
        // Each batch from a thread of its own, which ends: folding is part of what is tested.
        for batch in &batches {
            std::thread::scope(|scope| {
                scope.spawn(|| batch.iter().for_each(|value| histogram.record(*value)));
            });
            model.0.extend(batch);
            model.check(&histogram.snapshot());
        }
        let before = histogram.snapshot();
        window.iter().for_each(|value| histogram.record(*value));
        let since = histogram.snapshot().since(&before);
        prop_assert_eq!(since.count(), window.len() as u64);
        let mut merged = before.clone();
        merged.merge(&since);
        prop_assert_eq!(merged.count(), histogram.snapshot().count());
        prop_assert_eq!(merged.sum(), histogram.snapshot().sum());
    }

    #[test]
    fn counters_match_a_map(steps in prop::collection::vec((0..6usize, 0..4usize, any::<u64>()), 0..60)) {
        let registry = Registry::new();
        let mut model: HashMap<(usize, usize), u64> = HashMap::new();
        for (name, label, n) in steps {
            let value = label.to_string();
            let counter = registry.counter(&format!("c{name}"), &[("l", &value)]);
            std::thread::scope(|scope| { scope.spawn(|| counter.add(n)); });
            counter.add(1);
            let total = model.entry((name, label)).or_default();
            *total = total.wrapping_add(n).wrapping_add(1);
            prop_assert_eq!(counter.value(), *total);
        }
        let snapshot = registry.snapshot();
        for ((name, label), total) in model {
            let value = snapshot.get(&format!("c{name}"), &[("l", &label.to_string())]);
            prop_assert_eq!(value, Some(&Value::Count(total)));
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn metrics_245_unbounded_samples_memory_is_flat_over_a_hundred_million_records() {
    const RECORDS: u64 = 100_000_000;
    if !in_own_process(
        "registry::metrics_245_unbounded_samples_memory_is_flat_over_a_hundred_million_records",
    ) {
        return;
    }
    let histogram = Registry::new().histogram("h", &[]);
    histogram.record(0);
    let mut probe = mainspring_monitor::ProcessProbe::open().expect("Linux");
    let before = probe.memory().expect("Linux").rss_anon_bytes;
    std::thread::scope(|scope| {
        for half in 0..2 {
            let histogram = &histogram;
            scope.spawn(move || {
                (1..=RECORDS / 2).for_each(|value| histogram.record(2 * value - half))
            });
        }
    });
    let after = probe.memory().expect("Linux").rss_anon_bytes;
    let values = histogram.snapshot();
    assert_eq!(
        (values.count(), values.max()),
        (RECORDS + 1, RECORDS as f64)
    );
    assert_eq!(values.sum(), (RECORDS as f64 / 2.0) * (RECORDS + 1) as f64);
    assert!(values.buckets().count() <= 496);
    assert!(after < before + (1 << 20), "{before} then {after}");
}

#[test]
fn metrics_328_an_eleven_million_line_scrape_series_are_capped() {
    let registry = Registry::builder().series_cap(100).build();
    for user in 0..5_000 {
        registry
            .counter("logins", &[("user", &user.to_string())])
            .increment();
    }
    let snapshot = registry.snapshot();
    assert_eq!(
        snapshot.get("logins", &[("overflow", "true")]),
        Some(&Value::Count(4_900))
    );
    let swallowed = snapshot.get("monitor_series_overflow", &[("family", "logins")]);
    assert_eq!(swallowed, Some(&Value::Count(4_900)));
    assert_eq!(registry.stats().overflowed, 4_900);
    assert!(registry.stats().series <= 102);
}

#[test]
fn families_are_capped_too() {
    let registry = Registry::builder().family_cap(10).build();
    for name in 0..1_000 {
        registry.gauge(&format!("g{name}"), &[]).set(1.0);
        registry.describe(&format!("later{name}"), "…");
    }
    assert_eq!(
        (registry.stats().families, registry.stats().refused),
        (10, 990)
    );
    assert_eq!(registry.problems().len(), 32);
}

#[test]
fn a_removed_series_starts_again_at_zero_and_its_old_handle_is_harmless() {
    let registry = Registry::new();
    let old = registry.counter("c_total", &[("a", "1")]);
    old.add(5);
    assert!(registry.remove("c_total", &[("a", "1")]));
    assert!(!registry.remove("c_total", &[("a", "1")]));
    let new = registry.counter("c", &[("a", "1")]);
    old.add(7);
    assert_eq!((old.value(), new.value()), (12, 0));
    assert_eq!(
        registry.snapshot().get("c", &[("a", "1")]),
        Some(&Value::Count(0))
    );
}

#[test]
fn cells_are_empty_when_they_are_used_again() {
    for round in 0..50 {
        let registry = Registry::new();
        let (counter, histogram) = (registry.counter("c", &[]), registry.histogram("h", &[]));
        assert_eq!(
            (counter.value(), histogram.snapshot().count()),
            (0, 0),
            "round {round}"
        );
        counter.add(round + 1);
        histogram.record(u64::MAX);
        std::thread::scope(|scope| {
            scope.spawn(|| (counter.add(1), histogram.record(u64::MAX)));
        });
        assert_eq!(
            (counter.value(), histogram.snapshot().count()),
            (round + 2, 2)
        );
        assert_eq!(histogram.snapshot().sum(), u64::MAX as f64 * 2.0);
    }
}

#[test]
fn timers_ask_the_injected_clock_and_export_seconds() {
    let clock = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let ticks = clock.clone();
    let now = move || Duration::from_millis(ticks.load(std::sync::atomic::Ordering::Relaxed));
    let registry = Registry::builder().clock(Clock::from_fn(now)).build();
    let timer = registry.timer("load", &[]);
    let timing = timer.start();
    clock.store(250, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(timing.stop(), Duration::from_millis(250));
    timer.start().discard();
    timer.time(|| clock.store(500, std::sync::atomic::Ordering::Relaxed));
    let values = registry.snapshot();
    let Some(Value::Distribution(values)) = values.get("load_seconds", &[]) else {
        panic!("a histogram")
    };
    assert_eq!((values.count(), values.sum(), values.max()), (2, 0.5, 0.25));
}

#[test]
fn the_order_of_labels_does_not_matter_and_empty_ones_do_not_count() {
    let registry = Registry::new();
    registry
        .counter("c", &[("b", "2"), ("a", "1"), ("none", "")])
        .add(1);
    registry.counter("c", &[("a", "1"), ("b", "2")]).add(1);
    assert_eq!(
        registry.snapshot().get("c", &[("b", "2"), ("a", "1")]),
        Some(&Value::Count(2))
    );
}

#[test]
fn hooks_run_before_every_scrape() {
    let registry = Registry::new();
    let gauge = registry.gauge("asked", &[]);
    registry.before_scrape(move || gauge.add(1.0));
    let _first = registry.snapshot();
    assert!(
        registry
            .render(mainspring_monitor::Format::Text)
            .contains("asked 2.0\n")
    );
}

#[test]
fn the_family_that_counts_overflow_has_a_cap_of_its_own() {
    let registry = Registry::builder().series_cap(3).family_cap(5).build();
    for user in 0..1_000 {
        let user = user.to_string();
        registry
            .counter("monitor_series_overflow", &[("user", &user)])
            .increment();
    }
    assert!(registry.stats().series <= 10, "{:?}", registry.stats());
    for user in 0..10 {
        registry
            .counter("other", &[("user", &user.to_string())])
            .increment();
    }
    let total = registry.counter("other", &[("overflow", "true")]).value();
    assert_eq!(total, 7);
}
