//! The `metrics` facade lands in the registry.

use mainspring_monitor::{Recorder, Registry, Value};
use metrics::{counter, gauge, histogram, with_local_recorder};

#[test]
fn macros_reach_the_registry_and_the_right_series() {
    let registry = Registry::new();
    let recorder = Recorder::new(&registry);
    with_local_recorder(&recorder, || {
        metrics::describe_counter!("hits", "Answers from the cache.");
        metrics::describe_histogram!("wait", metrics::Unit::Seconds, "…");
        for tier in ["l1", "l2", "l1"] {
            counter!("hits", "tier" => tier).increment(2);
        }
        counter!("absolute").absolute(10);
        counter!("absolute").absolute(7);
        gauge!("depth").set(4.0);
        gauge!("depth").increment(2.0);
        gauge!("depth").decrement(5);
        histogram!("wait").record(0.25);
        histogram!("answer_bytes").record(1e12);
        histogram!("ratio").record(0.5);
        histogram!("ratio").record(f64::NAN);
    });
    let snapshot = registry.snapshot();
    assert_eq!(
        snapshot.get("hits", &[("tier", "l1")]),
        Some(&Value::Count(4))
    );
    assert_eq!(snapshot.get("absolute", &[]), Some(&Value::Count(10)));
    assert_eq!(snapshot.get("depth", &[]), Some(&Value::Number(1.0)));
    for (name, value) in [("wait", 0.25), ("answer_bytes", 1e12), ("ratio", 0.5)] {
        let Some(Value::Distribution(values)) = snapshot.get(name, &[]) else {
            panic!("{name}")
        };
        assert_eq!(values.count(), 1);
        assert!(
            (values.sum() - value).abs() < value * 1e-9,
            "{name}: {}",
            values.sum()
        );
    }
    assert_eq!(snapshot.families[0].help, "Answers from the cache.");
}

#[test]
fn kept_handles_follow_a_removal() {
    let registry = Registry::new();
    let recorder = Recorder::new(&registry);
    let count = || {
        with_local_recorder(&recorder, || {
            counter!("a").increment(1);
            counter!("b").increment(1);
        });
    };
    count();
    assert!(registry.remove("a", &[]) && registry.remove("b", &[]));
    count();
    let snapshot = registry.snapshot();
    assert_eq!(
        [snapshot.get("a", &[]), snapshot.get("b", &[])],
        [Some(&Value::Count(1)); 2]
    );
}

#[test]
fn a_caller_who_puts_what_varies_into_names_meets_a_bound() {
    let registry = Registry::builder().family_cap(50).build();
    let recorder = Recorder::new(&registry);
    with_local_recorder(&recorder, || {
        for user in 0..20_000 {
            counter!(format!("user_{user}")).increment(1);
        }
    });
    assert_eq!(
        (registry.stats().families, registry.stats().refused),
        (50, 19_950)
    );
}

#[test]
fn a_unit_that_is_described_late_costs_no_series() {
    let registry = Registry::new();
    let recorder = Recorder::new(&registry);
    with_local_recorder(&recorder, || {
        histogram!("wait", "queue" => "a").record(0.25);
        metrics::describe_histogram!("wait", metrics::Unit::Seconds, "…");
        histogram!("wait", "queue" => "b").record(0.5);
    });
    for (queue, wanted) in [("a", 0.25), ("b", 0.5)] {
        let snapshot = registry.snapshot();
        let Some(Value::Distribution(values)) = snapshot.get("wait", &[("queue", queue)]) else {
            panic!("{queue}: {:?}", registry.problems())
        };
        assert!((values.sum() - wanted).abs() < 1e-9);
    }
    assert!(registry.problems().is_empty());
}
