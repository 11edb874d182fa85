//! What a caller says about one entry.

use crate::label::{Label, Labels, Scope, read_labels};
use std::time::Duration;

/// How long one entry lives and what invalidates it. Make it once and pass it by reference.
///
/// ```
/// use std::time::Duration;
/// use mainspring_cache_tier::EntryOptions;
///
/// let options = EntryOptions::new().ttl(Duration::from_secs(60)).tag("prices").reads("/src/main.rs");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryOptions {
    pub(crate) ttl: Option<Duration>,
    pub(crate) labels: Option<Labels>,
    pub(crate) soft_ttl: Option<Duration>,
    pub(crate) negative_ttl: Option<Duration>,
    pub(crate) signature: Option<u64>,
    pub(crate) cost: Option<Duration>,
}

impl EntryOptions {
    /// The labels, in no order.
    pub(crate) fn labels(&self) -> impl Iterator<Item = Label> + '_ {
        self.labels.iter().flat_map(Labels::as_slice).copied()
    }

    /// The cache's own time to live, no labels.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Time to live of this entry instead of the cache's.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Puts the entry under a tag, which `invalidate_tag` invalidates.
    #[must_use]
    pub fn tag(mut self, name: &str) -> Self {
        self.labels = Labels::join(self.labels, [Label::tag(name)]);
        self
    }

    /// Puts the entry into a scope: `invalidate_scope` of it or of anything above it invalidates the
    /// entry. An entry of a `TieredCache` is in its key's scope anyway.
    #[must_use]
    pub fn scope(mut self, scope: impl Into<Scope>) -> Self {
        self.labels = Labels::join(self.labels, scope.into().labels());
        self
    }

    /// Says that the value was read from a resource (a path; a directory covers its files): a write
    /// to it, handed to `invalidate_writes`, invalidates the entry.
    #[must_use]
    pub fn reads(mut self, resource: impl AsRef<str>) -> Self {
        self.labels = Labels::join(self.labels, read_labels(resource.as_ref()));
        self
    }

    /// What it takes to make the value anew, for a cache that goes [by cost](crate::CacheBuilder::by_cost) and for the
    /// time saved that a `TieredCache` counts. Default: how long its load took here, and unknown for what is inserted.
    #[must_use]
    pub fn cost(mut self, cost: Duration) -> Self {
        self.cost = Some(cost);
        self
    }

    /// In a `TieredCache`: after this time one caller loads the value anew while the others are still
    /// served the old one; when that load fails, the old value is served until the time to live ends.
    #[must_use]
    pub fn soft_ttl(mut self, soft_ttl: Duration) -> Self {
        self.soft_ttl = Some(soft_ttl);
        self
    }

    /// In a `TieredCache`: keeps a failed load's error for this long, in memory only.
    #[must_use]
    pub fn negative_ttl(mut self, negative_ttl: Duration) -> Self {
        self.negative_ttl = Some(negative_ttl);
        self
    }

    /// In a `TieredCache`: the signature of what the value is made from (a hash of a file's content, a
    /// version number). A cached value stored under another signature is a miss.
    #[must_use]
    pub fn signature(mut self, signature: u64) -> Self {
        self.signature = Some(signature);
        self
    }
}
