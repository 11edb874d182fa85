//! The view for a terminal.

use std::time::Duration;

use mainspring_monitor::{Registry, TerminalView};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn a_view_shows_values_rates_quantiles_and_plots() {
    let registry = Registry::new();
    let calls = registry.counter("tool_calls", &[("tool", "grep")]);
    let rss = registry.gauge("process_resident_memory_bytes", &[]);
    let wait = registry.timer("wait", &[("queue", "main")]);
    let mut view = TerminalView::new(78, 24).plain();
    let mut lines = Vec::new();
    for second in 0..8u64 {
        calls.add(second * 10);
        rss.set((64 + second * 8) as f64 * f64::from(1 << 20));
        (0..100).for_each(|i| wait.record(Duration::from_micros(100 + i * second)));
        lines = view.lines(&registry.snapshot(), seconds(second));
    }
    let wanted = "\
3 series in 3 families
tool_calls counter
  tool=grep                    280                       70/s  ▁▂▃▅▆▇█
process_resident_memory_bytes  120MiB                          ▁▂▃▄▅▆▇█
wait_seconds histogram: p50 p95 p99
  queue=main                   442µs 754µs 754µs        100/s  ▁▂▃▄▅▆▇█";
    assert_eq!(lines.join("\n"), wanted);
}

#[test]
fn a_view_fits_its_terminal_and_says_what_it_leaves_out() {
    let registry = Registry::new();
    for at in 0..50 {
        let at = at.to_string();
        let _many = registry.counter(
            "a_name_that_is_much_longer_than_any_terminal",
            &[("at", &at)],
        );
    }
    for (columns, rows) in [(40, 4), (40, 10), (80, 24), (200, 60), (0, 0)] {
        let mut view = TerminalView::new(columns, rows).plain();
        let lines = view.lines(&registry.snapshot(), seconds(0));
        assert!(lines.len() < rows.max(4), "{rows}: {}", lines.len());
        let widest = lines.iter().map(|line| line.chars().count()).max();
        assert!(widest <= Some(columns.max(40)), "{columns}: {widest:?}");
        let shown = lines
            .iter()
            .filter(|line| line.starts_with("  at="))
            .count();
        let last = lines.last().expect("a line");
        assert_eq!(last.contains("more"), shown < 50, "{rows}: {last}");
        if shown < 50 {
            assert_eq!(*last, format!("and {} more", 50 - shown));
        }
    }
    let other = registry.counter("other", &[]);
    other.increment();
    let lines = TerminalView::new(80, 24)
        .plain()
        .only("oth")
        .lines(&registry.snapshot(), seconds(0));
    assert_eq!(lines[0], "1 series in 1 families");
}

#[test]
fn nothing_that_a_terminal_obeys_gets_through_but_the_views_own() {
    let registry = Registry::new();
    registry
        .gauge(
            "g",
            &[("evil", "\x1b]0;owned\x07\x1b[2J\r\n\u{202E}abc\u{9b}31m")],
        )
        .set(f64::NAN);
    registry.gauge("h", &[]).set(f64::NEG_INFINITY);
    let mut out = Vec::new();
    let mut view = TerminalView::new(100, 10);
    for at in 0..2 {
        view.draw(&registry.snapshot(), seconds(at), &mut out)
            .expect("a vector takes all");
    }
    let text = String::from_utf8(out).expect("text");
    assert!(text.starts_with("\x1b[H") && text.ends_with("\x1b[J"));
    let mut rest = text
        .replace("\x1b[H", "")
        .replace("\x1b[J", "")
        .replace("\x1b[K\r\n", "");
    for own in ["\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[36m"] {
        rest = rest.replace(own, "");
    }
    assert!(
        !rest.contains(|c: char| c.is_control() || c == '\u{202E}'),
        "{rest:?}"
    );
}
