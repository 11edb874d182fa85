//! Taking what the log holds into the index.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::{Error, Result};
use crate::footer::{Directory, Version};
use crate::index::Place;
use crate::manifest::Manifest;
use crate::order;
use crate::queue::lock;
use crate::record::{Header, Kind, hash_key};
use crate::segment::{self, Segment};
use crate::store::Inner;
use crate::verify::Damage;
use crate::walk::{Found, Gap, Walk};

/// Takes the sealed segments that the checkpoint does not know into the index.
pub(crate) fn replay_sealed(inner: &Inner, manifest: &Manifest) -> Result<()> {
    let view = inner.view.load_full();
    let ranks: HashMap<u32, usize> = view
        .members
        .iter()
        .enumerate()
        .map(|(rank, s)| (s.id, rank))
        .collect();
    for (rank, (segment, member)) in view.members.iter().zip(&manifest.members).enumerate() {
        if !segment.sealed || member.covered {
            continue;
        }
        let is_newer = |place: Place| ranks.get(&place.segment()).is_some_and(|r| *r > rank);
        if !replay_footer(inner, segment, &is_newer)? {
            replay_log(inner, segment, &is_newer)?;
        }
    }
    Ok(())
}

fn replay_footer(
    inner: &Inner,
    segment: &Arc<Segment>,
    is_newer: &dyn Fn(Place) -> bool,
) -> Result<bool> {
    let Some(directory) = Directory::load(segment)? else {
        if segment.footer_at != 0 {
            let what = "the footer fails its check";
            let len = segment.tail() - segment.footer_at;
            let damage = Damage::new(&segment.name, segment.footer_at, len, what);
            lock(&inner.damage).push(damage);
        }
        return Ok(false);
    };
    let replayed = directory.for_each(segment, |key, version| {
        let header = header_of(inner, key, version);
        inner.point_unless(key, &header, segment, version.offset, is_newer);
    });
    match replayed {
        Ok(()) => Ok(true),
        // What was taken from it so far is right, and found again in the log.
        Err(e @ Error::Damaged { .. }) => {
            lock(&inner.damage).push(Damage::from_error(&segment.name, &e));
            Ok(false)
        }
        Err(e) => Err(e),
    }
}

/// The parts of a header that a footer's entry tells.
fn header_of(inner: &Inner, key: &[u8], version: &Version) -> Header {
    Header {
        body_check: 0,
        seq: 0,
        value_len: version.value_len,
        synced: 0,
        hash: hash_key(inner.store_id, key),
        key_len: key.len() as u16,
        kind: version.kind,
        continues: false,
    }
}

fn replay_log(
    inner: &Inner,
    segment: &Arc<Segment>,
    is_newer: &dyn Fn(Place) -> bool,
) -> Result<()> {
    let mut walk = Walk::all(segment);
    while let Some(found) = walk.next()? {
        match found {
            Found::Record(offset, record) if record.header.kind != Kind::Footer => {
                let key = record.key();
                inner.point_unless(key, &record.header, segment, offset, is_newer);
            }
            Found::Record(..) => {}
            Found::Damage(gap) => note_damage(inner, segment, &gap),
        }
    }
    Ok(())
}

/// Reports a damaged stretch. Where the header tells the hash of the key, reading that key fails
/// from now on, rather than showing an older value.
fn note_damage(inner: &Inner, segment: &Segment, gap: &Gap) {
    segment.flawed.store(true, Ordering::Relaxed);
    lock(&inner.damage).push(Damage::in_segment(segment, gap));
    let Some(header) = gap.header.filter(|h| h.kind != Kind::Footer) else {
        return;
    };
    let view = inner.view.load();
    for old in view.index.candidates(header.hash).iter() {
        view.index.swap(header.hash, Some(old), None);
    }
    let place = Place::new(segment.id, gap.offset, header.total());
    view.index.swap(header.hash, None, Some(place));
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
        inner.point_to(record.key(), &record.header, segment, offset);
        if let Some(order) = order.as_mut() {
            order::note(order, record.key(), &record.header, offset);
        }
    }
}
