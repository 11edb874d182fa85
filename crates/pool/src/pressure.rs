use std::ops::AddAssign;

/// How hard memory is pressed, and so how much a pool gives back when it is asked to `trim`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pressure {
    /// Give back what has not been needed lately.
    Low,
    /// Give back everything idle above the initial (or minimum) size.
    Moderate,
    /// Give back everything idle.
    Critical,
}

/// What a trim or a reclaim pass gave back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reclaimed {
    /// Buffers, objects or resources.
    pub items: usize,
    /// Bytes, where the pool knows them; otherwise 0.
    pub bytes: usize,
}

impl AddAssign for Reclaimed {
    fn add_assign(&mut self, other: Self) {
        self.items += other.items;
        self.bytes += other.bytes;
    }
}
