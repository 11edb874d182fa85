//! What a runtime may use, by kind of machine.

use std::time::Duration;

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

/// Every knob of a [`Runtime`](crate::Runtime). Start from a [`Profile`] and change what differs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Tool calls that run at once. Default 10.
    pub tools: usize,
    /// The context window in tokens. Default 200,000.
    pub window: usize,
    /// Tokens of the window kept free for the model's answer. Default 0.
    pub max_output: usize,
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
        Config {
            tools: 10,
            window: 200_000,
            max_output: 0,
            durability: Durability::Interval(Duration::from_millis(100)),
            cache_entries: 1_000,
            cache_ttl: Duration::from_secs(5 * 60),
            cache_disk_entries: 50_000,
            cache_disk_bytes: 1 << 30,
            cache_disk_ttl: Duration::from_secs(24 * 60 * 60),
            trim_above: scale * Pressure::TRIM_BYTES,
            clear_above: scale * Pressure::CLEAR_BYTES,
        }
    }
}

impl From<Profile> for Config {
    fn from(profile: Profile) -> Self {
        profile.config()
    }
}
