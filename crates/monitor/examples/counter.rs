//! One counter, bound once, counted from everywhere, printed as Prometheus reads it.

use mainspring_monitor::{Format, Registry};

fn main() {
    let registry = Registry::new();
    registry.describe("tool_calls", "Tool calls that were started.");
    let calls = registry.counter("tool_calls", &[("tool", "read_file")]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..250_000).for_each(|_| calls.increment()));
        }
    });
    assert_eq!(calls.value(), 1_000_000);
    print!("{}", registry.render(Format::OpenMetrics));
}
