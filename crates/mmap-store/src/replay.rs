//! Taking what the log holds into the index.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::{Error, Result};
use crate::footer::{Directory, Version};
use crate::index::Waiting;
use crate::order;
use crate::place::Place;
use crate::queue::lock;
use crate::record::{Header, Kind, hash_key};
use crate::segment::{self, START, Segment};
use crate::store::Inner;
use crate::table::Change;
use crate::verify::Damage;
use crate::walk::{Found, Gap, Walk};

/// What is told of the log, oldest first.
pub(crate) trait Sink {
    /// A put or a tombstone. From a footer come only the newest of each key, in the order of keys,
    /// and of the header only what a footer's entry tells.
    fn record(&mut self, segment: &Arc<Segment>, offset: u64, key: &[u8], header: &Header);
    /// A stretch that cannot be read.
    fn gap(&mut self, segment: &Arc<Segment>, gap: &Gap);
    /// A damaged footer. Its records follow all the same, some of them twice.
    fn damage(&mut self, damage: Damage);
}

/// Tells of the records of a segment before `end`: from its footer if it has a good one.
pub(crate) fn visit(
    segment: &Arc<Segment>,
    store_id: u64,
    end: u64,
    sink: &mut dyn Sink,
) -> Result<()> {
    if segment.sealed && visit_footer(segment, store_id, sink)? {
        return Ok(());
    }
    let end = end.min(segment.records_end());
    let mut walk = Walk::new(segment, START, end, end);
    while let Some(found) = walk.next()? {
        match found {
            Found::Record(offset, record) if record.header.kind != Kind::Footer => {
                sink.record(segment, offset, record.key(), &record.header);
            }
            Found::Record(..) => {}
            Found::Damage(gap) => sink.gap(segment, &gap),
        }
    }
    Ok(())
}

fn visit_footer(segment: &Arc<Segment>, store_id: u64, sink: &mut dyn Sink) -> Result<bool> {
    let Some(directory) = Directory::load(segment)? else {
        if segment.footer_at != 0 {
            let what = "the footer fails its check";
            let len = segment.tail() - segment.footer_at;
            sink.damage(Damage::new(&segment.name, segment.footer_at, len, what));
        }
        return Ok(false);
    };
    let told = directory.for_each(segment, |key, version| {
        sink.record(
            segment,
            version.offset,
            key,
            &header_of(store_id, key, version),
        );
    });
    match told {
        Ok(()) => Ok(true),
        // What was told so far is right, and found again in the log.
        Err(e @ Error::Damaged { .. }) => {
            sink.damage(Damage::from_error(&segment.name, &e));
            Ok(false)
        }
        Err(e) => Err(e),
    }
}

/// The parts of a header that a footer's entry tells.
fn header_of(store_id: u64, key: &[u8], version: &Version) -> Header {
    Header {
        body_check: 0,
        seq: 0,
        value_len: version.value_len,
        synced: 0,
        hash: hash_key(store_id, key),
        key_len: key.len() as u16,
        kind: version.kind,
        continues: false,
        packed: false,
    }
}

/// Takes all sealed segments into an index that knows none of them.
pub(crate) fn replay_sealed(inner: &Inner) -> Result<()> {
    let view = inner.view.load_full();
    for segment in view.members.iter().filter(|s| s.sealed) {
        visit(
            segment,
            inner.store_id,
            segment.tail(),
            &mut IntoIndex(inner),
        )?;
    }
    Ok(())
}

struct IntoIndex<'a>(&'a Inner);

impl Sink for IntoIndex<'_> {
    fn record(&mut self, segment: &Arc<Segment>, offset: u64, key: &[u8], header: &Header) {
        self.0.point_to(key, header, segment, offset);
    }

    fn gap(&mut self, segment: &Arc<Segment>, gap: &Gap) {
        note_damage(self.0, segment, gap);
    }

    fn damage(&mut self, damage: Damage) {
        lock(&self.0.view.load().index.damage).push(damage);
    }
}

/// Reports a damaged stretch. Where the header tells the hash of the key, reading that key fails
/// from now on, rather than showing an older value.
fn note_damage(inner: &Inner, segment: &Segment, gap: &Gap) {
    segment.flawed.store(true, Ordering::Relaxed);
    let view = inner.view.load();
    lock(&view.index.damage).push(Damage::in_segment(segment, gap));
    let Some(header) = gap.header.filter(|h| h.kind != Kind::Footer) else {
        return;
    };
    let hash = header.hash;
    let change = |old, new| view.index.change(Change { hash, old, new });
    // A shard that cannot be read keeps its secret: looking there fails.
    let Ok(candidates) = view.index.candidates(hash) else {
        return;
    };
    for old in candidates.iter() {
        change(Some(old), None);
    }
    let place = Place::new(segment.id, gap.offset, header.total());
    change(None, Some(place));
}

/// Takes in what the active segment holds behind `from`, up to the end of what is whole.
pub(crate) fn replay_active(
    inner: &Inner,
    segment: &Arc<Segment>,
    from: u64,
    known: u64,
) -> Result<u64> {
    let size = segment
        .file
        .size()
        .map_err(|e| Error::io("measure", segment.name.as_str(), e))?;
    let mut walk = Walk::new(segment, from, known, size);
    let mut batch = Vec::new();
    while let Some(found) = walk.next()? {
        match found {
            Found::Record(offset, record) => {
                let last = !record.header.continues;
                batch.push((offset, record));
                if last {
                    admit(inner, segment, &mut batch, walk.position());
                }
            }
            Found::Damage(gap) => {
                // What came before it was durable too, or nothing could prove the damage.
                admit(inner, segment, &mut batch, gap.offset);
                segment.set_tail(gap.offset + gap.len);
                note_damage(inner, segment, &gap);
            }
        }
    }
    Ok(walk.last_seq())
}

fn admit(inner: &Inner, segment: &Arc<Segment>, batch: &mut Vec<(u64, segment::Record)>, end: u64) {
    let mut order = lock(&inner.order);
    segment.set_tail(end);
    for (offset, record) in batch.drain(..) {
        if record.header.kind == Kind::Footer {
            continue;
        }
        take_in(inner, segment, offset, &record);
        if let Some(order) = order.as_mut() {
            order::note(order, record.key(), &record.header, offset);
        }
    }
}

/// Leaves the record to the loading of its shard, unless that is loaded.
fn take_in(inner: &Inner, segment: &Arc<Segment>, offset: u64, record: &segment::Record) {
    let header = &record.header;
    let deletes = header.kind == Kind::Delete;
    let waiting = Waiting::Record {
        hash: header.hash,
        place: Place::new(segment.id, offset, header.total()),
        deletes,
    };
    if !inner.view.load().index.defer(waiting) {
        inner.point_to(record.key(), header, segment, offset);
    } else if !deletes {
        segment.live.add(header.bytes());
    }
}
