//! Frozen random numbers.

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): small, fast, and the same for ever.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A generator whose whole sequence follows from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.bits()) * bound as u128) >> 64) as usize
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// A number in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// One of `items`.
    ///
    /// # Panics
    /// When `items` is empty.
    pub fn pick<'a, T: ?Sized>(&mut self, items: &[&'a T]) -> &'a T {
        items[self.below(items.len())]
    }

    /// A length with median `median` and a log-normal tail, at most `max`.
    ///
    /// `spread` is the standard deviation of the logarithm: 1.0 puts one value in six above
    /// `e × median`.
    pub fn length(&mut self, median: usize, spread: f64, max: usize) -> usize {
        let normal: f64 = (0..12).map(|_| self.unit()).sum::<f64>() - 6.0;
        ((median as f64 * exp(normal * spread)) as usize).clamp(1, max)
    }

    /// An index below `n` whose frequency falls about as `1 / (rank + 1)`.
    ///
    /// Every octave of ranks is as likely as every other, and ranks within one are alike.
    pub fn zipf(&mut self, n: usize) -> usize {
        let octaves = (n + 1).checked_ilog2().unwrap_or(0).max(1) as usize;
        let first = (1 << self.below(octaves)) - 1;
        (first + self.below(first + 1)).min(n.saturating_sub(1))
    }
}

/// `e^x` from additions and multiplications alone, which every machine rounds alike.
fn exp(x: f64) -> f64 {
    let mut power = 1.0 + x / 1024.0;
    for _ in 0..10 {
        power *= power;
    }
    power
}
