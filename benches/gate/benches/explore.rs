//! The hot paths under criterion, for exploring: `cargo bench -p mainspring-gate`. What it measures
//! appears in the report of `cargo xtask bench --html`.

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .sample_size(40)
        .configure_from_args();
    for path in mainspring_gate::hot_paths() {
        let mut group = criterion.benchmark_group(path.area());
        group.throughput(Throughput::Elements(1));
        let operation = path
            .name
            .split_once('.')
            .map_or(path.name, |(_, name)| name);
        group.bench_function(operation, |bencher| {
            let mut operations = (path.prepare)().expect("a hot path is set up");
            bencher.iter_custom(|count| {
                let started = Instant::now();
                operations(count);
                started.elapsed()
            });
        });
        group.finish();
    }
    criterion.final_summary();
}
