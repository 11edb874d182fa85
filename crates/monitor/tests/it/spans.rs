//! Spans as metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mainspring_monitor::{Clock, Registry, SpanMetrics, Value};
use tracing::{error, info_span, subscriber::with_default, warn};
use tracing_subscriber::layer::SubscriberExt;

#[test]
fn spans_leave_durations_and_errors_and_only_chosen_fields_become_labels() {
    let seconds = Arc::new(AtomicU64::new(0));
    let now = Arc::clone(&seconds);
    let clock = Clock::from_fn(move || Duration::from_secs(now.load(Ordering::Relaxed)));
    let registry = Registry::builder().clock(clock).build();
    let layer = SpanMetrics::new(&registry).label("tool").label("late");
    let wait = |n| seconds.fetch_add(n, Ordering::Relaxed);
    with_default(tracing_subscriber::registry().with(layer), || {
        error!("outside of any span");
        let outer = info_span!("turn", session = "not a label").entered();
        for (tool, fails) in [("grep", true), ("grep", false), ("read", false)] {
            let call = info_span!("call", tool, late = tracing::field::Empty, number = 3).entered();
            wait(2);
            warn!("not an error");
            call.record("late", 7);
            if fails {
                error!("once");
                error!("and once more in the same span");
            }
        }
        wait(1);
        drop(outer);
    });
    let snapshot = registry.snapshot();
    let labels = |tool| [("late", "7"), ("tool", tool)];
    let errors = |tool| snapshot.get("call_errors", &labels(tool));
    assert_eq!(errors("grep"), Some(&Value::Count(1)));
    assert_eq!(errors("read"), Some(&Value::Count(0)));
    let Some(Value::Distribution(calls)) = snapshot.get("call_duration_seconds", &labels("grep"))
    else {
        panic!("no durations")
    };
    assert_eq!((calls.count(), calls.sum()), (2, 4.0));
    let Some(Value::Distribution(turns)) = snapshot.get("turn_duration_seconds", &[]) else {
        panic!("no durations")
    };
    assert_eq!((turns.count(), turns.max()), (1, 7.0));
    // An error belongs to the span it happened in and not to those around it.
    assert_eq!(snapshot.get("turn_errors", &[]), Some(&Value::Count(0)));
    assert_eq!(snapshot.families.len(), 4);
}

#[test]
fn many_labels_of_a_span_end_in_the_overflow_series() {
    let registry = Registry::builder().series_cap(10).build();
    let layer = SpanMetrics::new(&registry).label("id");
    with_default(tracing_subscriber::registry().with(layer), || {
        (0..6_000).for_each(|id| drop(info_span!("job", id).entered()));
    });
    let snapshot = registry.snapshot();
    let overflow = snapshot.get("job_duration_seconds", &[("overflow", "true")]);
    let Some(Value::Distribution(values)) = overflow else {
        panic!("no overflow series")
    };
    assert_eq!(values.count(), 5_990);
}

#[test]
fn a_removed_series_begins_again_at_zero() {
    let registry = Registry::new();
    let layer = SpanMetrics::new(&registry);
    with_default(tracing_subscriber::registry().with(layer), || {
        let fail = || {
            let _job = info_span!("job").entered();
            error!("failed");
        };
        fail();
        fail();
        assert!(registry.remove("job_errors", &[]));
        fail();
    });
    let snapshot = registry.snapshot();
    assert_eq!(snapshot.get("job_errors", &[]), Some(&Value::Count(1)));
}

/// Says something whenever it is looked at, as types that log in `Debug` do.
struct Talks;

impl std::fmt::Debug for Talks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        error!("looked at");
        f.write_str("talks")
    }
}

#[test]
fn a_value_that_logs_while_it_is_recorded_stops_nobody() {
    let registry = Registry::new();
    let layer = SpanMetrics::new(&registry).label("who");
    with_default(tracing_subscriber::registry().with(layer), || {
        let job = info_span!("job", who = tracing::field::Empty).entered();
        job.record("who", tracing::field::debug(Talks));
    });
    let snapshot = registry.snapshot();
    assert_eq!(
        snapshot.get("job_errors", &[("who", "talks")]),
        Some(&Value::Count(1))
    );
}

#[test]
fn a_long_value_is_cut_before_it_is_kept() {
    let registry = Registry::new();
    let layer = SpanMetrics::new(&registry).label("text").label("list");
    let text = format!("{}é{}", "x".repeat(1_023), "y".repeat(1 << 20));
    with_default(tracing_subscriber::registry().with(layer), || {
        drop(info_span!("job", text, list = ?vec![7; 1 << 16]).entered());
    });
    let snapshot = registry.snapshot();
    let family = snapshot
        .families
        .iter()
        .find(|all| all.name == "job_errors");
    let labels = &family.expect("a span").series[0].labels;
    assert_eq!(labels[1], ("text".to_owned(), "x".repeat(1_023)));
    assert_eq!(labels[0].1.len(), 1_024);
    assert!(labels[0].1.starts_with("[7, 7, "), "{}", labels[0].1);
}

#[test]
#[cfg(feature = "tokio")]
fn a_span_takes_the_labels_of_its_task() {
    use mainspring_monitor::TaskLabels;
    let registry = Registry::new();
    let layer = SpanMetrics::new(&registry).label("agent").task_labels();
    let subscriber = tracing_subscriber::registry().with(layer);
    let _default = tracing::subscriber::set_default(subscriber);
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(async {
        let task = TaskLabels::new(&[("agent", "planner"), ("session", "s1")]);
        task.scope(async {
            drop(info_span!("step").entered());
            drop(info_span!("step", agent = "own").entered());
        })
        .await;
        drop(info_span!("step").entered());
    });
    let snapshot = registry.snapshot();
    let family = snapshot
        .families
        .iter()
        .find(|family| family.name == "step_errors");
    let labels = family.expect("spans").series.iter();
    let pair = |n: &str, v: &str| (n.to_owned(), v.to_owned());
    assert_eq!(
        labels
            .map(|series| series.labels.clone())
            .collect::<Vec<_>>(),
        [
            vec![pair("agent", "planner"), pair("session", "s1")],
            vec![pair("agent", "own"), pair("session", "s1")],
            vec![],
        ]
    );
}
