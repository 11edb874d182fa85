use crate::error::{Error, Result};
use crate::snapshots::Snapshots;
use crate::store::lock;
use crate::{block, ledger};

/// What is stored, in bytes.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// Threads that are open in memory.
    pub threads: u64,
    /// Their versions.
    pub versions: u64,
    /// Compressed operations of full versions, and blocks.
    pub baseline: u64,
    /// Everything else: operations of incremental versions, headers, checksums.
    pub deltas: u64,
    /// All that the backing holds for this store.
    pub total: u64,
    /// What all versions would take if each were stored as it is.
    pub logical: u64,
    /// `total / logical`; 0 when nothing was committed.
    pub ratio: f64,
    /// Keys in the backing.
    pub keys: u64,
    /// Places where stored data of the open threads was found damaged or unfinished.
    pub flaws: u64,
}

impl Snapshots {
    /// Sizes as the backing lists them, and counts of the threads that are open. Reads no segment.
    ///
    /// # Errors
    /// When the backing cannot be listed.
    pub fn stats(&self) -> Result<Stats> {
        let mut stats = Stats::default();
        for entry in self.store.backing.list("").map_err(Error::io("list", ""))? {
            stats.keys += 1;
            stats.total += entry.len;
            if entry.key.starts_with(block::PREFIX) {
                stats.baseline += entry.len;
            } else if !entry.key.starts_with(ledger::PREFIX) {
                stats.keys -= 1;
                stats.total -= entry.len;
            }
        }
        for cell in self.store.open_cells() {
            let ledger = lock(&cell.ledger);
            stats.threads += 1;
            stats.versions += ledger.entries().count() as u64;
            let sizes = ledger.entries().map(|entry| entry.meta.size);
            stats.logical = sizes.fold(stats.logical, u64::saturating_add);
            stats.baseline += ledger
                .segments
                .values()
                .map(|info| info.full_bytes)
                .sum::<u64>();
            let flaws = ledger
                .segments
                .values()
                .filter(|info| info.flaw.is_some())
                .count();
            stats.flaws += (flaws + ledger.unreadable.len()) as u64;
        }
        stats.deltas = stats.total.saturating_sub(stats.baseline);
        if stats.logical > 0 {
            stats.ratio = stats.total as f64 / stats.logical as f64;
        }
        Ok(stats)
    }
}
