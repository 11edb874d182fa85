use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::cipher::Cipher;

type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// How a store of versions behaves. [`Options::new`] has the defaults.
#[derive(Clone)]
pub struct Options {
    pub(crate) level: i32,
    pub(crate) seal_level: i32,
    pub(crate) replay_factor: u64,
    pub(crate) replay_floor: u64,
    pub(crate) block_bytes: usize,
    pub(crate) max_state: u64,
    pub(crate) max_streams: usize,
    pub(crate) max_chain: u32,
    pub(crate) sync: bool,
    pub(crate) patience: Duration,
    pub(crate) clock: Clock,
    pub(crate) cipher: Option<Arc<dyn Cipher>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            level: 3,
            seal_level: 12,
            replay_factor: 3,
            replay_floor: 4 << 20,
            block_bytes: 32 << 10,
            max_state: 1 << 30,
            max_streams: 32,
            max_chain: 16,
            sync: false,
            patience: Duration::from_secs(10),
            clock: Arc::new(|| {
                let since = SystemTime::now().duration_since(UNIX_EPOCH);
                since.map_or(0, |d| d.as_millis() as u64)
            }),
            cipher: None,
        }
    }
}

impl Options {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// zstd level while live; default 3. A higher one costs CPU on each commit, a lower one bytes.
    #[must_use]
    pub fn level(mut self, level: i32) -> Self {
        self.level = level.clamp(1, 22);
        self
    }

    /// zstd level of sealed and rewritten segments; default 12.
    #[must_use]
    pub fn seal_level(mut self, level: i32) -> Self {
        self.seal_level = level.clamp(1, 22);
        self
    }

    /// A version is stored whole when replaying to it would take more than `factor` times the state and more than
    /// `floor` bytes; default 3 and 4 MiB. Smaller restores faster and stores more.
    #[must_use]
    pub fn replay_bound(mut self, factor: u64, floor: u64) -> Self {
        self.replay_factor = factor.max(1);
        self.replay_floor = floor;
        self
    }

    /// Bytes that a chain may take to replay to a state of `size` bytes before a version is stored whole.
    pub(crate) fn replay_limit(&self, size: u64) -> u64 {
        let bound = size.saturating_mul(self.replay_factor);
        bound.max(self.replay_floor).min(self.most_replay())
    }

    /// Bytes beyond which a restore refuses to replay.
    pub(crate) fn most_replay(&self) -> u64 {
        self.max_state
            .saturating_mul(self.replay_factor.saturating_add(1))
    }

    /// Strings (and parts of byte states) of at least this many bytes are stored once, under the hash of their bytes,
    /// and shared by all threads; default 32 KiB, at least 1 KiB.
    #[must_use]
    pub fn block_bytes(mut self, bytes: usize) -> Self {
        self.block_bytes = bytes.max(1 << 10);
        self
    }

    /// Largest state, and largest replay, that is accepted or restored; default 1 GiB.
    #[must_use]
    pub fn max_state_bytes(mut self, bytes: u64) -> Self {
        self.max_state = bytes;
        self
    }

    /// Threads whose compressor (about 2 MiB each) and working state stay in memory; default 32, the latest that were read or began a segment. A thread
    /// beyond that reads its state again and starts a new segment at its next commit, so this should exceed the number of
    /// threads that commit in turn. What was changed and not committed stays in any case.
    #[must_use]
    pub fn max_streams(mut self, streams: usize) -> Self {
        self.max_streams = streams.max(1);
        self
    }

    /// Whether each commit calls [`Backing::sync`](crate::Backing::sync); default no: call [`Snapshots::sync`](crate::Snapshots::sync).
    #[must_use]
    pub fn sync_each_commit(mut self, sync: bool) -> Self {
        self.sync = sync;
        self
    }

    /// How long sealing, pruning, collecting and deleting wait for calls that are still reading what is to be deleted;
    /// default 10 seconds. When one of those takes longer (a writer given to
    /// [`Snapshots::restore_to`](crate::Snapshots::restore_to) that stands still), everything else is done, the call
    /// returns, and what was to be deleted is left to the first such call after the reader's end.
    #[must_use]
    pub fn reader_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Milliseconds since the Unix epoch, for commits that bring no time and for the numbers of versions
    /// ([`VersionId`](crate::VersionId)); default the system's clock.
    #[must_use]
    pub fn clock(mut self, clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Encrypts everything at rest; default nothing.
    #[must_use]
    pub fn cipher(mut self, cipher: Arc<dyn Cipher>) -> Self {
        self.cipher = Some(cipher);
        self
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("level", &self.level)
            .field("seal_level", &self.seal_level)
            .field("replay", &(self.replay_factor, self.replay_floor))
            .field("block_bytes", &self.block_bytes)
            .field("max_state_bytes", &self.max_state)
            .field("max_streams", &self.max_streams)
            .field("sync_each_commit", &self.sync)
            .field("reader_patience", &self.patience)
            .field("encrypted", &self.cipher.is_some())
            .finish_non_exhaustive()
    }
}
