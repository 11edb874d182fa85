//! A leak found and named: of three owners of memory one never gives anything back.
//!
//! Two hours of samples in a moment, on a clock of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mainspring_monitor::{Clock, Registry, Watch};

const MIB: u64 = 1 << 20;

fn main() -> Result<(), mainspring_monitor::Error> {
    let second = Arc::new(AtomicU64::new(0));
    let now = Arc::clone(&second);
    let clock = Clock::from_fn(move || Duration::from_secs(now.load(Ordering::Relaxed)));
    let registry = Registry::builder().clock(clock).build();

    let tick = |rate: fn(u64) -> u64| {
        let second = Arc::clone(&second);
        move || rate(second.load(Ordering::Relaxed))
    };
    let mut watch = Watch::new(&registry)?
        .owner("buffer pool", tick(|_| 24 * MIB))
        .owner(
            "response cache",
            tick(|second| 30 * MIB + second % 600 * MIB / 60),
        )
        .owner("session index", tick(|second| 8 * MIB + second * MIB / 120));

    for _ in 0..240 {
        second.fetch_add(30, Ordering::Relaxed);
        let finding = watch.look()?;
        if let Some(leak) = finding.leaks.first() {
            let minutes = second.load(Ordering::Relaxed) / 60;
            let rate = leak.bytes_per_hour / MIB as f64;
            let (owner, size, rule) = (&leak.owner, leak.current_bytes / MIB, leak.rule);
            println!(
                "after {minutes} minutes: `{owner}` grows by {rate:.0} MiB an hour, now {size} MiB ({rule:?})"
            );
            assert_eq!(leak.owner, "session index");
            return Ok(());
        }
    }
    println!("no leak found");
    Ok(())
}
