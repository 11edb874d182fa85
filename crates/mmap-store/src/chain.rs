//! The files of the index, one building upon the other, and how a table is read from them.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use crate::checkpoint::IndexFile;
use crate::error::{Error, Result};
use crate::index::{Waiting, shard_of};
use crate::manifest::Roots;
use crate::place::Place;
use crate::queue::lock;
use crate::record::{Header, Kind};
use crate::replay::{self, Sink};
use crate::segment::Segment;
use crate::storage::Storage;
use crate::table::{Change, Table};
use crate::verify::Damage;
use crate::walk::Gap;

/// More than a writer ever lets come together.
const MAX_FILES: usize = 4096;

/// Opens the files that make up the index, oldest first; reads their heads only.
pub(crate) fn open_files(
    storage: &dyn Storage,
    roots: Roots,
    store_id: u64,
) -> Result<Vec<IndexFile>> {
    let mut files = Vec::new();
    let mut number = roots.newest;
    while number != 0 {
        let is_base = number == roots.base_of && roots.base != 0;
        let at = if is_base { roots.base } else { number };
        let file = IndexFile::open(storage, at, store_id)?;
        let previous = file.title.previous;
        files.push(file);
        if is_base {
            break;
        }
        if previous >= number || files.len() > MAX_FILES {
            let name = crate::checkpoint::file_name(at);
            return Err(Error::damaged(name, 24, "the index builds upon itself"));
        }
        number = previous;
    }
    files.reverse();
    // Rooms are made by this number.
    let listed: u64 = files.iter().map(IndexFile::listed).sum();
    match files.last() {
        Some(newest) if newest.title.keys > listed => {
            let what = "the index counts more keys than it lists";
            Err(Error::damaged(newest.name(), 32, what))
        }
        _ => Ok(files),
    }
}

/// One shard as of the last of `files`.
pub(crate) fn table(files: &[IndexFile], shard: usize) -> Result<Table> {
    let mut table = Table::default();
    let count = files.iter().map(|file| file.count(shard)).sum();
    files
        .iter()
        .try_for_each(|file| file.apply(shard, &mut table, count))?;
    Ok(table)
}

/// Where the tables of an index come from that was not read yet.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) files: Vec<IndexFile>,
    /// The segments as they were when the store was opened, and how much of each the files know.
    pub(crate) members: Vec<(Arc<Segment>, u64)>,
    pub(crate) store_id: u64,
    pub(crate) damage: Arc<Mutex<Vec<Damage>>>,
}

impl Chain {
    /// Entries as of the newest file.
    pub(crate) fn keys(&self) -> u64 {
        self.files.last().map_or(0, |f| f.title.keys)
    }

    /// One shard, and whether the files were good. Where they are not it is made from the log,
    /// which holds all that they do.
    pub(crate) fn table(&self, shard: usize) -> Result<(Table, bool)> {
        match table(&self.files, shard) {
            Ok(table) => Ok((table, true)),
            Err(Error::Damaged { file, offset, what }) => {
                self.note(Damage::new(&file, offset, 1, what));
                Ok((self.rebuild(shard)?, false))
            }
            Err(e) => Err(e),
        }
    }

    fn note(&self, damage: Damage) {
        let mut known = lock(&self.damage);
        if !known.contains(&damage) {
            known.push(damage);
        }
    }

    fn rebuild(&self, shard: usize) -> Result<Table> {
        let mut rebuild = Rebuild {
            chain: self,
            shard,
            table: Table::default(),
        };
        for (segment, end) in &self.members {
            replay::visit(segment, self.store_id, *end, &mut rebuild)?;
        }
        Ok(rebuild.table)
    }

    /// Puts what waited on top of a table, oldest first; what that changed and nobody knew.
    pub(crate) fn settle(&self, table: &mut Table, waiting: &[Waiting]) -> Vec<Change> {
        let mut changes = Vec::with_capacity(waiting.len());
        for waiting in waiting {
            match *waiting {
                Waiting::Change(change) => table.apply(change),
                Waiting::Record {
                    hash,
                    place,
                    deletes,
                } => {
                    let old = self.superseded(table, hash, place);
                    let new = (!deletes).then_some(place);
                    let change = Change { hash, old, new };
                    table.apply(change);
                    changes.push(change);
                }
            }
        }
        changes
    }

    /// The entry that the record at `place` takes the place of, which counts as dead from now on.
    fn superseded(&self, table: &Table, hash: u32, place: Place) -> Option<Place> {
        let first = table.candidates(hash).iter().next()?;
        // Its key is needed only where there may be an older record of it.
        let own = self.segment(place).map(|s| s.read(place));
        let (old, header) = match own {
            Some(Ok(own)) => self.holder(table, hash, own.key())?,
            _ => (first, None),
        };
        if let Some(segment) = self.segment(old) {
            segment.forget(old, header.as_ref());
        }
        Some(old)
    }

    fn segment(&self, place: Place) -> Option<&Arc<Segment>> {
        let id = place.segment();
        self.members.iter().map(|(s, _)| s).find(|s| s.id == id)
    }

    /// The entry of `key`. One whose record cannot be read counts, since its hash fits.
    fn holder(&self, table: &Table, hash: u32, key: &[u8]) -> Option<(Place, Option<Header>)> {
        let candidates = table.candidates(hash);
        candidates.iter().find_map(|place| {
            let segment = self.segment(place)?;
            match segment.read_head(place, key.len()) {
                Ok(Some((header, found))) => {
                    header.fits(key, &found).then_some((place, Some(header)))
                }
                Ok(None) | Err(_) => Some((place, None)),
            }
        })
    }
}

/// Makes one shard from the log.
struct Rebuild<'a> {
    chain: &'a Chain,
    shard: usize,
    table: Table,
}

impl Sink for Rebuild<'_> {
    fn record(&mut self, segment: &Arc<Segment>, offset: u64, key: &[u8], header: &Header) {
        if shard_of(header.hash) != self.shard {
            return;
        }
        let old = self.chain.holder(&self.table, header.hash, key);
        let place = Place::new(segment.id, offset, header.total());
        self.table.apply(Change {
            hash: header.hash,
            old: old.map(|(place, _)| place),
            new: (header.kind == Kind::Put).then_some(place),
        });
    }

    fn gap(&mut self, segment: &Arc<Segment>, gap: &Gap) {
        segment.flawed.store(true, Ordering::Relaxed);
        self.chain.note(Damage::in_segment(segment, gap));
        let Some(header) = gap.header.filter(|h| h.kind != Kind::Footer) else {
            return;
        };
        if shard_of(header.hash) != self.shard {
            return;
        }
        for old in self.table.candidates(header.hash).iter() {
            self.table.apply(Change {
                hash: header.hash,
                old: Some(old),
                new: None,
            });
        }
        let place = Place::new(segment.id, gap.offset, header.total());
        self.table.apply(Change {
            hash: header.hash,
            old: None,
            new: Some(place),
        });
    }

    fn damage(&mut self, damage: Damage) {
        self.chain.note(damage);
    }
}
