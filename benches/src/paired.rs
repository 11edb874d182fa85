//! Interleaved pairs of measurements, compared by the median of their ratios.

use rustix::time::{ClockId, clock_gettime};

/// A median with a 99 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The median.
    pub median: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// What a comparison of two pieces of work gave.
#[derive(Debug, Clone)]
pub struct Paired {
    /// Our time over theirs, pair by pair.
    pub ratio: Interval,
    /// Our thread CPU time per operation, nanoseconds.
    pub ours_ns: Interval,
    /// Their thread CPU time per operation, nanoseconds.
    pub theirs_ns: Interval,
}

/// Runs both sides in turn, `rounds` times, the order alternating, and compares them pair by pair.
///
/// Each closure does `operations` operations a call. Time is the CPU time of this thread, which
/// other processes do not lengthen; work on other threads is not seen, so it suits single-threaded
/// work only.
pub fn paired(
    rounds: usize,
    operations: u64,
    mut ours: impl FnMut(),
    mut theirs: impl FnMut(),
) -> Paired {
    ours();
    theirs();
    let mut pairs = Vec::with_capacity(rounds);
    for round in 0..rounds.max(8) {
        let pair = if round % 2 == 0 {
            let a = cpu_time(&mut ours);
            (a, cpu_time(&mut theirs))
        } else {
            let b = cpu_time(&mut theirs);
            (cpu_time(&mut ours), b)
        };
        pairs.push(pair);
    }
    let per_operation = |total: f64| total / operations.max(1) as f64;
    Paired {
        ratio: interval(pairs.iter().map(|(a, b)| a / b.max(1.0)).collect()),
        ours_ns: interval(pairs.iter().map(|(a, _)| per_operation(*a)).collect()),
        theirs_ns: interval(pairs.iter().map(|(_, b)| per_operation(*b)).collect()),
    }
}

/// Nanoseconds of this thread's CPU time that `work` takes.
pub(crate) fn cpu_time(work: &mut impl FnMut()) -> f64 {
    let before = thread_time();
    work();
    thread_time() - before
}

fn thread_time() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 * 1e9 + now.tv_nsec as f64
}

/// The median and its distribution-free 99 % interval (order statistics of the binomial).
pub(crate) fn interval(mut samples: Vec<f64>) -> Interval {
    samples.sort_by(f64::total_cmp);
    let n = samples.len();
    let half = 2.576 * (n as f64).sqrt() / 2.0;
    let low = ((n as f64 / 2.0 - half).floor().max(0.0)) as usize;
    let high = ((n as f64 / 2.0 + half).ceil() as usize).min(n.saturating_sub(1));
    let median = if n % 2 == 1 {
        samples[n / 2]
    } else {
        f64::midpoint(samples[n / 2 - 1], samples[n / 2])
    };
    Interval {
        median,
        low: samples[low],
        high: samples[high],
    }
}

#[cfg(test)]
mod tests {
    use super::interval;

    #[test]
    fn the_interval_holds_the_median_and_narrows_with_samples() {
        let few = interval((0..16).map(f64::from).collect());
        let many = interval((0..400).map(|i| f64::from(i) / 25.0).collect());
        assert!(few.low < few.median && few.median < few.high);
        assert!(many.high - many.low < few.high - few.low);
    }
}
