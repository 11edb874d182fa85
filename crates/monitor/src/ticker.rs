//! Durations by the processor's tick counter, where the kernel keeps its own time by it.
//!
//! The kernel vouches for the counter: only when its clock source is `tsc` do all processors count
//! alike and evenly. The length of a tick is measured against the system's clock while the process
//! runs, so that nothing has to wait for it: at first over what has passed since the first clock was
//! made, and once a tenth of a second has passed for good.

#[cfg(all(feature = "tsc", target_os = "linux", target_arch = "x86_64"))]
pub(crate) use counting::Ticker;
#[cfg(not(all(feature = "tsc", target_os = "linux", target_arch = "x86_64")))]
pub(crate) use none::Ticker;

#[cfg(all(feature = "tsc", target_os = "linux", target_arch = "x86_64"))]
mod counting {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::{Duration, Instant};

    use crate::machine::ticks;

    const CLOCK_SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    /// Enough to know a tick to a thousandth, which the first timings are measured with.
    const FIRST_LOOK: Duration = Duration::from_micros(50);
    const LAST_LOOK: Duration = Duration::from_millis(100);

    /// A tick counter that can be trusted.
    #[derive(Debug)]
    pub(crate) struct Ticker {
        origin: Instant,
        origin_ticks: u64,
        /// Nanoseconds per tick, 32 bits of them behind the point; zero until it is settled.
        settled: AtomicU64,
    }

    impl Ticker {
        /// The process's, if there is one to be trusted.
        pub(crate) fn get() -> Option<&'static Self> {
            static TICKER: OnceLock<Option<Ticker>> = OnceLock::new();
            TICKER
                .get_or_init(|| {
                    let source = std::fs::read_to_string(CLOCK_SOURCE).ok()?;
                    (source.trim() == "tsc").then(Self::start)
                })
                .as_ref()
        }

        fn start() -> Self {
            let (origin, origin_ticks) = (Instant::now(), ticks());
            while origin.elapsed() < FIRST_LOOK {
                std::hint::spin_loop();
            }
            let settled = AtomicU64::new(0);
            Self {
                origin,
                origin_ticks,
                settled,
            }
        }

        #[inline]
        pub(crate) fn now(&self) -> u64 {
            ticks()
        }

        /// Nanoseconds since `start`, zero when another processor is a little behind.
        #[inline]
        pub(crate) fn nanos_since(&self, start: u64) -> u64 {
            let passed = ticks().saturating_sub(start);
            let scale = match self.settled.load(Ordering::Relaxed) {
                0 => self.measure(),
                scale => scale,
            };
            ((u128::from(passed) * u128::from(scale)) >> 32) as u64
        }

        #[cold]
        fn measure(&self) -> u64 {
            let passed = ticks().saturating_sub(self.origin_ticks).max(1);
            let elapsed = self.origin.elapsed();
            let scale = ((elapsed.as_nanos() << 32) / u128::from(passed)) as u64;
            if elapsed >= LAST_LOOK {
                self.settled.store(scale.max(1), Ordering::Relaxed);
            }
            scale
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn ticks_tell_the_time_that_the_system_tells_settled_or_not() {
            let Some(ticker) = Ticker::get() else {
                return eprintln!("skipped: the kernel does not keep its time by the tick counter");
            };
            for _ in 0..2 {
                let (began, start) = (Instant::now(), ticker.now());
                let wait = LAST_LOOK + Duration::from_millis(1);
                while began.elapsed() < wait {
                    std::hint::spin_loop();
                }
                let least = wait.as_nanos() as f64;
                let (nanos, most) = (ticker.nanos_since(start) as f64, began.elapsed());
                let most = most.as_nanos() as f64;
                assert!(nanos > least * 0.999 && nanos < most * 1.001, "{nanos}");
            }
            assert!(ticker.settled.load(Ordering::Relaxed) > 0);
            assert_eq!(ticker.nanos_since(u64::MAX), 0);
        }
    }
}

#[cfg(not(all(feature = "tsc", target_os = "linux", target_arch = "x86_64")))]
mod none {
    /// There is none.
    #[derive(Debug)]
    pub(crate) enum Ticker {}

    impl Ticker {
        pub(crate) fn get() -> Option<&'static Self> {
            None
        }

        pub(crate) fn now(&self) -> u64 {
            match *self {}
        }

        pub(crate) fn nanos_since(&self, _: u64) -> u64 {
            match *self {}
        }
    }
}
