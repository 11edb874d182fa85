//! Zeros ahead of the log.

use std::sync::atomic::Ordering;

use crate::error::{Error, Result, is_full};
use crate::mapping;
use crate::segment::Segment;
use crate::stats::add;
use crate::storage::write_all;
use crate::store::Inner;
use crate::writer::Writer;

/// What a system caches as one piece, where it was written whole for the first time: readers then need
/// a translation per block, not one per page, to reach a record.
pub(crate) const BLOCK: u64 = 2 << 20;

impl Writer {
    pub(crate) fn note_reserved(&mut self, inner: &Inner, end: u64) {
        self.reserved = end;
        inner.counters.reserved.store(end, Ordering::Relaxed);
    }

    /// Writes zeros behind `end`, if there are none yet and it pays.
    pub(crate) fn reserve(
        &mut self,
        inner: &Inner,
        segment: &Segment,
        end: u64,
        bytes: u64,
    ) -> Result<()> {
        let ahead = inner.options.preallocate;
        if end <= self.reserved || bytes >= ahead {
            return Ok(());
        }
        let zeros = vec![0; ahead as usize];
        match write_all(&*segment.file, &zeros, end) {
            Ok(()) => {
                add(&inner.counters.written, ahead);
                self.reserved = end + ahead;
                Ok(())
            }
            Err(e) if is_full(&e) => {
                // There may be room for the record itself.
                self.take_back(inner, segment, end.saturating_sub(bytes))
            }
            Err(e) => Err(inner.poison(Error::io("write to", segment.name.as_str(), e))),
        }
    }

    /// Has the system make room in its cache for the whole block in which a group of `bytes` behind
    /// `tail` ends, as one piece, if it begins within that group and so was never written to. The
    /// blocks before it are written whole. Costs no disk: the file ends in a hole meanwhile.
    pub(crate) fn reserve_block(
        &mut self,
        inner: &Inner,
        segment: &Segment,
        tail: u64,
        bytes: u64,
    ) {
        let end = tail + bytes;
        let block = end / BLOCK * BLOCK;
        let is_new = block >= tail.max(self.reserved) && block < end;
        if is_new && inner.options.whole_blocks {
            // Without it readers are slower, that is all.
            if let Ok(true) = mapping::cache_whole(&*segment.file, block, BLOCK) {
                self.reserved = block + BLOCK;
            }
        }
    }
}
