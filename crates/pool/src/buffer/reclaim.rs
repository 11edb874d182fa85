//! When a pool of buffers runs its passes, and what they did.

use std::time::Duration;

use super::builder::{BufferPoolBuilder, Clock};
use crate::pressure::Reclaimed;
use crate::sync::{AtomicU64, AtomicUsize, Mutex};

/// When to run passes, what they took out, and how many there were.
pub(super) struct Reclaim {
    pub(super) young_after: usize,
    pub(super) full_after: u64,
    pub(super) full_every: Duration,
    pub(super) clock: Clock,
    pub(super) steps: AtomicUsize,
    pub(super) last_full: Mutex<Duration>,
    /// What the last young and the last full pass took out.
    pub(super) last: Mutex<[Reclaimed; 2]>,
    pub(super) young_passes: AtomicU64,
    pub(super) full_passes: AtomicU64,
    pub(super) reclaimed: AtomicU64,
}

impl Reclaim {
    pub(super) fn new(settings: BufferPoolBuilder) -> Self {
        Self {
            young_after: settings.young_after,
            full_after: settings.full_after,
            full_every: settings.full_every,
            last_full: Mutex::new((settings.clock)()),
            clock: settings.clock,
            steps: AtomicUsize::new(0),
            last: Mutex::new([Reclaimed::default(); 2]),
            young_passes: AtomicU64::new(0),
            full_passes: AtomicU64::new(0),
            reclaimed: AtomicU64::new(0),
        }
    }
}
