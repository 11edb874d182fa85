//! Figures about a tokio runtime, on its paused clock.

use std::time::Duration;

use mainspring_monitor::{Registry, RuntimeProbe, Value};
use tokio::runtime::Handle;

#[test]
fn the_heartbeat_measures_how_late_it_runs() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let registry = Registry::new();
        let watching =
            RuntimeProbe::new(&registry, &Handle::current()).start(Duration::from_millis(100));
        tokio::task::yield_now().await;
        // The runtime is "blocked" for 350 ms: the beat due at 100 ms comes 250 ms late.
        tokio::time::advance(Duration::from_millis(350)).await;
        tokio::task::yield_now().await;
        let snapshot = registry.snapshot();
        let Some(Value::Distribution(delay)) = snapshot.get("tokio_scheduling_delay_seconds", &[])
        else {
            panic!("a histogram")
        };
        assert_eq!(delay.count(), 1);
        assert!((0.25..0.26).contains(&delay.max()), "{}", delay.max());
        assert_eq!(
            snapshot.get("tokio_workers", &[]),
            Some(&Value::Number(1.0))
        );
        assert_eq!(
            snapshot.get("tokio_alive_tasks", &[]),
            Some(&Value::Number(1.0))
        );
        drop(watching);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
    });
}

#[test]
fn a_busy_worker_shows_as_a_ratio() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .expect("a runtime");
    let registry = Registry::new();
    let mut probe = RuntimeProbe::new(&registry, runtime.handle());
    runtime.block_on(async {
        let spin = tokio::spawn(async {
            let start = std::time::Instant::now();
            while start.elapsed() < Duration::from_millis(20) {
                std::hint::spin_loop();
            }
        });
        spin.await.expect("spun");
        // The busy time is counted when the worker parks.
        tokio::time::sleep(Duration::from_millis(1)).await;
        probe.sample();
    });
    let Some(Value::Number(busy)) = registry.snapshot().get("tokio_busy_ratio", &[]).cloned()
    else {
        panic!("set")
    };
    assert!(busy > 0.0 && busy <= 1.0, "{busy}");
}
