//! From a key to its record.

use std::cell::Cell;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::place::Place;
use crate::record::{Header, hash_key};
use crate::store::Inner;
use crate::view::View;

/// The filter of absent keys is asked by a thread in whose last lookups misses were as frequent as
/// hits.
const MANY: u8 = 2;
const MOST: u8 = 3;

thread_local! {
    /// Up for a miss, one down for a hit.
    static MISSES: Cell<u8> = const { Cell::new(MANY) };
}

impl Inner {
    #[inline]
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let hash = hash_key(self.store_id, key);
        // Who finds what it asks for would only wait for the filter's memory.
        if MISSES.get() >= MANY && self.rules_out(hash) {
            MISSES.set(MOST);
            return Ok(None);
        }
        self.find_and_note(hash, key)
    }

    // Apart, so that a miss does not pay for what only a hit needs.
    #[inline(never)]
    fn find_and_note(&self, hash: u32, key: &[u8]) -> Result<Option<Bytes>> {
        let found = self.find(hash, key);
        let misses = MISSES.get();
        match &found {
            Ok(Some(_)) => MISSES.set(misses.saturating_sub(1)),
            Ok(None) => MISSES.set(MOST.min(misses + 1)),
            Err(_) => {}
        }
        found
    }

    fn find(&self, hash: u32, key: &[u8]) -> Result<Option<Bytes>> {
        'moved: loop {
            let view = self.view.load();
            let candidates = view.index.candidates(hash)?;
            if candidates.is_empty() {
                return Ok(None);
            }
            // An entry that is younger than the view may point to a segment that it does not know.
            for place in candidates.iter() {
                let Some(segment) = view.segment(place) else {
                    if self.is_gone(place) {
                        return Err(gone(place));
                    }
                    continue 'moved;
                };
                let found = segment.find(place, key)?;
                if found.is_some() {
                    return Ok(found);
                }
            }
            return Ok(None);
        }
    }

    /// Goes on with a view that has an index of its own.
    pub(crate) fn replace_index(&self, view: Arc<View>) {
        let index = Arc::clone(&view.index);
        debug_assert!(Arc::ptr_eq(&self.absence, &index.absence));
        // First nothing is ruled out, so that nobody who saw the new view is told of the old one.
        index.claim_absence();
        self.view.store(view);
        index.fill_absence();
    }

    /// True if no key of this hash is there, as most keys that are not there are told by. Takes no
    /// lock and counts no reference.
    #[inline]
    fn rules_out(&self, hash: u32) -> bool {
        self.absence.rules_out(hash)
    }

    /// True if the index points to a segment that does not exist, which only damage can bring
    /// about. A compaction moves all entries before it lets go of a segment, hence the order.
    fn is_gone(&self, place: Place) -> bool {
        let view = self.view.load();
        view.segment(place).is_none() && view.index.holds(place)
    }

    /// Where the record of `key` lies, with its header. A record whose header is damaged counts as
    /// the one looked for, since its hash fits; so does, if `lenient`, one that cannot be read.
    pub(crate) fn locate(
        &self,
        key: &[u8],
        lenient: bool,
    ) -> Result<Option<(Place, Option<Header>)>> {
        self.locate_hashed(hash_key(self.store_id, key), key, lenient)
    }

    pub(crate) fn locate_hashed(
        &self,
        hash: u32,
        key: &[u8],
        lenient: bool,
    ) -> Result<Option<(Place, Option<Header>)>> {
        if self.rules_out(hash) {
            return Ok(None);
        }
        'moved: loop {
            let view = self.view.load();
            let candidates = view.index.candidates(hash)?;
            if candidates.is_empty() {
                return Ok(None);
            }
            for place in candidates.iter() {
                let Some(segment) = view.segment(place) else {
                    match self.is_gone(place) {
                        true if lenient => return Ok(Some((place, None))),
                        true => return Err(gone(place)),
                        false => continue 'moved,
                    }
                };
                match segment.read_head(place, key.len()) {
                    Ok(Some((header, found))) if header.fits(key, &found) => {
                        return Ok(Some((place, Some(header))));
                    }
                    Ok(Some(_)) => {}
                    Err(e) if !lenient => return Err(e),
                    Ok(None) | Err(_) => return Ok(Some((place, None))),
                }
            }
            return Ok(None);
        }
    }
}

fn gone(place: Place) -> Error {
    let name = crate::segment::file_name(place.segment());
    Error::damaged(
        name,
        place.offset(),
        "the index points to a segment that is gone",
    )
}
