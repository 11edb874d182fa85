//! Which entries are worth keeping longer, by what they cost to make.

/// How far the mean follows an entry.
const FOLLOW: f64 = 1.0 / 64.0;
const MOST: u8 = 7;

/// How often each entry is passed over at its eviction: once for every doubling of its cost per weight above the
/// geometric mean, as in GreedyDual (Cao and Irani, USITS 1997), with evictions passed instead of a rising floor.
#[derive(Debug, Default)]
pub(crate) struct Costs {
    /// Per slot: how often it is passed over after a hit, in the upper half, and how often still.
    credits: Vec<u8>,
    /// The mean logarithm of the cost per weight.
    mean: Option<f64>,
}

impl Costs {
    /// An entry came into the slot that takes so many nanoseconds to make; zero where that is not known.
    pub(crate) fn appraise(&mut self, index: u32, cost: u64, weight: u32) {
        let at = index as usize;
        if self.credits.len() <= at {
            self.credits.resize(at + 1, 0);
        }
        let credit = match cost {
            0 => 0,
            cost => self.credit((cost as f64 / f64::from(weight.max(1))).log2()),
        };
        self.credits[at] = credit << 4 | credit;
    }

    fn credit(&mut self, worth: f64) -> u8 {
        let mean = self.mean.unwrap_or(worth);
        self.mean = Some(mean + (worth - mean) * FOLLOW);
        (worth - mean).round().clamp(0.0, f64::from(MOST)) as u8
    }

    /// True when the entry is passed over once more.
    pub(crate) fn spend(&mut self, index: u32) -> bool {
        match self.credits.get_mut(index as usize) {
            Some(credit) if *credit & 0xF > 0 => {
                *credit -= 1;
                true
            }
            _ => false,
        }
    }

    /// The entry was hit since it was last looked at.
    pub(crate) fn renew(&mut self, index: u32) {
        if let Some(credit) = self.credits.get_mut(index as usize) {
            *credit = *credit & 0xF0 | *credit >> 4;
        }
    }
}
