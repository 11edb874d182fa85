//! What a thread's segments hold: built by reading them once, then kept in step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::{fmt, io};

use crate::error::{Error, GET, Result};
use crate::segment::{Flaw, Header, Meta, Parent, Segment, UNFINISHED};
use crate::version::VersionId;

pub(crate) const PREFIX: &str = "s/";

pub(crate) fn thread_prefix(thread: u64) -> String {
    format!("{PREFIX}{thread:016x}/")
}

pub(crate) fn segment_key(thread: u64, number: u64) -> String {
    format!("{PREFIX}{thread:016x}/{number:x}")
}

/// Thread and number in the key of a segment.
pub(crate) fn parse_key(key: &str) -> Option<(u64, u64)> {
    let (thread, number) = key.strip_prefix(PREFIX)?.split_once('/')?;
    let parsed = (
        u64::from_str_radix(thread, 16).ok()?,
        u64::from_str_radix(number, 16).ok()?,
    );
    (segment_key(parsed.0, parsed.1) == key).then_some(parsed)
}

#[derive(Debug, Clone)]
pub(crate) struct SegmentInfo {
    pub(crate) header: Header,
    pub(crate) flaw: Option<Flaw>,
    pub(crate) stored: u64,
    /// Bytes of its operations, decompressed.
    pub(crate) ops: u64,
    /// Payload bytes of groups with a full version, and of the others.
    pub(crate) full_bytes: u64,
    pub(crate) last: Option<u64>,
    /// Complete and compressed as one.
    pub(crate) sealed: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) segment: u64,
    pub(crate) meta: Meta,
    pub(crate) parent: Option<VersionId>,
    /// Bytes of operations from the start of the segment to the end of this version.
    pub(crate) ops_end: u64,
    pub(crate) damaged: bool,
    /// Pruned; what is kept may still be stored on top of it.
    pub(crate) dropped: bool,
}

/// A place that does not fit, found while reading.
#[derive(Debug, Clone)]
pub(crate) struct Unreadable {
    pub(crate) key: String,
    why: Why,
    /// The first write to a segment that did not finish.
    pub(crate) torn: bool,
}

#[derive(Debug, Clone)]
enum Why {
    Damaged {
        offset: u64,
        what: &'static str,
    },
    /// The backing would not give it.
    Refused(Arc<io::Error>),
}

impl Unreadable {
    /// Keeps damage; other errors are given back.
    fn new(key: String, error: Error) -> Result<Self> {
        match error {
            Error::Damaged { offset, what, .. } => Ok(Self {
                key,
                why: Why::Damaged { offset, what },
                torn: what == UNFINISHED,
            }),
            Error::Io { source, .. } if error.is_damage() => Ok(Self {
                key,
                why: Why::Refused(Arc::new(source)),
                torn: false,
            }),
            other => Err(other),
        }
    }

    /// The error that it was found with, as often as it is asked for.
    pub(crate) fn error(&self) -> Error {
        match &self.why {
            Why::Damaged { offset, what } => Error::damaged(&self.key, *offset as usize, what),
            Why::Refused(source) => {
                Error::io(GET, &self.key)(io::Error::new(source.kind(), Again(source.clone())))
            }
        }
    }
}

/// An error of the backing, told once more in its own words.
#[derive(Debug)]
struct Again(Arc<io::Error>);

impl fmt::Display for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Again {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) thread: u64,
    pub(crate) segments: BTreeMap<u64, SegmentInfo>,
    pub(crate) versions: BTreeMap<u64, Entry>,
    pub(crate) head: Option<VersionId>,
    pub(crate) next_segment: u64,
    pub(crate) next_seq: u64,
    pub(crate) unreadable: Vec<Unreadable>,
    /// Keys of segments that others replace: left by a crash.
    pub(crate) orphans: Vec<String>,
    /// Versions that a prune is about to take away: nobody may fork them now.
    pub(crate) leaving: BTreeSet<u64>,
    /// Segments that an append to failed in this process.
    pub(crate) suspects: BTreeSet<u64>,
    /// Some segment cannot be read, so the head may not be the newest version: nothing is committed until the caller
    /// has chosen a version to go on from.
    pub(crate) blocked: bool,
}

impl Ledger {
    pub(crate) fn new(thread: u64) -> Self {
        Self {
            thread,
            next_segment: 1,
            next_seq: 1,
            ..Self::default()
        }
    }

    /// Takes over what was read; segments come in the order of their numbers.
    pub(crate) fn load(thread: u64, read: Vec<(u64, u64, Result<Segment>)>) -> Result<Self> {
        let mut ledger = Self::new(thread);
        let good = read
            .iter()
            .filter_map(|(_, _, segment)| segment.as_ref().ok());
        let replaced = good
            .map(|segment| segment.header.replaces)
            .max()
            .unwrap_or(0);
        for (number, stored, segment) in read {
            ledger.next_segment = ledger.next_segment.max(number.saturating_add(1));
            let key = segment_key(thread, number);
            if number < replaced {
                ledger.orphans.push(key);
                continue;
            }
            match segment {
                Ok(segment) => ledger.add(number, stored, &segment),
                Err(error) => ledger.unreadable.push(Unreadable::new(key, error)?),
            }
        }
        ledger.unmask_damage();
        ledger.blocked = ledger.unreadable.iter().any(|bad| !bad.torn);
        // Not the last one of the last segment: that may be a rewrite which a crash has cut short.
        let newest = ledger.versions.keys().next_back();
        ledger.head = newest.map(|seq| ledger.id(*seq));
        Ok(ledger)
    }

