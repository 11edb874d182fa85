//! A trace that needs no file.

use super::Trace;
use crate::Random;

impl Trace {
    /// `length` keys in three phases that follow each other twice: a skewed working set that drifts; the
    /// same with scans of keys that never come back; and keys that are asked for again soon or never.
    #[must_use]
    pub fn generated(seed: u64, length: usize) -> Self {
        let mut random = Random::new(seed);
        let mut maker = Maker {
            working_set: (length / 20).max(16),
            fresh: 1 << 40,
            recent: Vec::new(),
        };
        let mut keys = Vec::with_capacity(length);
        while keys.len() < length {
            let progress = keys.len() as f64 / length as f64;
            match (progress * 6.0) as usize % 3 {
                0 => keys.push(maker.skewed(&mut random, progress)),
                1 if random.chance(0.000_5) => keys.extend(maker.scan()),
                1 => keys.push(maker.skewed(&mut random, progress)),
                _ => keys.push(maker.recent(&mut random)),
            }
        }
        keys.truncate(length);
        Self {
            name: format!("generated (seed {seed}, {length} keys)"),
            keys,
        }
    }
}

struct Maker {
    working_set: usize,
    fresh: u64,
    recent: Vec<u64>,
}

impl Maker {
    /// A popular key of a window that moves on by its own width during the trace.
    fn skewed(&self, random: &mut Random, progress: f64) -> u64 {
        let drift = (progress * self.working_set as f64) as u64;
        drift + random.zipf(self.working_set) as u64
    }

    fn scan(&mut self) -> std::ops::Range<u64> {
        let start = self.fresh;
        self.fresh += self.working_set as u64 / 8;
        start..self.fresh
    }

    /// One that was asked for lately, the later the likelier; or one that never was.
    fn recent(&mut self, random: &mut Random) -> u64 {
        let kept = self.recent.len();
        if kept > 0 && random.chance(0.6) {
            return self.recent[kept - 1 - random.zipf(kept.min(self.working_set))];
        }
        self.fresh += 1;
        self.recent.push(self.fresh);
        self.fresh
    }
}
