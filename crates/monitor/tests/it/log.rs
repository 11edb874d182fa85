//! What is found becomes events.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainspring_monitor::{AlertRule, Alerts, Pressure, Registry, Watch};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Keeps level, target and fields of every event.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0 += &format!(" {}={value:?}", field.name());
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(format!(
            "{} {}",
            event.metadata().level(),
            event.metadata().target()
        ));
        event.record(&mut line);
        self.0.lock().expect("not poisoned").push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn alerts_and_their_end_are_logged() {
    let log = Log::default();
    tracing::subscriber::with_default(log.clone(), || {
        let mut alerts = Alerts::new().rule(AlertRule::above("slow", 2.0).hold(1));
        for value in [3.0, 1.0] {
            alerts.observe("slow", value, Duration::ZERO);
        }
    });
    let lines = log.0.lock().expect("not poisoned").clone();
    assert_eq!(
        lines,
        [
            "WARN mainspring_monitor message=alert firing name=\"slow\" value=3.0 limit=2.0",
            "INFO mainspring_monitor message=alert resolved name=\"slow\" value=1.0 limit=2.0",
        ]
    );
}

#[test]
#[cfg(target_os = "linux")]
fn leaks_and_reliefs_are_logged() {
    let log = Log::default();
    tracing::subscriber::with_default(log.clone(), || {
        let registry = Registry::new();
        let held = std::sync::atomic::AtomicU64::new(0);
        let grow = move || held.fetch_add(50 << 20, std::sync::atomic::Ordering::Relaxed);
        let pressure = Pressure::new(&registry).stage("trim", 1, || 7);
        let mut watch = Watch::new(&registry)
            .expect("Linux")
            .owner("index", grow)
            .pressure(pressure);
        for _ in 0..10 {
            watch.look().expect("Linux");
        }
    });
    let lines = log.0.lock().expect("not poisoned").join("\n");
    assert!(
        lines.contains("message=memory pressure relieved stage=\"trim\" freed_bytes=7"),
        "{lines}"
    );
    assert!(
        lines.contains(
            "WARN mainspring_monitor message=leak suspected owner=\"index\" rule=MeanGrowth"
        ),
        "{lines}"
    );
}
