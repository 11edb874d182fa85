/// A cheap snapshot of a filter's figures; nothing in it reads the bits.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// Bytes of bits held.
    pub bytes: usize,
    /// Distinct keys that the filter was sized for.
    pub capacity: u64,
    /// The false positive rate it was sized for.
    pub target_fpr: f64,
    /// Keys that were new when inserted, which a growing filter counts; an estimate after a union, and
    /// for a view of stored bytes what their header says. `None` for all others, whose inserts do not
    /// pay for a counter (see their `estimated_count`).
    pub inserted: Option<u64>,
    /// Layers; 1 except for a growing filter.
    pub layers: usize,
    /// The code that serves it: `avx2`, `portable`, or `atomic` for claims.
    pub kernel: &'static str,
}
