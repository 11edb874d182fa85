use std::{fmt, str::FromStr};

use crate::error::Error;

/// Name of a version: the thread it was committed to and its number there.
///
/// It prints as 33 characters, `0123456789abcdef-00063dafc1b68c00`, which sort like the versions of their thread and
/// serve as a checkpoint id.
///
/// Numbers grow by one, and start anew from the clock ([`Options::clock`](crate::Options::clock), 1,024 numbers for each
/// millisecond) when a thread is read: a version that a power cut took along, or one of a deleted thread, leaves its
/// name to no other one. That holds as long as the clock is not set back to the very millisecond; a clock that stands
/// still (as in tests) begins at the newest version there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionId {
    pub(crate) thread: u64,
    pub(crate) seq: u64,
}

impl VersionId {
    /// Number of the version in its thread: larger than those of all versions before it.
    pub fn sequence(self) -> u64 {
        self.seq
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}", self.thread, self.seq)
    }
}

impl FromStr for VersionId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let hex = |part: &str| {
            let plain = part.len() == 16 && part.bytes().all(|b| b.is_ascii_hexdigit());
            plain.then(|| u64::from_str_radix(part, 16).ok()).flatten()
        };
        let parsed = text
            .split_once('-')
            .and_then(|(thread, seq)| Some((hex(thread)?, hex(seq)?)));
        match parsed {
            Some((thread, seq)) => Ok(Self { thread, seq }),
            None => Err(Error::missing("version", text)),
        }
    }
}

/// How a version is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// On its own: nothing before it is needed.
    Full,
    /// As operations on its base.
    Incremental,
}

/// What is known about a version without restoring it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Version {
    /// Its name.
    pub id: VersionId,
    /// The version it came after; in another thread for the first one of a fork.
    pub parent: Option<VersionId>,
    /// When it was committed, in milliseconds since the Unix epoch, as the caller said.
    pub time: u64,
    /// Bytes of the restored state.
    pub size: u64,
    /// The caller's words.
    pub label: Option<String>,
    /// The caller's own id of it.
    pub checkpoint: Option<String>,
    /// Full or incremental.
    pub kind: Kind,
    /// The version that its operations apply to; `None` for a full one.
    pub base: Option<VersionId>,
    /// Bytes to decompress to restore it.
    pub replay: u64,
}

/// What to write down with a commit.
#[derive(Debug, Clone, Default)]
pub struct CommitOptions<'a> {
    pub(crate) label: Option<&'a str>,
    pub(crate) checkpoint: Option<&'a str>,
    pub(crate) time: Option<u64>,
    pub(crate) parent: Option<Option<VersionId>>,
}

impl<'a> CommitOptions<'a> {
    /// No label, time from the clock in [`Options`](crate::Options), whatever the head is.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps a text with the version, at most 4,096 bytes. Labelled versions survive a retention that keeps labels.
    #[must_use]
    pub fn label(mut self, label: &'a str) -> Self {
        self.label = Some(label);
        self
    }

    /// Keeps an id of your own with the version, at most 4,096 bytes: [`Thread::version`](crate::Thread::version) finds
    /// it. Unlike a label it keeps no version from being deleted.
    #[must_use]
    pub fn checkpoint(mut self, id: &'a str) -> Self {
        self.checkpoint = Some(id);
        self
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub fn time(mut self, millis: u64) -> Self {
        self.time = Some(millis);
        self
    }

    /// Commits only when the head is this version (`None`: when there is no version yet).
    #[must_use]
    pub fn expect_parent(mut self, parent: Option<VersionId>) -> Self {
        self.parent = Some(parent);
        self
    }
}
