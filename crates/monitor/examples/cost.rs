//! What this crate costs on this machine: least of 25 runs, one thread. Run it with `--release`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use mainspring_monitor::{Error, Format, ProcessProbe, ProcessSample, Registry, slab_stats};

fn main() -> Result<(), Error> {
    let registry = Registry::new();
    let counter = registry.counter("counter", &[]);
    report("counter add", 3_000_000, |_| black_box(&counter).add(1));
    let histogram = registry.histogram("histogram", &[]);
    report("histogram record", 3_000_000, |i| {
        black_box(&histogram).record(i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40);
    });
    let timer = registry.timer("timer", &[]);
    report("timer start and drop", 300_000, |_| {
        drop(black_box(&timer).start())
    });
    report("two reads of the system's clock", 300_000, |_| {
        black_box((Instant::now(), Instant::now()));
    });
    let gauge = registry.gauge("gauge", &[]);
    report("gauge set", 3_000_000, |i| black_box(&gauge).set(i as f64));
    render();
    let mut probe = ProcessProbe::open()?;
    report("resident memory", 2_000, |_| {
        black_box(probe.memory().ok());
    });
    report("process sample", 2_000, |_| {
        black_box(probe.sample().ok());
    });
    hundred_thousand()
}

fn render() {
    let registry = Registry::builder().series_cap(10_000).build();
    for path in 0..10_000 {
        registry
            .counter(
                "requests",
                &[("path", &format!("/a/{path}")), ("code", "200")],
            )
            .add(path);
    }
    let mut page = String::new();
    report("10,000 counters as OpenMetrics", 20, |_| {
        page.clear();
        registry.render_into(Format::OpenMetrics, &mut page);
    });
}

fn hundred_thousand() -> Result<(), Error> {
    let before = (ProcessSample::now()?.rss_anon_bytes, slab_stats().bytes);
    let registry = Registry::builder().series_cap(100_000).build();
    for user in 0..100_000 {
        registry
            .counter("users", &[("user", &user.to_string())])
            .increment();
    }
    let after = (ProcessSample::now()?.rss_anon_bytes, slab_stats().bytes);
    let (memory, slabs) = (after.0.saturating_sub(before.0), after.1 - before.1);
    println!(
        "100,000 counters: {} bytes each, {slabs} bytes of them this thread's cells",
        memory / 100_000
    );
    drop(registry);
    Ok(())
}

fn report(name: &str, times: u64, mut work: impl FnMut(u64)) {
    let mut best = Duration::MAX;
    for _ in 0..25 {
        let start = Instant::now();
        (0..times).for_each(&mut work);
        best = best.min(start.elapsed());
    }
    println!("{name}: {:.2} ns", best.as_nanos() as f64 / times as f64);
}
