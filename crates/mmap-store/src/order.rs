//! The keys of the active segment in order, and the same for a sealed one that lost its footer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::Result;
use crate::footer::{Order, Version};
use crate::record::{Header, Kind};
use crate::segment::Segment;
use crate::verify::Damage;
use crate::walk::{Found, Walk};

pub(crate) fn note(order: &mut Order, key: &[u8], header: &Header, offset: u64) {
    if header.kind == Kind::Footer {
        return;
    }
    let version = Version {
        offset,
        value_len: header.value_len,
        kind: header.kind,
    };
    match order.get_mut(key) {
        Some(known) => *known = version,
        None => {
            order.insert(key.into(), version);
        }
    }
}

/// Reads all records of a segment; what cannot be read is listed.
pub(crate) fn build(segment: &Arc<Segment>) -> Result<(Order, Vec<Damage>)> {
    let mut order = Order::new();
    let mut damage = Vec::new();
    let mut walk = Walk::all(segment);
    while let Some(found) = walk.next()? {
        match found {
            Found::Record(offset, record) => note(&mut order, record.key(), &record.header, offset),
            Found::Damage(gap) => damage.push(Damage::in_segment(segment, &gap)),
        }
    }
    if !damage.is_empty() {
        segment.flawed.store(true, Ordering::Relaxed);
    }
    Ok((order, damage))
}
