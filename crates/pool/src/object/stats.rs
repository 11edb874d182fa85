/// A snapshot of an [`ObjectPool`](super::ObjectPool).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ObjectStats {
    /// Objects made.
    pub created: u64,
    /// Checkouts.
    pub acquired: u64,
    /// Objects dropped instead of kept: too many, too heavy, trimmed, or returned in a panic.
    pub discarded: u64,
    /// Objects waiting for a user.
    pub idle: usize,
    /// Objects on loan.
    pub in_use: usize,
}
