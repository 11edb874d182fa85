//! How long operations took.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

/// Buckets to the doubling.
const STEPS: f64 = 16.0;

/// Times in buckets that are 4 % wide.
#[derive(Debug, Default, Clone)]
pub struct Latency {
    buckets: BTreeMap<u32, u64>,
    count: u64,
    most: u64,
}

/// Some percentiles, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Percentiles {
    /// How many there were.
    pub count: u64,
    /// Half of them took no longer.
    pub p50_us: u64,
    /// All but one in a hundred took no longer.
    pub p99_us: u64,
    /// The longest.
    pub most_us: u64,
}

impl Latency {
    /// Adds one.
    pub fn record(&mut self, us: u64) {
        let bucket = (us.max(1) as f64).log2() * STEPS;
        *self.buckets.entry(bucket.ceil() as u32).or_default() += 1;
        self.count += 1;
        self.most = self.most.max(us);
    }

    /// `None` when there were none.
    #[must_use]
    pub fn percentiles(&self) -> Option<Percentiles> {
        (self.count > 0).then(|| Percentiles {
            count: self.count,
            p50_us: self.at(0.50),
            p99_us: self.at(0.99),
            most_us: self.most,
        })
    }

    fn at(&self, share: f64) -> u64 {
        let wanted = (self.count as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in &self.buckets {
            seen += count;
            if seen >= wanted {
                let upper = (f64::from(*bucket) / STEPS).exp2() as u64;
                return upper.min(self.most);
            }
        }
        self.most
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |us: u64| us as f64 / 1e3;
        let text = format!(
            "{:.2} / {:.1} / {:.0}",
            ms(self.p50_us),
            ms(self.p99_us),
            ms(self.most_us)
        );
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::Latency;

    #[test]
    fn percentiles_are_those_of_the_numbers() {
        let mut latency = Latency::default();
        (1..=1_000).for_each(|us| latency.record(us));
        let found = latency.percentiles().unwrap();
        assert!((500..=525).contains(&found.p50_us), "{found:?}");
        assert!((990..=1_000).contains(&found.p99_us), "{found:?}");
        assert_eq!((found.count, found.most_us), (1_000, 1_000));
    }
}
