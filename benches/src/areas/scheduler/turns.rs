//! Generated turns of tool calls that wait and get in each other's way.

use std::time::Duration;

use mainspring_inputs::Random;
use mainspring_scheduler::Access;

/// A call as drawn.
#[derive(Debug, Clone)]
pub(super) struct Planned {
    pub(super) wait: Duration,
    pub(super) file: Option<usize>,
    pub(super) writes: bool,
}

impl Planned {
    /// What the scheduler is told.
    pub(super) fn access(&self) -> Access {
        let key = |file| format!("src/file_{file}.rs");
        match self.file {
            None => Access::none(),
            Some(file) if self.writes => Access::write(key(file).as_str()),
            Some(file) => Access::read(key(file).as_str()),
        }
    }

    /// Whether the two must not run at once; decided here, not by the scheduler.
    pub(super) fn conflicts(&self, other: &Self) -> bool {
        self.file.is_some() && self.file == other.file && (self.writes || other.writes)
    }
}

/// 4 to 16 calls on six files: three in five read, one in four writes, the rest touch none. Waits
/// have a long tail, as those of real tools have; `unit` is the shortest.
pub(super) fn turn(seed: u64, unit: Duration) -> Vec<Planned> {
    let mut random = Random::new(seed);
    let calls = random.between(4, 16);
    let mut plan = || {
        let kind = random.unit();
        Planned {
            wait: unit.mul_f64(random.length(30, 0.8, 120) as f64 / 10.0) + unit,
            file: (kind < 0.85).then(|| random.below(6)),
            writes: kind < 0.25,
        }
    };
    (0..calls).map(|_| plan()).collect()
}

/// The least time that any scheduler needs: the longest chain of calls that get in each other's
/// way, taken in the order of issue, or all work over the limit.
pub(super) fn bound(turn: &[Planned], limit: usize) -> Duration {
    let mut ends: Vec<Duration> = Vec::with_capacity(turn.len());
    for (at, call) in turn.iter().enumerate() {
        let earlier = turn[..at].iter().zip(&ends);
        let start = earlier
            .filter(|(other, _)| other.conflicts(call))
            .map(|(_, end)| *end)
            .max();
        ends.push(start.unwrap_or_default() + call.wait);
    }
    let longest = ends.into_iter().max().unwrap_or_default();
    longest.max(work(turn) / limit as u32)
}

/// All waits, one after the other.
pub(super) fn work(turn: &[Planned]) -> Duration {
    turn.iter().map(|call| call.wait).sum()
}
