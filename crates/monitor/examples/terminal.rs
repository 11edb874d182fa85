//! The live view: a little work, drawn in the terminal every half second.
//!
//! `cargo run --example terminal --features terminal` draws ten seconds; `-- once` prints one frame.

use std::time::{Duration, Instant};

use mainspring_monitor::{Operation, Registry, TerminalView, Watch};

const EVERY: Duration = Duration::from_millis(500);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let once = std::env::args().nth(1).is_some_and(|word| word == "once");
    let registry = Registry::new();
    let mut watch = Watch::new(&registry)?;
    let (width, height) = (size("COLUMNS", 100), size("LINES", 30));
    let mut view = TerminalView::new(width, height);
    let began = Instant::now();
    for turn in 0..20u64 {
        work(&registry, turn);
        watch.look()?;
        // One frame needs no waiting: its time is made up.
        let at = if once {
            EVERY * turn as u32
        } else {
            began.elapsed()
        };
        if !once {
            view.draw(&registry.snapshot(), at, &mut std::io::stdout())?;
            std::thread::sleep(EVERY);
        } else if turn == 19 {
            view.draw(&registry.snapshot(), at, &mut std::io::stdout())?;
        } else {
            view.lines(&registry.snapshot(), at);
        }
    }
    Ok(())
}

/// As large as the shell says the terminal is.
fn size(variable: &str, or: usize) -> usize {
    let told = std::env::var(variable).ok();
    told.and_then(|told| told.parse().ok()).unwrap_or(or)
}

fn work(registry: &Registry, turn: u64) {
    let kept = registry.gauge("session_cache_bytes", &[]);
    kept.set((4 << 20) as f64 + (turn * turn * 40_000) as f64);
    for (tool, share) in [("read_file", 9), ("grep", 5), ("shell", 2)] {
        let call = Operation::new(registry, "tool_call", &[("tool", tool)]);
        for at in 0..share * (6 + turn % 5) {
            let micros = 300 * (10 - share) + at * 37 % 800 + turn * 20;
            call.timer().record(Duration::from_micros(micros));
            if at % 31 == 30 {
                call.errors().increment();
            }
        }
        let tokens = registry.histogram("answer_tokens", &[("tool", tool)]);
        tokens.record(share * 100 + turn * 13);
    }
}
