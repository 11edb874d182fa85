//! A file of the index: the entries that came and went since the file before it.

use std::sync::Arc;

use crate::check::crc32c;

use crate::error::{Error, Result};
use crate::index::{Index, SHARDS, shard_of};
use crate::place::Place;
use crate::record::{le32, le64};
use crate::storage::{Access, Storage, StorageFile, read_full, write_all};
use crate::table::{Change, Slot, Table};

const MAGIC: &[u8; 8] = b"MSTORIDX";
const VERSION: u32 = 1;
/// Where the counts and the check of each shard are listed.
const DIRECTORY: usize = 40;
const PART: usize = 12;
const HEAD: usize = DIRECTORY + SHARDS * PART + 4;
/// Bytes of an entry that is new, and of one that takes the place of another or ends.
const NEW: usize = 12;
const CHANGED: usize = 20;

pub(crate) fn file_name(number: u32) -> String {
    format!("{number:08}.idx")
}

pub(crate) fn parse_name(name: &str) -> Option<u32> {
    let number = name.strip_suffix(".idx")?.parse().ok()?;
    (file_name(number) == name && number > 0).then_some(number)
}

/// What a file says of itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Title {
    pub(crate) number: u32,
    /// The file that this one's entries change; 0 for none.
    pub(crate) previous: u32,
    pub(crate) store_id: u64,
    /// Entries of the index as of this file.
    pub(crate) keys: u64,
}

/// The bytes of a file, made shard by shard.
pub(crate) struct Encoder {
    bytes: Vec<u8>,
    shard: usize,
}

impl Encoder {
    pub(crate) fn new() -> Self {
        let bytes = vec![0; HEAD];
        Self { bytes, shard: 0 }
    }

    /// The next shard: new entries, and changes with an old place. Both sorted by hash.
    pub(crate) fn push(&mut self, new: impl Iterator<Item = Slot>, changed: &[Change]) {
        let start = self.bytes.len();
        for slot in new {
            self.words(slot.hash, &[slot.place]);
        }
        let count = (self.bytes.len() - start) / NEW;
        for change in changed {
            let place = |p: Option<Place>| p.unwrap_or(Place::EMPTY);
            self.words(change.hash, &[place(change.old), place(change.new)]);
        }
        let part = [
            count as u32,
            changed.len() as u32,
            crc32c(&self.bytes[start..]),
        ];
        let at = DIRECTORY + self.shard * PART;
        for (i, word) in part.into_iter().enumerate() {
            self.bytes[at + i * 4..at + i * 4 + 4].copy_from_slice(&word.to_le_bytes());
        }
        self.shard += 1;
    }

    fn words(&mut self, hash: u32, places: &[Place]) {
        self.bytes.extend_from_slice(&hash.to_le_bytes());
        for place in places {
            let (segment, offset) = place.words();
            self.bytes.extend_from_slice(&segment.to_le_bytes());
            self.bytes.extend_from_slice(&offset.to_le_bytes());
        }
    }

    /// Writes the file, durably but for its name; the number of bytes.
    pub(crate) fn write(mut self, storage: &dyn Storage, title: Title) -> Result<u64> {
        let name = file_name(title.number);
        let bytes = &mut self.bytes;
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&title.number.to_le_bytes());
        bytes[16..24].copy_from_slice(&title.store_id.to_le_bytes());
        bytes[24..28].copy_from_slice(&title.previous.to_le_bytes());
        bytes[32..40].copy_from_slice(&title.keys.to_le_bytes());
        let check = crc32c(&bytes[..HEAD - 4]);
        bytes[HEAD - 4..HEAD].copy_from_slice(&check.to_le_bytes());
        let save = || {
            let file = storage.open(&name, Access::Create)?;
            write_all(&*file, bytes, 0)?;
            file.sync()
        };
        save().map_err(|e| Error::io("write", name.as_str(), e))?;
        Ok(bytes.len() as u64)
    }
}

/// The whole of a loaded index.
pub(crate) fn whole(index: &Index) -> Encoder {
    let mut encoder = Encoder::new();
    for shard in 0..SHARDS {
        encoder.push(index.sorted(shard).into_iter(), &[]);
    }
    encoder
}

/// The outcome of `changes`, which are in the order in which they happened.
pub(crate) fn partial(changes: &[Change]) -> Encoder {
    let folded = fold(changes);
    let mut encoder = Encoder::new();
    let mut rest = &folded[..];
    for shard in 0..SHARDS {
        let (own, behind) = rest.split_at(rest.partition_point(|c| shard_of(c.hash) <= shard));
        rest = behind;
        let new = own.iter().filter(|c| c.old.is_none());
        let new = new.filter_map(|c| c.new.map(|place| (c.hash, place)));
        let changed: Vec<Change> = own.iter().filter(|c| c.old.is_some()).copied().collect();
        encoder.push(new.map(|(hash, place)| Slot { hash, place }), &changed);
    }
    encoder
}

/// One change for each key, sorted by hash: what was replaced twice went straight to the last place.
pub(crate) fn fold(changes: &[Change]) -> Vec<Change> {
    let mut sorted = changes.to_vec();
    sorted.sort_by_key(|c| c.hash);
    let mut folded: Vec<Change> = Vec::with_capacity(sorted.len());
    for group in sorted.chunk_by(|a, b| a.hash == b.hash) {
        let start = folded.len();
        for change in group {
            let known = |c: &Change| change.old.is_some() && c.new == change.old;
            match folded[start..].iter().position(known) {
                // Came and went.
                Some(at) if change.new.is_none() && folded[start + at].old.is_none() => {
                    folded.remove(start + at);
                }
                Some(at) => folded[start + at].new = change.new,
                None if change.old.is_none() && change.new.is_none() => {}
                None => folded.push(*change),
            }
        }
    }
    folded.shrink_to_fit();
    folded
}

