//! What became of a value that was put.

use crate::error::Error;
use std::sync::Arc;

/// Where a value that was put went, and where it did not.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Stored {
    /// The tiers that do not have it, in order. They were counted, and hold nothing older that would be served.
    pub failed: Vec<TierFailure>,
    /// True when the tiers get it later, because the cache writes behind: what fails then is counted only.
    pub waits: bool,
}

/// A tier that failed to store a value.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TierFailure {
    /// Its number in the order in which the tiers were added, from zero.
    pub tier: usize,
    /// Its name.
    pub name: Arc<str>,
    /// What it said.
    pub error: Error,
}

impl Stored {
    /// True when every tier has the value.
    #[must_use]
    pub fn is_everywhere(&self) -> bool {
        self.failed.is_empty() && !self.waits
    }
}
