//! Scans in the order of insertion.

use std::fmt;
use std::sync::Arc;
use std::vec::IntoIter;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::record::Kind;
use crate::segment::{Record, START, Segment};
use crate::store::Store;
use crate::verify::Damage;
use crate::walk::{Found, Walk};

/// One pair of a [`ScanInserted`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inserted {
    /// The number of the write. `number + 1` continues a scan behind this pair.
    pub number: u64,
    /// The key.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
}

/// The pairs in the order in which their present values were written, made by
/// [`Store::scan_inserted`](crate::Store::scan_inserted). Holds one window of 256 KiB of the log.
pub struct ScanInserted {
    store: Store,
    from: u64,
    segments: IntoIter<(Arc<Segment>, u64)>,
    walk: Option<(Arc<Segment>, Walk)>,
}

impl fmt::Debug for ScanInserted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScanInserted")
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

impl ScanInserted {
    pub(crate) fn new(store: &Store, from: u64) -> Self {
        let members = store.inner.view.load().members.clone();
        // Numbers grow from segment to segment: skip those that end before `from`.
        let first = members
            .partition_point(|s| s.base_seq <= from)
            .saturating_sub(1);
        let segments: Vec<_> = members[first.min(members.len())..]
            .iter()
            .map(|s| (Arc::clone(s), s.records_end()))
            .collect();
        Self {
            store: store.clone(),
            from,
            segments: segments.into_iter(),
            walk: None,
        }
    }

    fn accept(&self, segment: &Segment, offset: u64, record: Record) -> Option<Result<Inserted>> {
        let number = record.header.seq;
        if record.header.kind != Kind::Put || number < self.from {
            return None;
        }
        // The record is alive if the index points at it, or at its copy in a newer segment.
        match self.store.inner.locate(record.key(), false) {
            Err(e) => return Some(Err(e)),
            Ok(Some((place, header))) => {
                let here = place.segment() == segment.id && place.offset() == offset;
                if !here && header.is_none_or(|h| h.seq != number) {
                    return None;
                }
            }
            Ok(None) => return None,
        }
        let pair = segment.pair_of(record, offset);
        Some(pair.map(|(key, value)| Inserted { number, key, value }))
    }
}

impl Iterator for ScanInserted {
    type Item = Result<Inserted>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some((segment, mut walk)) = self.walk.take() else {
                let (segment, end) = self.segments.next()?;
                let walk = Walk::new(&segment, START, end, end);
                self.walk = Some((segment, walk));
                continue;
            };
            let item = match walk.next() {
                Ok(None) => continue,
                Ok(Some(Found::Record(offset, record))) => self.accept(&segment, offset, record),
                Ok(Some(Found::Damage(gap))) => {
                    Some(Err(Error::from(Damage::in_segment(&segment, &gap))))
                }
                // What cannot be read now ends this segment, not the scan.
                Err(e) => return Some(Err(e)),
            };
            self.walk = Some((segment, walk));
            if item.is_some() {
                return item;
            }
        }
    }
}
