//! Does a figure in bytes keep growing?

use std::collections::VecDeque;
use std::time::Duration;

const KEPT: usize = 100;
/// One-sided 1 % point of the normal distribution.
const CERTAIN: f64 = 2.326;
const ROBUST_SAMPLES: usize = 20;

/// Why something is called a leak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LeakRule {
    /// Over the last ten samples, (last − first) / 10 exceeds 10 MiB.
    MeanGrowth,
    /// The median slope between all pairs of samples (Theil-Sen) exceeds 10 MiB an hour, and the
    /// trend is not chance (Mann-Kendall, 1 %).
    RobustSlope,
}

/// Something that seems to leak.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Leak {
    /// Whose bytes they are.
    pub owner: String,
    /// The rule that says so.
    pub rule: LeakRule,
    /// Growth over the samples looked at, bytes.
    pub growth_bytes: u64,
    /// Size now, bytes.
    pub current_bytes: u64,
    /// Growth per hour: over the samples looked at, or for [`LeakRule::RobustSlope`] the median slope.
    pub bytes_per_hour: f64,
}

/// Watches one figure: the process's memory, or what one owner (a pool, a cache) says it holds.
///
/// The documented rule is quick but takes any large step for a leak. The robust rule needs 20
/// samples after the warm-up and ignores steps and spikes. Each can be switched off.
///
/// ```
/// use mainspring_monitor::{LeakDetector, LeakRule};
/// use std::time::Duration;
///
/// let mut detector = LeakDetector::new("session cache");
/// let leak = (0..10).find_map(|i| detector.push(Duration::from_secs(30 * i), i * (12 << 20)));
/// assert_eq!(leak.unwrap().rule, LeakRule::MeanGrowth);
/// ```
#[derive(Debug, Clone)]
pub struct LeakDetector {
    owner: String,
    window: usize,
    mean_growth: Option<u64>,
    slope: Option<f64>,
    warm_up: usize,
    seen: usize,
    samples: VecDeque<(Duration, u64)>,
}

impl LeakDetector {
    /// A detector with both rules at their defaults.
    #[must_use]
    pub fn new(owner: &str) -> Self {
        Self {
            owner: owner.to_owned(),
            window: 10,
            mean_growth: Some(10 << 20),
            slope: Some((10 << 20) as f64),
            warm_up: 10,
            seen: 0,
            samples: VecDeque::with_capacity(KEPT),
        }
    }

    /// The documented rule: growth per sample, on the mean of the window, above which it is a leak.
    /// Default 10 MiB; None switches the rule off.
    #[must_use]
    pub fn mean_growth(mut self, bytes: Option<u64>) -> Self {
        self.mean_growth = bytes;
        self
    }

    /// The robust rule: bytes per hour above which it is a leak. Default 10 MiB; None switches it off.
    #[must_use]
    pub fn slope_per_hour(mut self, bytes: Option<f64>) -> Self {
        self.slope = bytes;
        self
    }

    /// Samples that the robust rule ignores at the start, while caches fill. Default 10.
    #[must_use]
    pub fn warm_up(mut self, samples: usize) -> Self {
        self.warm_up = samples;
        self
    }

    /// Takes a sample and says whether this looks like a leak now. Keeps 100; O(kept²) for the
    /// robust rule, some 5,000 pairs at most.
    pub fn push(&mut self, at: Duration, bytes: u64) -> Option<Leak> {
        self.seen += 1;
        if self.samples.len() == KEPT {
            self.samples.pop_front();
        }
        self.samples.push_back((at, bytes));
        self.by_mean_growth().or_else(|| self.by_slope())
    }

    fn by_mean_growth(&self) -> Option<Leak> {
        let limit = self.mean_growth?;
        let first = *self
            .samples
            .get(self.samples.len().checked_sub(self.window)?)?;
        let last = *self.samples.back()?;
        let growth = last.1.saturating_sub(first.1);
        let hours = hours(last.0.saturating_sub(first.0));
        let per_hour = if hours > 0.0 {
            growth as f64 / hours
        } else {
            f64::INFINITY
        };
        let leaks = growth / self.window as u64 > limit;
        leaks.then(|| self.leak(LeakRule::MeanGrowth, growth, per_hour))
    }

    fn by_slope(&self) -> Option<Leak> {
        let limit = self.slope?;
        // Of the samples since the warm-up, those that are still kept.
        let counted = self.seen.checked_sub(self.warm_up)?.min(self.samples.len());
        if counted < ROBUST_SAMPLES {
            return None;
        }
        let samples: Vec<_> = self
            .samples
            .iter()
            .skip(self.samples.len() - counted)
            .copied()
            .collect();
        let slope = theil_sen(&samples)?;
        if slope <= limit || mann_kendall(&samples) < CERTAIN {
            return None;
        }
        let growth = samples.last()?.1.saturating_sub(samples.first()?.1);
        Some(self.leak(LeakRule::RobustSlope, growth, slope))
    }

    fn leak(&self, rule: LeakRule, growth_bytes: u64, bytes_per_hour: f64) -> Leak {
        Leak {
            owner: self.owner.clone(),
            rule,
            growth_bytes,
            current_bytes: self.samples.back().map_or(0, |sample| sample.1),
            bytes_per_hour,
        }
    }
}

fn hours(time: Duration) -> f64 {
    time.as_secs_f64() / 3600.0
}

/// The median of the slopes between all pairs, in bytes per hour (Sen 1968).
fn theil_sen(samples: &[(Duration, u64)]) -> Option<f64> {
    let mut slopes: Vec<f64> = pairs(samples)
        .filter(|((t0, _), (t1, _))| t1 > t0)
        .map(|((t0, b0), (t1, b1))| (b1 as f64 - b0 as f64) / hours(t1 - t0))
        .collect();
    let middle = slopes.len() / 2;
    slopes.sort_unstable_by(f64::total_cmp);
    slopes.get(middle).copied()
}

/// The normal score of the Mann-Kendall trend test, corrected for ties; positive when growing.
fn mann_kendall(samples: &[(Duration, u64)]) -> f64 {
    let score: i64 = pairs(samples)
        .map(|((_, b0), (_, b1))| b1.cmp(&b0) as i64)
        .sum();
    let spread = |n: f64| n * (n - 1.0) * (2.0 * n + 5.0);
    let mut sizes: Vec<u64> = samples.iter().map(|sample| sample.1).collect();
    sizes.sort_unstable();
    let ties: f64 = sizes
        .chunk_by(|a, b| a == b)
        .map(|tie| spread(tie.len() as f64))
        .sum();
    let variance = (spread(samples.len() as f64) - ties) / 18.0;
    if variance <= 0.0 {
        0.0
    } else {
        (score - score.signum()) as f64 / variance.sqrt()
    }
}

type Pair = ((Duration, u64), (Duration, u64));

fn pairs(samples: &[(Duration, u64)]) -> impl Iterator<Item = Pair> {
    samples
        .iter()
        .enumerate()
        .flat_map(|(at, a)| samples[at + 1..].iter().map(|b| (*a, *b)))
}
