use std::time::Duration;

/// Entries are boxed once, when the resource is connected: a checkout then moves one word.
pub(crate) type Held<T> = Box<Entry<T>>;

/// A resource and what the pool knows about it.
#[derive(Debug)]
pub(crate) struct Entry<T> {
    pub(crate) value: T,
    pub(crate) id: u64,
    pub(crate) created: Duration,
    /// When its lifetime ends, jitter included.
    pub(crate) expires: Duration,
    pub(crate) idle_since: Duration,
    /// How long it may be idle, jitter included.
    pub(crate) idle_limit: Duration,
    pub(crate) checked: Duration,
    pub(crate) uses: u64,
    pub(crate) client: Option<u64>,
}

impl<T> Entry<T> {
    /// When it was last known to be usable.
    pub(crate) fn known_good(&self) -> Duration {
        self.idle_since.max(self.checked)
    }

    pub(crate) fn info(&self) -> ResourceInfo {
        ResourceInfo {
            id: self.id,
            created: self.created,
            idle_since: self.idle_since,
            uses: self.uses,
        }
    }
}

/// What a pool knows about one resource. Times count from the origin of the pool's
/// [`Runtime`](crate::Runtime).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResourceInfo {
    /// Number of the resource, unique in its pool, counted from 0.
    pub id: u64,
    /// When it was connected.
    pub created: Duration,
    /// When it was last returned (or connected).
    pub idle_since: Duration,
    /// How often it was checked out before.
    pub uses: u64,
}
