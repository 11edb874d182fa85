//! What a runtime may use, by kind of machine.

use std::{path::PathBuf, time::Duration};

use mainspring_mmap_store::Durability;
use mainspring_monitor::Pressure;

/// The kind of machine a runtime works on; each stands for a [`Config`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// A machine that also does other things, with 2 GiB to spare.
    Laptop,
    /// A machine of its own, with 8 GiB.
    #[default]
    Workstation,
    /// A server for many sessions, with 16 GiB.
    Server,
}

/// Every knob of a [`Runtime`](crate::Runtime). Start from a [`Profile`] and change what differs: in
/// code, from a file (`ConfigFile`, with the feature `config`) and from the environment
/// ([`with_env`](Self::with_env)), in that order. [`knobs`](Self::knobs) lists them with their names.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Tool calls that run at once. Default 10.
    pub tools: usize,
    /// The context window in tokens. Default 200,000.
    pub window: usize,
    /// Tokens of the window kept free for the model's answer. Default 0.
    pub max_output: usize,
    /// Bytes of messages that are sent, and of messages since the last saved context, above which the
    /// context is compacted, or saved. Bounds what resuming reads. Default 10 MB; 0 for no such bound.
    pub active_bytes: u64,
    /// Interactions, each begun by a person, above which the context is compacted although it would
    /// fit its window. Default 100; 0 for no such bound.
    pub interactions: u64,
    /// When an appended message is safe from a power cut. Default 100 ms after it was acknowledged;
    /// a crash of the process alone loses nothing in any mode. `Durability::Always` costs a disk
    /// sync an append.
    pub durability: Durability,
    /// Cached results in memory, entries. Default 1,000; each costs its own size.
    pub cache_entries: u64,
    /// How long a cached result in memory may be served. Default 5 minutes.
    pub cache_ttl: Duration,
    /// Cached results on disk, entries. Default 50,000.
    pub cache_disk_entries: u64,
    /// Cached results on disk, bytes. Default 1 GiB.
    pub cache_disk_bytes: u64,
    /// How long a cached result on disk may be served. Default 24 hours.
    pub cache_disk_ttl: Duration,
    /// Above this much anonymous resident memory idle buffers are freed, bytes, when
    /// [`Runtime::pressure`](crate::Runtime::pressure) is watched. Laptop 100 MiB, workstation
    /// 400 MiB, server 800 MiB.
    pub trim_above: u64,
    /// Above this much the results cached in memory are dropped too, bytes. Twice `trim_above`.
    pub clear_above: u64,
    /// Events kept for subscribers that are slower than the publishers. Default 1,024, at some 60
    /// bytes each.
    pub events: usize,
    /// [`Runtime::upkeep`](crate::Runtime::upkeep) compacts a store when this share of it, in percent, and at least
    /// 1 MiB, is dead. Default 50, which rewrites about a byte per byte written; 100 or more turns it off.
    pub compact_above: u8,
    /// How often `upkeep` applies the retention of checkpoints. Default 30 minutes.
    pub sweep_every: Duration,
    /// Checkpoints of sessions that rest for longer are sealed: smaller, and a little slower to
    /// restore. Default 7 days.
    pub compress_after: Duration,
    /// Older checkpoints are deleted, a session's newest and labelled ones excepted. Default 30 days.
    pub delete_after: Duration,
    /// Joins a folder that another process has open, or that must not change: sessions can be resumed
    /// and read, as they were when it was opened. Default false.
    pub read_only: bool,
    /// Where the sessions lie: the fastest disk. Default `sessions` in the runtime's folder.
    pub sessions_dir: Option<PathBuf>,
    /// Where the checkpoints lie. Default `snapshots` in the runtime's folder.
    pub snapshots_dir: Option<PathBuf>,
    /// Where cached results lie, which may be deleted while no process has it open. Default `cache`
    /// in the runtime's folder.
    pub cache_dir: Option<PathBuf>,
}

impl Profile {
    /// The profile's values.
    #[must_use]
    pub fn config(self) -> Config {
        let scale = match self {
            Self::Laptop => 1,
            Self::Workstation => 4,
            Self::Server => 8,
        };
        const MINUTE: Duration = Duration::from_secs(60);
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Config {
            tools: 10,
            window: 200_000,
            max_output: 0,
            active_bytes: 10_000_000,
            interactions: 100,
            durability: Durability::Interval(Duration::from_millis(100)),
            cache_entries: 1_000,
            cache_ttl: 5 * MINUTE,
            cache_disk_entries: 50_000,
            cache_disk_bytes: 1 << 30,
            cache_disk_ttl: DAY,
            trim_above: scale * Pressure::TRIM_BYTES,
            clear_above: scale * Pressure::CLEAR_BYTES,
            events: 1_024,
            compact_above: 50,
            sweep_every: 30 * MINUTE,
            compress_after: 7 * DAY,
            delete_after: 30 * DAY,
            read_only: false,
            sessions_dir: None,
            snapshots_dir: None,
            cache_dir: None,
        }
    }
}

impl From<Profile> for Config {
    fn from(profile: Profile) -> Self {
        profile.config()
    }
}
