//! What the features `metrics` and `tracing` tell.

use mainspring_delta_snapshot::CommitOptions;

use crate::basics::memory;

/// A commit, a restore, a prune, a collection and two calls that fail.
fn session() -> (u64, u64) {
    let snapshots = memory();
    let thread = snapshots.thread("t").expect("thread");
    thread.set("", "[1]").expect("set");
    let first = thread.commit(CommitOptions::new()).expect("commit");
    let id = thread.commit_full(b"[1,2]", CommitOptions::new());
    let restored = snapshots.restore(id.expect("commit")).expect("restore");
    let written = snapshots.stats().expect("stats").total;
    thread.prune(|_| false).expect("prune");
    snapshots.gc().expect("gc");
    assert!(snapshots.restore(first).is_err());
    let taken = CommitOptions::new().expect_parent(None);
    assert!(thread.commit(taken).is_err());
    (written, restored.len() as u64)
}

#[cfg(feature = "metrics")]
mod metered {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use metrics::{
        Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
        SharedString, Unit,
    };

    use super::*;

    type Sums = Arc<Mutex<BTreeMap<String, f64>>>;

    #[derive(Default)]
    struct Recording(Sums);

    struct Sum(String, Sums);

    impl Sum {
        fn add(&self, n: f64) {
            *self
                .1
                .lock()
                .expect("lock")
                .entry(self.0.clone())
                .or_default() += n;
        }
    }

    impl CounterFn for Sum {
        fn increment(&self, n: u64) {
            self.add(n as f64);
        }
        fn absolute(&self, _: u64) {}
    }

    impl HistogramFn for Sum {
        fn record(&self, value: f64) {
            assert!((0.0..60.0).contains(&value), "{value} seconds");
            self.add(1.0);
        }
    }

    impl Recording {
        fn sum(&self, key: &Key) -> Arc<Sum> {
            let call = key.labels().next().map_or("", |label| label.value());
            Arc::new(Sum(format!("{} {call}", key.name()), self.0.clone()))
        }
    }

    impl Recorder for Recording {
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

    #[test]
    fn calls_bytes_and_failures_are_counted() {
        let recording = Recording::default();
        let (written, restored) = metrics::with_local_recorder(&recording, session);
        let sums = recording.0.lock().expect("lock");
        let sum = |name: &str| sums.get(name).copied().unwrap_or_default();
        assert_eq!(sum("delta_snapshot_call_seconds commit"), 3.0);
        assert_eq!(sum("delta_snapshot_call_seconds restore"), 2.0);
        assert_eq!(sum("delta_snapshot_call_seconds prune"), 1.0);
        assert_eq!(sum("delta_snapshot_call_seconds gc"), 1.0);
        assert_eq!(sum("delta_snapshot_failures_total commit"), 1.0);
        assert_eq!(sum("delta_snapshot_failures_total restore"), 1.0);
        assert_eq!(sum("delta_snapshot_written_bytes_total "), written as f64);
        assert_eq!(sum("delta_snapshot_restored_bytes_total "), restored as f64);
        assert_eq!(sum("delta_snapshot_pruned_versions_total "), 1.0);
    }
}

#[cfg(feature = "tracing")]
mod traced {
    use std::fmt::Debug;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Mutex};

    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    use super::*;

    #[derive(Clone, Default)]
    struct Written {
        lines: Arc<Mutex<Vec<String>>>,
        spans: Arc<AtomicU64>,
    }

    struct Line(String);

    impl Visit for Line {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            self.0 += &format!("{}={value:?} ", field.name());
        }
    }

    impl Subscriber for Written {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target().starts_with("mainspring_delta_snapshot")
        }
        fn new_span(&self, attributes: &Attributes<'_>) -> Id {
            let mut line = Line("span ".into());
            attributes.record(&mut line);
            self.lines.lock().expect("lock").push(line.0);
            Id::from_u64(1 + self.spans.fetch_add(1, Ordering::Relaxed))
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, event: &Event<'_>) {
            let mut line = Line("event ".into());
            event.record(&mut line);
            self.lines.lock().expect("lock").push(line.0);
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn each_call_is_a_span_and_a_failure_says_why() {
        let written = Written::default();
        tracing::subscriber::with_default(written.clone(), session);
        let lines = written.lines.lock().expect("lock");
        let spans = |call: &str| {
            let span = format!("span call={call:?} ");
            lines.iter().filter(|line| **line == span).count()
        };
        assert_eq!((spans("commit"), spans("restore")), (3, 2));
        assert_eq!((spans("prune"), spans("gc")), (1, 1));
        let conflict = |line: &String| line.starts_with("event") && line.contains("the head is");
        assert_eq!(lines.iter().filter(|line| conflict(line)).count(), 1);
    }
}
