//! What no version needs any more: blocks, replaced segments, tails of writes that never finished.
//!
//! Threads are looked at one after the other, and commits go on meanwhile: blocks that are given while this runs stay.

use std::collections::HashSet;

use crate::block;
use crate::error::{Error, Result};
use crate::ledger::segment_key;
use crate::rewrite::delete_orphans;
use crate::signal::{self, Count};
use crate::store::{Cell, Store, lock};
use crate::text::BlockId;
use crate::upkeep::{GcReport, stored_bytes};

/// What somebody is still reading was left where it is.
pub(crate) fn still_read() -> Error {
    Error::InUse {
        what: "what is to be deleted (somebody is still reading; call again later)".into(),
    }
}

/// One pass, and whether nothing had to be left for readers; the turn must be the caller's.
pub(crate) fn gc(store: &Store) -> Result<(GcReport, bool)> {
    let mut report = GcReport::default();
    let mut all = true;
    let before = stored_bytes(store)?;
    let mut damaged = None;
    let mut used: HashSet<BlockId> = HashSet::new();
    for cell in store.ledgers()?.into_values() {
        report.segments += delete_orphans(store, &cell)?;
        all &= lock(&cell.ledger).orphans.is_empty();
        let work = lock(&cell.work);
        match mend_tails(store, &cell) {
            Ok(mended) => report.segments += mended,
            Err(error) if error.is_outage() => return Err(error),
            // The other threads are still seen to, but no block is deleted.
            Err(error) => drop(damaged.get_or_insert(error)),
        }
        used.extend(work.pending_blocks());
        let ledger = lock(&cell.ledger);
        let blocks = ledger
            .versions
            .values()
            .flat_map(|entry| &entry.meta.blocks);
        used.extend(blocks.map(|block| block.id));
    }
    if let Some(error) = damaged {
        return Err(error);
    }
    // Of a version that was pruned somebody may still be reading.
    match store.outlast_readers() {
        true => report.blocks = delete_blocks(store, &used)?,
        false => all = false,
    }
    report.bytes = before.saturating_sub(stored_bytes(store)?);
    signal::count(Count::Freed, report.bytes);
    Ok((report, all))
}

/// Deletes the blocks that are not used; gives how many.
fn delete_blocks(store: &Store, used: &HashSet<BlockId>) -> Result<u64> {
    let prefix = block::PREFIX;
    let entries = store.backing.list(prefix);
    let mut deleted = 0;
    for entry in entries.map_err(Error::io("list", prefix))? {
        if let Some(id) = block::id_of(&entry.key).filter(|id| !used.contains(id)) {
            let removed = store.known.remove(&*store.backing, &id, &entry.key)?;
            deleted += u64::from(removed);
        }
    }
    Ok(deleted)
}

/// Looks again at segments that an append to failed in this process.
fn recheck(store: &Store, cell: &Cell) -> Result<u64> {
    let mut removed = 0;
    loop {
        let Some(number) = lock(&cell.ledger).suspects.last().copied() else {
            return Ok(removed);
        };
        let key = segment_key(cell.uid, number);
        if !lock(&cell.ledger).segments.contains_key(&number) {
            // Its first write was reported as failed: whatever is there belongs to no version.
            store
                .backing
                .delete(&key)
                .map_err(Error::io("delete", &key))?;
            removed += 1;
        } else {
            // What stands behind the last acknowledged version belongs to none.
            let acknowledged = lock(&cell.ledger)
                .segments
                .get(&number)
                .map_or(u64::MAX, |info| info.stored);
            let bytes = store.get(&key)?;
            if bytes.len() as u64 > acknowledged {
                store
                    .backing
                    .put(&key, &bytes[..acknowledged as usize])
                    .map_err(Error::io("put", &key))?;
                removed += 1;
            }
            let flaw = store.segment(&key)?.flaw;
            if let Some(info) = lock(&cell.ledger).segments.get_mut(&number) {
                info.flaw = flaw;
            }
        }
        lock(&cell.ledger).suspects.remove(&number);
    }
}

/// Cuts off what a write that never finished has left. Damage that is no tail is left alone, and reported.
fn mend_tails(store: &Store, cell: &Cell) -> Result<u64> {
    let mut mended = recheck(store, cell)?;
    loop {
        let found = {
            let ledger = lock(&cell.ledger);
            if let Some(bad) = ledger.unreadable.iter().find(|bad| !bad.torn) {
                return Err(bad.error());
            }
            let torn = |(number, info): (&u64, &crate::ledger::SegmentInfo)| {
                let flaw = info.flaw.as_ref()?;
                Some((*number, flaw.clone()))
            };
            let bad = ledger.unreadable.last().map(|bad| bad.key.clone());
            (ledger.segments.iter().find_map(torn), bad)
        };
        match found {
            (_, Some(key)) => {
                store
                    .backing
                    .delete(&key)
                    .map_err(Error::io("delete", &key))?;
                lock(&cell.ledger).unreadable.pop();
            }
            (Some((number, flaw)), _) => {
                let key = segment_key(cell.uid, number);
                if !flaw.tail {
                    return Err(Error::damaged(&key, flaw.offset, flaw.what));
                }
                let bytes = store.get(&key)?;
                let good = bytes.slice(..flaw.offset.min(bytes.len()));
                store
                    .backing
                    .put(&key, &good)
                    .map_err(Error::io("put", &key))?;
                if let Some(info) = lock(&cell.ledger).segments.get_mut(&number) {
                    info.flaw = None;
                    info.stored = good.len() as u64;
                }
            }
            (None, None) => return Ok(mended),
        }
        mended += 1;
    }
}
