//! The log-linear distribution: buckets, its cells in a page, and snapshots of it.

use std::sync::atomic::Ordering;

use crate::slab::{Cells, WIDTH};

/// Buckets per power of two, as a power of two.
const SUB_BITS: u32 = 3;
const SUB: u64 = 1 << SUB_BITS;
/// Buckets: 0..16 one by one, then eight per power of two up to 2⁶⁴.
pub(crate) const BUCKETS: usize = (64 - SUB_BITS as usize + 1) * SUB as usize;

// The cells after the buckets. The sum is one number of 128 bits in two cells.
const SUM: usize = BUCKETS;
const SUM_HIGH: usize = BUCKETS + 1;
const MAX: usize = BUCKETS + 2;
/// The complement of the least value, so that zeroed cells mean "none" and folding is a maximum.
const NOT_MIN: usize = BUCKETS + 3;
const _: () = assert!(NOT_MIN < WIDTH);

/// The bucket of a value.
#[inline]
pub(crate) fn bucket_of(value: u64) -> usize {
    let shift = 63 - (value | SUB).leading_zeros() - SUB_BITS;
    (shift as u64 * SUB + (value >> shift)) as usize
}

/// The least and the greatest value of a bucket.
pub(crate) fn bucket_range(bucket: usize) -> (u64, u64) {
    let bucket = bucket as u64;
    if bucket < 2 * SUB {
        return (bucket, bucket);
    }
    let shift = bucket / SUB - 1;
    let low = (bucket % SUB + SUB) << shift;
    (low, low + ((1 << shift) - 1))
}

/// Records a value in the owner's cells. True: the sum would carry, nothing but the sum is missing
/// and [`carry`] has to add it.
#[inline]
pub(crate) fn record(cells: &Cells, value: u64) -> bool {
    // The remainder changes nothing, but spares the check of the bounds.
    cells.add(bucket_of(value) % WIDTH, 1);
    if value > cells.load(MAX) {
        cells.store(MAX, value);
    }
    if !value > cells.load(NOT_MIN) {
        cells.store(NOT_MIN, !value);
    }
    let (sum, carries) = cells.load(SUM).overflowing_add(value);
    if !carries {
        cells.store(SUM, sum);
    }
    carries
}

/// Adds a value to a sum that carries. Readers must be kept out: both cells change.
pub(crate) fn carry(cells: &Cells, value: u64) {
    cells.store(SUM, cells.load(SUM).wrapping_add(value));
    cells.add(SUM_HIGH, 1);
}

/// Records in cells that many threads write. True: as for [`record`], with [`carry_shared`].
pub(crate) fn record_shared(cells: &Cells, value: u64) -> bool {
    cells
        .shared(bucket_of(value))
        .fetch_add(1, Ordering::Relaxed);
    cells.shared(MAX).fetch_max(value, Ordering::Relaxed);
    cells.shared(NOT_MIN).fetch_max(!value, Ordering::Relaxed);
    let add = |sum: u64| sum.checked_add(value);
    cells
        .shared(SUM)
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
        .is_err()
}

/// Adds a value to a shared sum that carries. Readers must be kept out: both cells change.
pub(crate) fn carry_shared(cells: &Cells, value: u64) {
    let before = cells.shared(SUM).fetch_add(value, Ordering::Relaxed);
    let carries = before.checked_add(value).is_none();
    cells
        .shared(SUM_HIGH)
        .fetch_add(carries.into(), Ordering::Relaxed);
}

/// Folds one thread's cells into running values.
pub(crate) fn fold(into: &mut [u64; WIDTH], from: &Cells) {
    for (bucket, value) in into[..BUCKETS].iter_mut().enumerate() {
        *value = value.wrapping_add(from.load(bucket));
    }
    let (sum, carries) = into[SUM].overflowing_add(from.load(SUM));
    into[SUM] = sum;
    into[SUM_HIGH] = into[SUM_HIGH]
        .wrapping_add(from.load(SUM_HIGH))
        .wrapping_add(carries.into());
    into[MAX] = into[MAX].max(from.load(MAX));
    into[NOT_MIN] = into[NOT_MIN].max(from.load(NOT_MIN));
}

/// A distribution at one moment, in the exported unit (seconds for timers).
///
/// Snapshots merge over series, threads and machines, and two of one series subtract to the window
/// between them. Holds only buckets that are not empty.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramSnapshot {
    buckets: Vec<(u16, u64)>,
    count: u64,
    sum: u128,
    min: u64,
    max: u64,
    scale: f64,
}

