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
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Mutex, OnceLock, PoisonError};
    use std::time::{Duration, Instant};

    use crate::machine::ticks;

    const CLOCK_SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    /// Enough to know a tick to a thousandth, which the first timings are measured with.
    const FIRST_LOOK: Duration = Duration::from_micros(50);
    const LAST_LOOK: Duration = Duration::from_millis(100);
    /// With doubled ticks the product's upper half is the result, which spares a shift of 128 bits.
    /// No tick of a processor that has the counter is as long as the two nanoseconds this holds.
    const POINT: u32 = 63;

    /// A tick counter that can be trusted.
    #[derive(Debug)]
    pub(crate) struct Ticker {
        /// Both clocks at the moment from which ticks are measured.
        origin: Mutex<(Instant, u64)>,
        /// Nanoseconds per tick, [`POINT`] bits of them behind the point; zero until it is settled.
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
            let origin = both();
            wait_from(origin);
            Self {
                origin: Mutex::new(origin),
                settled: AtomicU64::new(0),
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
            ((u128::from(passed << 1) * u128::from(scale)) >> 64) as u64
        }

        /// The scale since the origin. It is settled only when a fresh look agrees: the machine may have
        /// slept since, which one clock counts and the other does not.
        #[cold]
        fn measure(&self) -> u64 {
            let mut origin = self.origin.lock().unwrap_or_else(PoisonError::into_inner);
            let now = both();
            let scale = per_tick(*origin, now);
            if now.0.duration_since(origin.0) < LAST_LOOK {
                return scale;
            }
            wait_from(now);
            let fresh = per_tick(now, both());
            if fresh.abs_diff(scale) > fresh / 64 {
                *origin = now;
                return fresh;
            }
            self.settled.store(scale.max(1), Ordering::Relaxed);
            scale
        }
    }

    /// Both clocks at one moment: the closest of a few looks, since a thread may lose its processor
    /// between the two.
    fn both() -> (Instant, u64) {
        let look = || {
            let before = ticks();
            let now = Instant::now();
            (ticks().saturating_sub(before), now, before)
        };
        let mut best = look();
        for _ in 0..7 {
            let next = look();
            if next.0 < best.0 {
                best = next;
            }
        }
        let (gap, now, before) = best;
        (now, before + gap / 2)
    }

    fn wait_from((origin, _): (Instant, u64)) {
        while origin.elapsed() < FIRST_LOOK {
            std::hint::spin_loop();
        }
    }

    fn per_tick(from: (Instant, u64), to: (Instant, u64)) -> u64 {
        let elapsed = to.0.duration_since(from.0);
        let passed = to.1.saturating_sub(from.1).max(1);
        let scale = (elapsed.as_nanos() << POINT) / u128::from(passed);
        u64::try_from(scale).unwrap_or(u64::MAX)
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

        /// As after a suspension, which the counter counted and the system's clock did not.
        #[test]
        fn an_origin_that_lies_settles_nothing() {
            if Ticker::get().is_none() {
                return eprintln!("skipped: the kernel does not keep its time by the tick counter");
            }
            let (now, at) = both();
            let before = now
                .checked_sub(LAST_LOOK * 2)
                .expect("the machine runs for longer");
            let ticker = Ticker {
                origin: Mutex::new((before, at.saturating_sub(1 << 40))),
                settled: AtomicU64::new(0),
            };
            let (began, start) = both();
            while began.elapsed() < LAST_LOOK {
                std::hint::spin_loop();
            }
            let (nanos, most) = (ticker.nanos_since(start), began.elapsed().as_nanos());
            assert_eq!(ticker.settled.load(Ordering::Relaxed), 0);
            assert!(nanos as f64 > LAST_LOOK.as_nanos() as f64 * 0.97, "{nanos}");
            assert!((nanos as f64) < most as f64 * 1.03, "{nanos} of {most}");
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