/// One file, of which only the head was read.
#[derive(Debug)]
pub(crate) struct IndexFile {
    pub(crate) title: Title,
    pub(crate) len: u64,
    name: String,
    file: Arc<dyn StorageFile>,
    /// For each shard: where it lies, new entries, changed ones, check.
    parts: Vec<(u64, u32, u32, u32)>,
}

impl IndexFile {
    pub(crate) fn open(storage: &dyn Storage, number: u32, store_id: u64) -> Result<Self> {
        let name = file_name(number);
        let io = |action, e| Error::io(action, name.as_str(), e);
        let file = storage
            .open(&name, Access::Read)
            .map_err(|e| io("open", e))?;
        let len = file.size().map_err(|e| io("measure", e))?;
        let mut head = vec![0; HEAD];
        let read = read_full(&*file, &mut head, 0).map_err(|e| io("read", e))?;
        if read < HEAD {
            return Err(Error::damaged(name, read as u64, "the index is cut short"));
        }
        if crc32c(&head[..HEAD - 4]) != le32(&head, HEAD - 4) || &head[..8] != MAGIC {
            let what = "the index's header fails its check";
            return Err(Error::damaged(name, 0, what));
        }
        let title = Title {
            number: le32(&head, 12),
            previous: le32(&head, 24),
            store_id: le64(&head, 16),
            keys: le64(&head, 32),
        };
        if le32(&head, 8) != VERSION || title.number != number || title.store_id != store_id {
            let what = "the index belongs to another store";
            return Err(Error::damaged(name, 8, what));
        }
        let mut at = HEAD as u64;
        let mut parts = Vec::with_capacity(SHARDS);
        for entry in head[DIRECTORY..HEAD - 4].chunks_exact(PART) {
            let (new, changed) = (le32(entry, 0), le32(entry, 4));
            parts.push((at, new, changed, le32(entry, 8)));
            at += u64::from(new) * NEW as u64 + u64::from(changed) * CHANGED as u64;
        }
        if at != len {
            let what = "the index's length does not fit its count";
            return Err(Error::damaged(name, len.min(at), what));
        }
        Ok(Self {
            title,
            len,
            name,
            file,
            parts,
        })
    }

    /// Brings `table` from the state of the file before this one to the state of this one.
    ///
    /// A table that is made first has room for `count` entries.
    pub(crate) fn apply(&self, shard: usize, table: &mut Table, count: usize) -> Result<()> {
        let bytes = self.part(shard)?;
        let (at, new, ..) = self.parts[shard];
        let (new, changed) = bytes.split_at(new as usize * NEW);
        let (new, _) = new.as_chunks::<NEW>();
        let (changed, _) = changed.as_chunks::<CHANGED>();
        let slots = || new.iter().map(slot);
        let own = |hash: u32| shard_of(hash) == shard;
        let hashes = changed.iter().map(|entry| le32(entry, 0));
        let sorted = slots().is_sorted_by_key(|s| s.hash);
        if !sorted || !slots().map(|s| s.hash).chain(hashes).all(own) {
            let what = "a part of the index is out of order";
            return Err(Error::damaged(self.name.as_str(), at, what));
        }
        if table.len() == 0 {
            *table = Table::from_sorted(slots(), count.max(new.len()));
        } else {
            slots().for_each(|slot| {
                table.apply(Change {
                    hash: slot.hash,
                    old: None,
                    new: Some(slot.place),
                })
            });
        }
        changed.iter().for_each(|entry| table.apply(change(entry)));
        Ok(())
    }

    /// New entries of one shard.
    pub(crate) fn count(&self, shard: usize) -> usize {
        self.parts[shard].1 as usize
    }

    /// New entries of all shards.
    pub(crate) fn listed(&self) -> u64 {
        self.parts.iter().map(|(_, new, ..)| u64::from(*new)).sum()
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the bytes of one shard are those that were written.
    pub(crate) fn check(&self, shard: usize) -> Result<()> {
        self.part(shard).map(drop)
    }

    /// The bytes of one shard, checked.
    fn part(&self, shard: usize) -> Result<Vec<u8>> {
        let (at, new, changed, check) = self.parts[shard];
        let len = new as usize * NEW + changed as usize * CHANGED;
        let mut bytes = Vec::with_capacity(len);
        let read = self.file.read_to(&mut bytes, len, at);
        read.map_err(|e| Error::io("read", self.name.as_str(), e))?;
        match bytes.len() == len && crc32c(&bytes) == check {
            true => Ok(bytes),
            false => {
                let what = "a part of the index fails its check";
                Err(Error::damaged(self.name.as_str(), at, what))
            }
        }
    }
}

#[inline]
fn slot(entry: &[u8; NEW]) -> Slot {
    Slot {
        hash: le32(entry, 0),
        place: Place::from_words(le32(entry, 4), le32(entry, 8)),
    }
}

fn change(entry: &[u8; CHANGED]) -> Change {
    let place = |at| Place::from_words(le32(entry, at), le32(entry, at + 4)).present();
    Change {
        hash: le32(entry, 0),
        old: place(4),
        new: place(12),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_one_key_fold_into_one() {
        let place = |n: u64| Some(Place::new(1, n * 8, 64));
        let change = |hash, old, new| Change { hash, old, new };
        let history = [
            change(7, None, place(1)),
            change(9, place(20), place(21)),
            change(7, place(1), place(2)),
            change(7, None, place(3)),
            change(7, place(3), None),
            change(9, place(21), None),
            change(9, None, None),
        ];
        let folded = fold(&history);
        assert_eq!(
            folded,
            [change(7, None, place(2)), change(9, place(20), None)]
        );
    }
}