    /// A segment whose end does not fit is no unfinished write when a later one continues what stood there.
    fn unmask_damage(&mut self) {
        let lost: Vec<(u64, u64)> = self
            .segments
            .iter()
            .filter_map(|(number, info)| {
                // Whether or not it is stored on top of it: the parent was there when this was written.
                let parent = info.header.parent.as_ref()?.id;
                let lost = parent.thread == self.thread && !self.versions.contains_key(&parent.seq);
                lost.then_some((*number, parent.seq))
            })
            .collect();
        for (later, seq) in lost {
            for (_, info) in self.segments.range_mut(..later) {
                if let Some(flaw) = &mut info.flaw
                    && info.last.is_none_or(|last| last < seq)
                {
                    flaw.tail = false;
                }
            }
        }
    }

    /// Fails while damage hides which version is the newest.
    pub(crate) fn unblocked(&self) -> Result<()> {
        match self.hidden().filter(|_| self.blocked) {
            Some(damage) => Err(damage),
            None => Ok(()),
        }
    }

    /// Damage that hides versions nobody knows of.
    pub(crate) fn hidden(&self) -> Option<Error> {
        let mut damaged = self.unreadable.iter().filter(|bad| !bad.torn);
        damaged.next().map(Unreadable::error)
    }

    /// The caller has chosen a version to go on from; numbers that the lost ones may have had are not used again.
    pub(crate) fn go_on_from(&mut self, version: VersionId) {
        self.head = Some(version);
        if std::mem::take(&mut self.blocked) {
            self.next_seq = self.next_seq.saturating_add(1 << 16);
        }
    }

    pub(crate) fn id(&self, seq: u64) -> VersionId {
        VersionId {
            thread: self.thread,
            seq,
        }
    }

    /// Adds a whole segment.
    pub(crate) fn add(&mut self, number: u64, stored: u64, segment: &Segment) {
        self.open_segment(number, segment.header.clone());
        for (index, group) in segment.groups.iter().enumerate() {
            let damaged = segment
                .flaw
                .as_ref()
                .is_some_and(|flaw| index >= flaw.from_group);
            for meta in &group.versions {
                self.push(number, meta.clone(), damaged);
            }
            let full = group.versions.iter().any(|meta| meta.full);
            self.grow(number, 0, if full { group.payload.len() as u64 } else { 0 });
        }
        if let Some(info) = self.segments.get_mut(&number) {
            info.stored = stored;
            info.flaw = segment.flaw.clone();
            info.sealed = segment.groups.last().is_some_and(|group| group.ends_frame);
        }
    }

    pub(crate) fn open_segment(&mut self, number: u64, header: Header) {
        self.next_segment = self.next_segment.max(number.saturating_add(1));
        self.next_seq = self
            .next_seq
            .max(header.seq.saturating_add(1))
            .max(header.next_seq);
        self.segments.insert(
            number,
            SegmentInfo {
                header,
                flaw: None,
                stored: 0,
                ops: 0,
                full_bytes: 0,
                last: None,
                sealed: false,
            },
        );
    }

    pub(crate) fn grow(&mut self, number: u64, stored: u64, full_bytes: u64) {
        if let Some(info) = self.segments.get_mut(&number) {
            info.stored += stored;
            info.full_bytes += full_bytes;
        }
    }

    /// The next version of a segment. A later segment's version replaces one of the same number: the earlier one belongs
    /// to a commit that was reported as failed, or was rewritten.
    pub(crate) fn push(&mut self, number: u64, meta: Meta, damaged: bool) {
        let thread = self.thread;
        let Some(info) = self.segments.get_mut(&number) else {
            return;
        };
        let last = info
            .last
            .replace(meta.seq)
            .map(|seq| VersionId { thread, seq });
        info.ops = info.ops.saturating_add(meta.ops);
        let parent = last.or_else(|| info.header.parent.as_ref().map(|p| p.id));
        let seq = meta.seq;
        self.next_seq = self.next_seq.max(seq.saturating_add(1));
        let entry = Entry {
            segment: number,
            ops_end: info.ops,
            parent,
            damaged,
            dropped: false,
            meta,
        };
        self.versions.insert(seq, entry);
    }

    /// Any version that something may be stored on top of.
    pub(crate) fn stored(&self, seq: u64) -> Result<&Entry> {
        self.versions.get(&seq).ok_or_else(|| {
            // It may have stood where nothing can be read: that is not to say that there is none.
            let missing = || Error::missing("version", self.id(seq).to_string());
            self.hidden().unwrap_or_else(missing)
        })
    }

    /// A version that was not pruned.
    pub(crate) fn entry(&self, seq: u64) -> Result<&Entry> {
        self.stored(seq).and_then(|entry| match entry.dropped {
            true => Err(Error::missing("version", self.id(seq).to_string())),
            false => Ok(entry),
        })
    }

    /// Versions that were not pruned, oldest first.
    pub(crate) fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.versions.values().filter(|entry| !entry.dropped)
    }

    /// What the operations of a segment apply to.
    pub(crate) fn base_of(&self, number: u64) -> Option<&Parent> {
        let parent = self.segments.get(&number)?.header.parent.as_ref()?;
        parent.is_base.then_some(parent)
    }
}
