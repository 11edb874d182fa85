//! What a computation decides about an entry.

/// The answer of the closure given to [`Cache::compute`](crate::Cache::compute).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compute<V> {
    /// Leave things as they are.
    Keep,
    /// Put this value, in place of the old one if there is one.
    Put(V),
    /// Remove the entry.
    Remove,
}
