//! Medians with intervals.

use serde::{Deserialize, Serialize};

/// A median with a 99 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The median.
    pub median: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Interval {
    /// The interval of something that is counted and not sampled: itself.
    #[must_use]
    pub fn exactly(value: f64) -> Self {
        Self {
            median: value,
            low: value,
            high: value,
        }
    }

    /// The median of `samples` and its distribution-free 99 % interval: the order statistics whose
    /// ranks a fair binomial leaves inside (normal approximation; below 8 samples, everything).
    ///
    /// # Panics
    /// When there are no samples.
    #[must_use]
    pub fn of(samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        let half = 2.576 * (n as f64).sqrt() / 2.0;
        let low = (n as f64 / 2.0 - half).floor().max(0.0) as usize;
        let high = ((n as f64 / 2.0 + half).ceil() as usize).min(n - 1);
        Self {
            median: quantile(&sorted, 0.5),
            low: sorted[low],
            high: sorted[high],
        }
    }

    /// The interval after a change of scale; a falling change swaps the ends.
    #[must_use]
    pub fn map(self, change: impl Fn(f64) -> f64) -> Self {
        let (a, b) = (change(self.low), change(self.high));
        Self {
            median: change(self.median),
            low: a.min(b),
            high: a.max(b),
        }
    }
}

/// The quantile `q` of sorted samples, between neighbours by straight lines.
///
/// # Panics
/// When there are no samples.
#[must_use]
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = (sorted.len() - 1) as f64 * q.clamp(0.0, 1.0);
    let below = sorted[at.floor() as usize];
    let above = sorted[at.ceil() as usize];
    below + (above - below) * at.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_holds_the_median_and_narrows_with_samples() {
        let few = Interval::of(&(0..16).map(f64::from).collect::<Vec<_>>());
        let many = Interval::of(&(0..400).map(|i| f64::from(i) / 25.0).collect::<Vec<_>>());
        assert!(few.low < few.median && few.median < few.high);
        assert!(many.high - many.low < few.high - few.low);
    }

    #[test]
    fn one_outlier_moves_neither_the_median_nor_its_interval() {
        let mut samples: Vec<f64> = (0..99).map(|i| 1.0 + f64::from(i % 10) / 1000.0).collect();
        samples.push(1e6);
        let interval = Interval::of(&samples);
        assert!(interval.median < 1.01 && interval.high < 1.01);
    }

    #[test]
    fn a_falling_change_keeps_low_below_high() {
        let saved = Interval {
            median: 0.3,
            low: 0.2,
            high: 0.4,
        }
        .map(|ratio| 1.0 - ratio);
        assert!(saved.low < saved.median && saved.median < saved.high);
    }
}
