//! The same work against itself: what this machine can tell apart right now.

use std::hint::black_box;

use crate::{Interval, paired};

/// How far one piece of code seemed to differ from itself.
#[derive(Debug, Clone, Copy)]
pub struct Canary {
    /// The ratio of A to A.
    pub ratio: Interval,
}

impl Canary {
    /// Whether times can be trusted: A and A differ by at most 1 %.
    #[must_use]
    pub fn trusted(&self) -> bool {
        (self.ratio.median - 1.0).abs() <= 0.01
    }
}

/// Measures a fixed piece of work against itself.
#[must_use]
pub fn canary(rounds: usize) -> Canary {
    let work = || {
        let mut sum = 0u64;
        for i in 0..400_000u64 {
            sum = sum
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(black_box(i));
        }
        black_box(sum);
    };
    Canary {
        ratio: paired(rounds.max(32), 1, work, work).ratio,
    }
}