impl HistogramSnapshot {
    pub(crate) fn from_cells(cells: &[u64; WIDTH], scale: f64) -> Self {
        let filled = cells[..BUCKETS]
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0);
        let buckets: Vec<_> = filled
            .map(|(bucket, count)| (bucket as u16, *count))
            .collect();
        let sum = u128::from(cells[SUM_HIGH]) << 64 | u128::from(cells[SUM]);
        // A reader may come between the stores of one record, and see its bucket without its extremes.
        let range = |end: Option<&(u16, u64)>| end.map(|(at, _)| bucket_range((*at).into()));
        let (min, max) = match (range(buckets.first()), range(buckets.last())) {
            (Some(first), Some(last)) => (
                (!cells[NOT_MIN]).clamp(first.0, first.1),
                cells[MAX].clamp(last.0, last.1),
            ),
            _ => (0, 0),
        };
        Self::new(buckets, sum, min, max, scale)
    }

    fn new(buckets: Vec<(u16, u64)>, sum: u128, min: u64, max: u64, scale: f64) -> Self {
        let count = buckets
            .iter()
            .fold(0u64, |sum, (_, count)| sum.saturating_add(*count));
        let (min, max) = if count == 0 {
            (0, 0)
        } else {
            (min, max.max(min))
        };
        Self {
            buckets,
            count,
            sum,
            min,
            max,
            scale,
        }
    }

    /// Values recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their sum.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum as f64 * self.scale
    }

    /// Their mean; zero when there are none.
    #[must_use]
    pub fn mean(&self) -> f64 {
        if self.count == 0 {
            0.0
        } else {
            self.sum() / self.count as f64
        }
    }

    /// The least value, exact (of a window: its bucket's lower end); zero when there are none.
    #[must_use]
    pub fn min(&self) -> f64 {
        self.min as f64 * self.scale
    }

    /// The greatest value, exact (of a window: its bucket's upper end); zero when there are none.
    #[must_use]
    pub fn max(&self) -> f64 {
        self.max as f64 * self.scale
    }

    /// The median.
    #[must_use]
    pub fn p50(&self) -> f64 {
        self.quantile(0.5)
    }

    /// 95 % of values are no greater.
    #[must_use]
    pub fn p95(&self) -> f64 {
        self.quantile(0.95)
    }

    /// 99 % of values are no greater.
    #[must_use]
    pub fn p99(&self) -> f64 {
        self.quantile(0.99)
    }

    /// The value at quantile `q` (cut to 0..=1) by nearest rank, at most 6.25 % off and never
    /// outside the least and greatest; zero when there are none. O(buckets).
    #[must_use]
    pub fn quantile(&self, q: f64) -> f64 {
        let rank =
            ((q.clamp(0.0, 1.0) * self.count as f64).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0u64;
        for &(bucket, count) in &self.buckets {
            seen = seen.saturating_add(count);
            if seen >= rank {
                let (low, high) = bucket_range(bucket.into());
                let middle = low + (high - low) / 2;
                return middle.clamp(self.min, self.max) as f64 * self.scale;
            }
        }
        0.0
    }

    /// Buckets that are not empty: greatest value in it, number of values in it.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        self.buckets
            .iter()
            .map(|&(bucket, n)| (bucket_range(bucket.into()).1 as f64 * self.scale, n))
    }

    /// Adds another distribution of the same unit to this one.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        let (min, max) = match self.count {
            0 => (other.min, other.max),
            _ => (self.min.min(other.min), self.max.max(other.max)),
        };
        let buckets = combine(&self.buckets, &other.buckets, u64::saturating_add);
        *self = Self::new(
            buckets,
            self.sum.saturating_add(other.sum),
            min,
            max,
            self.scale,
        );
    }

    /// What was recorded after `earlier`, an older snapshot of the same series.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let buckets = combine(&self.buckets, &earlier.buckets, u64::saturating_sub);
        let first = buckets
            .first()
            .map_or(0, |(bucket, _)| bucket_range((*bucket).into()).0);
        let last = buckets
            .last()
            .map_or(0, |(bucket, _)| bucket_range((*bucket).into()).1);
        let sum = self.sum.saturating_sub(earlier.sum);
        Self::new(
            buckets,
            sum,
            first.max(self.min),
            last.min(self.max),
            self.scale,
        )
    }

    /// How many values are in buckets up to and including `bucket`.
    pub(crate) fn up_to(&self, bucket: usize) -> u64 {
        let below = self
            .buckets
            .iter()
            .take_while(|(at, _)| usize::from(*at) <= bucket);
        below.fold(0u64, |sum, (_, count)| sum.saturating_add(*count))
    }
}

/// Joins two sorted bucket lists; a missing bucket counts as zero, empty ones are left out.
fn combine(
    left: &[(u16, u64)],
    right: &[(u16, u64)],
    join: fn(u64, u64) -> u64,
) -> Vec<(u16, u64)> {
    let mut joined = Vec::with_capacity(left.len().max(right.len()));
    let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
    loop {
        let bucket = match (left.peek(), right.peek()) {
            (None, None) => return joined,
            (Some(l), None) => l.0,
            (None, Some(r)) => r.0,
            (Some(l), Some(r)) => l.0.min(r.0),
        };
        let a = left
            .next_if(|(at, _)| *at == bucket)
            .map_or(0, |(_, count)| *count);
        let b = right
            .next_if(|(at, _)| *at == bucket)
            .map_or(0, |(_, count)| *count);
        let count = join(a, b);
        if count > 0 {
            joined.push((bucket, count));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_between_the_stores_of_a_record_sees_nothing_that_was_never_recorded() {
        for value in [0, 7, 1_000, u64::MAX] {
            let bucket = bucket_of(value);
            let (low, high) = bucket_range(bucket);
            // Whichever of the stores a reader sees besides the bucket's.
            for (max, not_min) in [(0, 0), (value, 0), (0, !value)] {
                let mut cells = [0; WIDTH];
                (cells[bucket], cells[MAX], cells[NOT_MIN]) = (1, max, not_min);
                let seen = HistogramSnapshot::from_cells(&cells, 1.0);
                for figure in [seen.min(), seen.max(), seen.p50(), seen.p99()] {
                    assert!(
                        (low as f64..=high as f64).contains(&figure),
                        "{figure} of {value}"
                    );
                }
            }
        }
    }
}
