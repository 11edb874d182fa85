//! Reading a segment from front to back, past damage, and telling a torn tail from damage.

use std::sync::Arc;

use bytes::Bytes;

use crate::error::Result;
use crate::record::{ALIGN, HEADER, Header};
use crate::segment::{Record, START, Segment};

const WINDOW: u64 = 256 << 10;

/// What lies at one place of a segment.
#[derive(Debug)]
pub(crate) enum Found {
    Record(u64, Record),
    Damage(Gap),
}

/// A stretch that holds no readable record although one was there.
#[derive(Debug, Clone)]
pub(crate) struct Gap {
    pub(crate) offset: u64,
    pub(crate) len: u64,
    pub(crate) what: &'static str,
    /// The header, where only what is behind it is bad.
    pub(crate) header: Option<Header>,
}

/// Walks over the records of a segment.
///
/// Below `known` everything was durable once, so whatever fails its check there is damage. From
/// `known` on a failed check ends the walk, unless a later record proves that this place was
/// durable when it was written.
#[derive(Debug)]
pub(crate) struct Walk {
    segment: Arc<Segment>,
    at: u64,
    known: u64,
    end: u64,
    last_seq: u64,
    window: Bytes,
    window_at: u64,
}

impl Walk {
    /// Over `from..end`, of which everything before `known` must be good.
    pub(crate) fn new(segment: &Arc<Segment>, from: u64, known: u64, end: u64) -> Self {
        Self {
            segment: Arc::clone(segment),
            at: from.max(START),
            known: known.min(end),
            end,
            last_seq: 0,
            window: Bytes::new(),
            window_at: 0,
        }
    }

    /// Over all records of a segment that is not written any more.
    pub(crate) fn all(segment: &Arc<Segment>) -> Self {
        let end = segment.records_end();
        Self::new(segment, START, end, end)
    }

    /// Where the next record would begin; after the last item, the end of what is good.
    pub(crate) fn position(&self) -> u64 {
        self.at
    }

    pub(crate) fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// The next record or the next damaged stretch; `None` at the end.
    ///
    /// # Errors
    /// Only what the system says: damage is an item.
    pub(crate) fn next(&mut self) -> Result<Option<Found>> {
        if self.at >= self.end {
            return Ok(None);
        }
        let at = self.at;
        match self.try_record(at, self.last_seq)? {
            Ok(record) => Ok(Some(self.step_onto(at, record))),
            Err(header) => self.step_over(at, header),
        }
    }

    fn step_onto(&mut self, at: u64, record: Record) -> Found {
        self.last_seq = record.header.seq;
        self.at = at + record.header.total();
        Found::Record(at, record)
    }

    /// The record at `at`, or what is left of its header.
    fn try_record(&mut self, at: u64, after: u64) -> Result<Result<Record, Option<Header>>> {
        let bytes = self.window(at, HEADER as u64)?;
        let Some(header) = Header::decode(&bytes, self.segment.salt, at) else {
            return Ok(Err(None));
        };
        let total = header.total();
        if total > self.end - at || header.seq <= after {
            return Ok(Err(None));
        }
        let frame = self.window(at, total)?;
        Ok(match header.body_is_good(&frame) {
            true => Ok(Record::new(header, frame.slice(..total as usize))),
            false => Err(Some(header)),
        })
    }

    fn step_over(&mut self, at: u64, header: Option<Header>) -> Result<Option<Found>> {
        let known = at < self.known;
        // A good header gives the length, so that the search is needed for proof only.
        let next = match header {
            Some(header) if known => Some(at + header.total()),
            _ => self.search(at, known)?,
        };
        if next.is_some() && !known {
            // The writer may have been here since the window was read.
            self.window = Bytes::new();
            if let Ok(record) = self.try_record(at, self.last_seq)? {
                return Ok(Some(self.step_onto(at, record)));
            }
        }
        let next = match (next, known) {
            (Some(next), _) => next,
            (None, true) => self.known,
            (None, false) => return Ok(None),
        };
        let next = header.map_or(next, |h| (at + h.total()).min(next));
        self.at = next;
        let what = match header {
            Some(_) => "a record's contents fail their check",
            None => "no record can be read here",
        };
        if let Some(header) = header {
            self.last_seq = self.last_seq.max(header.seq);
        }
        Ok(Some(Found::Damage(Gap {
            offset: at,
            len: next - at,
            what,
            header,
        })))
    }

    /// The next good record behind `at`. Outside the known part it counts only if this record or a
    /// later one was written when `at` was durable already.
    fn search(&mut self, at: u64, known: bool) -> Result<Option<u64>> {
        let mut first = None;
        let mut probe = at + ALIGN;
        while probe + HEADER as u64 <= self.end {
            if known && probe >= self.known {
                return Ok(None);
            }
            match self.try_record(probe, self.last_seq)? {
                Ok(record) => {
                    let next = *first.get_or_insert(probe);
                    if known || record.header.synced > at {
                        return Ok(Some(next));
                    }
                    probe += record.header.total();
                }
                Err(_) => probe += ALIGN,
            }
        }
        Ok(None)
    }

    /// At least `len` bytes at `at`, fewer only at the end.
    fn window(&mut self, at: u64, len: u64) -> Result<Bytes> {
        let len = len.min(self.end - at);
        let inside = at >= self.window_at && at + len <= self.window_at + self.window.len() as u64;
        if !inside {
            let want = len.max(WINDOW).min(self.end - at);
            self.window = self.segment.bytes(at, want)?;
            self.window_at = at;
        }
        let start = (at - self.window_at) as usize;
        Ok(self.window.slice(start.min(self.window.len())..))
    }
}
