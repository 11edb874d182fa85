//! Operations and start-up phases.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mainspring_monitor::{Clock, Operation, Phases, Registry, Value};

fn registry() -> (Registry, Arc<AtomicU64>) {
    let clock = Arc::new(AtomicU64::new(0));
    let ticks = Arc::clone(&clock);
    let now = move || Duration::from_secs(ticks.load(Ordering::Relaxed));
    (
        Registry::builder().clock(Clock::from_fn(now)).build(),
        clock,
    )
}

#[test]
fn a_scope_records_duration_errors_memory_and_what_is_in_flight() {
    let (registry, clock) = registry();
    let memory = Arc::new(AtomicU64::new(1000));
    let read = Arc::clone(&memory);
    let load = Operation::new(&registry, "load", &[("k", "v")])
        .with_memory(move || read.load(Ordering::Relaxed));
    {
        let mut scope = load.enter();
        clock.store(3, Ordering::Relaxed);
        memory.store(400, Ordering::Relaxed);
        assert_eq!(
            registry.snapshot().get("load_in_flight", &[("k", "v")]),
            Some(&Value::Number(1.0))
        );
        scope.fail();
    }
    assert_eq!(load.run(|| Ok::<_, ()>(1)), Ok(1));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _scope = load.enter();
        std::panic::resume_unwind(Box::new("expected"));
    }));
    assert!(panicked.is_err());
    let snapshot = registry.snapshot();
    let value = |name| snapshot.get(name, &[("k", "v")]).cloned();
    assert_eq!(value("load_errors"), Some(Value::Count(2)));
    assert_eq!(value("load_in_flight"), Some(Value::Number(0.0)));
    let Some(Value::Distribution(times)) = value("load_duration_seconds") else {
        panic!("a histogram")
    };
    assert_eq!((times.count(), times.max()), (3, 3.0));
    assert!(value("load_memory_delta_bytes").is_some());
    let page = registry.render(mainspring_monitor::Format::OpenMetrics);
    mainspring_monitor::validate_openmetrics(page.as_bytes()).expect("valid");
}

#[test]
fn phases_keep_time_and_outcome_and_name_the_one_that_failed() {
    let (registry, clock) = registry();
    let mut phases = Phases::new(&registry);
    let step = |seconds| {
        let clock = Arc::clone(&clock);
        move || clock.fetch_add(seconds, Ordering::Relaxed)
    };
    let open = step(2);
    phases
        .step("open", || Ok::<_, ()>(open()))
        .expect("succeeds");
    let warm = step(5);
    let failed = phases.step("warm", || {
        let _before = warm();
        Err::<(), _>("cold")
    });
    assert_eq!(failed, Err("cold"));
    assert_eq!(
        phases
            .failed()
            .map(|phase| (phase.name.as_str(), phase.duration.as_secs())),
        Some(("warm", 5))
    );
    assert_eq!(
        registry.snapshot().get("startup_seconds", &[]),
        Some(&Value::Number(7.0))
    );
    for phase in 0..1000 {
        phases
            .step(&phase.to_string(), || Ok::<_, ()>(()))
            .expect("succeeds");
    }
    assert_eq!(phases.all().len(), 256);
}
