//! What a pool with a name tells a subscriber of `tracing`.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use mainspring_pool::{BufferPool, ObjectPool, Pressure, ResourcePool};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::faults::{Faults, FaultyManager, SECOND};
use crate::sim::Sim;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?};"),
            name => write!(self.0, "{name}={value:?};"),
        };
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
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(format!("{} ", event.metadata().level()));
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }
}

fn run(name: Option<&str>) -> Vec<String> {
    let log = Log::default();
    tracing::subscriber::with_default(log.clone(), || {
        let sim = Sim::fifo();
        let manager = FaultyManager::new(&sim, Faults::default());
        let mut builder = ResourcePool::builder(manager.clone()).min(0).seed(1);
        if let Some(name) = name {
            builder = builder.name(name);
        }
        let pool = builder.build_with(sim.clone()).unwrap();
        for _ in 0..2 {
            let user = pool.clone();
            sim.block_on(async move { drop(user.get().await.unwrap()) });
        }
        pool.trim(Pressure::Critical);
        manager
            .down
            .store(true, std::sync::atomic::Ordering::Relaxed);
        let user = pool.clone();
        sim.block_on(async move { drop(user.get().within(SECOND / 20).await) });
    });
    let lines = log.0.lock().unwrap();
    lines.clone()
}

#[test]
fn events_carry_the_pool_and_what_happened() {
    let lines = run(Some("db"));
    let expected = [
        ("DEBUG", "resource created;"),
        ("TRACE", "resource acquired;"),
        ("TRACE", "resource released;"),
        ("TRACE", "resource acquired;"),
        ("TRACE", "resource released;"),
        ("DEBUG", "reason=Trimmed;"),
        ("WARN", "error=refused;"),
        ("WARN", "a checkout timed out;"),
    ];
    let found: Vec<&String> = lines
        .iter()
        .filter(|line| line.contains("pool=\"db\";"))
        .collect();
    assert_eq!(found.len(), expected.len(), "{lines:#?}");
    for (line, (level, what)) in found.iter().zip(expected) {
        assert!(line.starts_with(level) && line.contains(what), "{line}");
    }
    assert!(found[3].contains("reused=true;"), "{}", found[3]);
}

#[test]
fn a_pool_without_a_name_says_nothing() {
    assert!(run(None).is_empty());
}

#[test]
fn buffers_and_objects_say_what_is_rare() {
    let log = Log::default();
    let run = |named: bool| {
        let (mut buffers, mut objects) = (
            BufferPool::builder(),
            ObjectPool::builder(String::new).initial(1),
        );
        if named {
            (buffers, objects) = (buffers.name("net"), objects.name("texts"));
        }
        let buffers = buffers.build();
        drop(buffers.get(1));
        drop(buffers.get(100_000));
        drop(buffers.get(1));
        buffers.trim(Pressure::Critical);
        let objects = objects.build();
        drop(objects.get());
        objects.trim(Pressure::Critical);
    };
    tracing::subscriber::with_default(log.clone(), || run(true));
    let lines = log.0.lock().unwrap().clone();
    let expected = [
        "TRACE buffer allocated;pool=\"net\";bytes=1024;kept=true;",
        "TRACE buffer allocated;pool=\"net\";bytes=100000;kept=false;",
        "DEBUG idle buffers taken out;pool=\"net\";by=\"trim\";items=1;bytes=1024;",
        "TRACE object made;pool=\"texts\";",
        "DEBUG objects discarded;pool=\"texts\";count=1;why=\"trimmed\";",
    ];
    let ours: Vec<&String> = lines.iter().filter(|line| line.contains("pool=")).collect();
    assert_eq!(ours, expected);
    tracing::subscriber::with_default(log.clone(), || run(false));
    assert_eq!(log.0.lock().unwrap().len(), lines.len());
}
