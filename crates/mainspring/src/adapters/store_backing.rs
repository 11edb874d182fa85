//! Snapshots kept in a session store.

use std::{
    collections::BTreeMap,
    io,
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::{Bytes, BytesMut};
use mainspring_delta_snapshot::{Backing, Entry};
use mainspring_mmap_store::{Batch, Durability, Error as StoreError, Store};

/// What a name's number is kept under: `n` and the name.
const NAME: u8 = b'n';
/// What a piece is kept under: `p`, the name's number, the piece's number.
const PIECE: u8 = b'p';
/// What the table of all values is kept under, from [`StoreBacking::summarise`] to the next write.
const TABLE: &[u8] = b"t";
/// Bytes of a value in the table: its numbers and the length of its name.
const ROW: usize = 22;

/// A [`Store`] as the place where [`mainspring_delta_snapshot`] keeps its versions.
///
/// The store should be used for nothing else. A value appended to in many small steps is kept as one
/// record a step, under a key of nine bytes, so that a commit costs its own bytes and one record
/// header; `get` joins them. Thread-safe; calls on different names wait for each other only while
/// they write. A value of which a piece, or the name, is damaged is answered with
/// [`io::ErrorKind::InvalidData`] until it is put anew; `list` cannot tell a damaged name.
///
/// Memory: the name of each value and two numbers.
#[derive(Debug)]
pub struct StoreBacking {
    store: Store,
    names: Mutex<Names>,
}

/// What is there, and the number of the next name.
#[derive(Debug, Default)]
struct Names {
    known: BTreeMap<String, Pieces>,
    /// Never given out twice, not even when the write that used it failed.
    next: u32,
    /// Whether the store has a table, which the next write makes wrong.
    table: bool,
    /// Whether there may be values whose names could not be read.
    hidden: bool,
}

/// Where a value's pieces lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pieces {
    number: u32,
    /// The first piece that belongs to the value.
    first: u32,
    /// One past the last.
    end: u32,
    /// Bytes of all pieces together.
    len: u64,
}

impl StoreBacking {
    /// Takes over a store. Costs reading its table, or, where [`summarise`](Self::summarise) was not
    /// the last thing done to it, one pass over what it holds. The pass is made too when the table is
    /// damaged or is not of what the store holds, as in a store that compresses its values.
    ///
    /// # Errors
    /// What the store says, and [`io::ErrorKind::InvalidData`] when it holds something else.
    pub fn new(store: Store) -> io::Result<Self> {
        let table = store.get(TABLE);
        let present = !matches!(table, Ok(None));
        // Whatever ails the table: it says nothing that a pass does not.
        let table = table.ok().flatten();
        let read = table.as_deref().and_then(Names::decode);
        let size = table.map_or(0, |table| table.len() as u64);
        let names = match read.filter(|names| names.account_for(&store, size)) {
            Some(names) => names,
            None => Self::passed_over(&store, present)?,
        };
        Ok(Self {
            store,
            names: Mutex::new(names),
        })
    }

    /// Writes down where everything lies, so that the next opening reads that alone. Call it before
    /// the store is closed; the next write undoes it. Costs some 60 bytes for each value.
    ///
    /// # Errors
    /// What the store says.
    pub fn summarise(&self) -> io::Result<()> {
        let mut names = self.names();
        if !names.table {
            let table = names.encode();
            self.store.put(TABLE, &table).map_err(io::Error::other)?;
            names.table = true;
        }
        Ok(())
    }

    fn passed_over(store: &Store, table: bool) -> io::Result<Names> {
        let mut names = Names {
            table,
            ..Names::default()
        };
        for pair in store.scan_prefix(&[NAME]).map_err(io::Error::other)? {
            let (key, value) = match pair {
                Err(StoreError::Damaged { .. }) => {
                    names.hidden = true;
                    continue;
                }
                pair => pair.map_err(io::Error::other)?,
            };
            let name = std::str::from_utf8(&key[1..]).map_err(foreign)?.to_owned();
            let number = u32::from_le_bytes(value[..].try_into().map_err(foreign)?);
            names.next = names.next.max(number.saturating_add(1));
            names.known.insert(name, pieces(store, number)?);
        }
        if let Some(last) = undamaged(store, &[PIECE])?.next_back() {
            let (key, _) = last?;
            let number = key
                .get(1..5)
                .ok_or_else(|| foreign("a key of another kind"))?;
            names.next = names
                .next
                .max(ordered(number.try_into().map_err(foreign)?).saturating_add(1));
        }
        // Pieces of no known name are those of one that cannot be read.
        names.hidden |= store.stats().live_keys > names.keys() + u64::from(table);
        Ok(names)
    }

    /// The store itself, for its figures, `verify` and `close`.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Bytes of all values whose names begin so. Reads nothing.
    #[cfg(feature = "runtime")]
    pub(crate) fn bytes_below(&self, prefix: &str) -> u64 {
        let names = self.names();
        names.below(prefix).map(|(_, pieces)| pieces.len).sum()
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backing for StoreBacking {
    fn get(&self, key: &str) -> io::Result<Option<Bytes>> {
        let names = self.names();
        let known = names.known.get(key).copied();
        if known.is_none() {
            return self.unknown(&names, key).map(|()| None);
        }
        drop(names);
        self.read(key, known)
    }

    fn put(&self, key: &str, value: &[u8]) -> io::Result<()> {
        self.add(key, value, true)
    }

    fn append(&self, key: &str, value: &[u8]) -> io::Result<()> {
        self.add(key, value, false)
    }

    fn delete(&self, key: &str) -> io::Result<()> {
        let mut names = self.names();
        let Some(found) = names.known.get(key).copied() else {
            return self.unknown(&names, key);
        };
        let mut batch = names.batch();
        batch.delete(&name_key(key));
        forget(&mut batch, found);
        self.store.write(batch).map_err(io::Error::other)?;
        names.table = false;
        names.known.remove(key);
        Ok(())
    }

    fn list(&self, prefix: &str) -> io::Result<Vec<Entry>> {
        let names = self.names();
        let entries = names
            .below(prefix)
            .map(|(name, pieces)| Entry {
                key: name.clone(),
                len: pieces.len,
            })
            .collect();
        Ok(entries)
    }

    fn sync(&self) -> io::Result<()> {
        self.store
            .flush(Durability::Always)
            .map_err(io::Error::other)
    }
}

impl StoreBacking {
    fn known(&self, key: &str) -> Option<Pieces> {
        self.names().known.get(key).copied()
    }

    /// The value of a key whose pieces lay there.
    fn read(&self, key: &str, mut known: Option<Pieces>) -> io::Result<Option<Bytes>> {
        while let Some(found) = known {
            match self.joined(key, found) {
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    // No damage if it was replaced or deleted since.
                    let now = self.known(key);
                    if now == known {
                        return Err(error);
                    }
                    known = now;
                }
                read => return read.map(Some),
            }
        }
        Ok(None)
    }

    fn joined(&self, key: &str, value: Pieces) -> io::Result<Bytes> {
        if value.end - value.first == 1 {
            return self.piece(key, value, value.first);
        }
        let mut whole = BytesMut::with_capacity(usize::try_from(value.len).unwrap_or(0));
        for piece in value.first..value.end {
            whole.extend_from_slice(&self.piece(key, value, piece)?);
        }
        Ok(whole.freeze())
    }

    fn piece(&self, key: &str, value: Pieces, piece: u32) -> io::Result<Bytes> {
        let found = self.store.get(&piece_key(value.number, piece));
        let found = found.map_err(|error| match error {
            StoreError::Damaged { .. } => foreign(error),
            error => io::Error::other(error),
        })?;
        found.ok_or_else(|| foreign(format!("piece {piece} of `{key}` is missing")))
    }

    /// Refuses a name that is unknown because its record is damaged: what it names is there, only not
    /// to be found. Whoever puts a value anew has it again.
    fn unknown(&self, names: &Names, key: &str) -> io::Result<()> {
        match names.hidden {
            true => match self.store.get(&name_key(key)) {
                Err(error @ StoreError::Damaged { .. }) => Err(foreign(error)),
                found => found.map(drop).map_err(io::Error::other),
            },
            false => Ok(()),
        }
    }

    /// Writes one more piece; with `alone`, in place of all earlier ones.
    fn add(&self, key: &str, value: &[u8], alone: bool) -> io::Result<()> {
        let mut names = self.names();
        let mut batch = names.batch();
        let mut found = match names.known.get(key) {
            Some(found) => *found,
            None => {
                if !alone {
                    self.unknown(&names, key)?;
                }
                let number = names.next;
                names.next = number
                    .checked_add(1)
                    .ok_or_else(|| foreign("too many names"))?;
                batch.put(&name_key(key), &number.to_le_bytes());
                Pieces {
                    number,
                    first: 0,
                    end: 0,
                    len: 0,
                }
            }
        };
        if alone {
            forget(&mut batch, found);
            (found.first, found.len) = (found.end, 0);
        }
        batch.put(&piece_key(found.number, found.end), value);
        let end = found.end.checked_add(1);
        found.end = end.ok_or_else(|| foreign(format!("too many pieces in `{key}`")))?;
        found.len += value.len() as u64;
        self.store.write(batch).map_err(io::Error::other)?;
        names.table = false;
        names.known.insert(key.to_owned(), found);
        Ok(())
    }
}

impl Names {
    /// The values whose names begin so, in order.
    fn below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a String, &'a Pieces)> {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let names = self.known.range::<str, _>(from);
        names.take_while(move |(name, _)| name.starts_with(prefix))
    }

    /// A batch that undoes the table.
    fn batch(&self) -> Batch {
        let mut batch = Batch::new();
        if self.table {
            batch.delete(TABLE);
        }
        batch
    }

    fn encode(&self) -> Vec<u8> {
        let mut table = self.next.to_le_bytes().to_vec();
        for (name, pieces) in &self.known {
            table.extend_from_slice(&pieces.number.to_le_bytes());
            table.extend_from_slice(&pieces.first.to_le_bytes());
            table.extend_from_slice(&pieces.end.to_le_bytes());
            table.extend_from_slice(&pieces.len.to_le_bytes());
            table.extend_from_slice(&(name.len() as u16).to_le_bytes());
            table.extend_from_slice(name.as_bytes());
        }
        table
    }

    fn decode(table: &[u8]) -> Option<Self> {
        let (next, mut rest) = table.split_at_checked(4)?;
        let mut names = Self {
            known: BTreeMap::new(),
            next: u32::from_le_bytes(next.try_into().ok()?),
            table: true,
            hidden: false,
        };
        while !rest.is_empty() {
            let (row, more) = rest.split_at_checked(ROW)?;
            let number = |at: usize| Some(u32::from_le_bytes(row[at..at + 4].try_into().ok()?));
            let pieces = Pieces {
                number: number(0)?,
                first: number(4)?,
                end: number(8)?,
                len: u64::from_le_bytes(row[12..20].try_into().ok()?),
            };
            if pieces.first > pieces.end || pieces.number >= names.next {
                return None;
            }
            let length = u16::from_le_bytes(row[20..].try_into().ok()?);
            let (name, more) = more.split_at_checked(length.into())?;
            let name = std::str::from_utf8(name).ok()?.to_owned();
            names.known.insert(name, pieces);
            rest = more;
        }
        Some(names)
    }

    /// Keys of the names and their pieces.
    fn keys(&self) -> u64 {
        let pieces = |pieces: &Pieces| 1 + u64::from(pieces.end - pieces.first);
        self.known.values().map(pieces).sum()
    }

    /// Whether the store holds as many keys and bytes as the table says, itself included: one that
    /// came back from before a write that was damaged does not.
    fn account_for(&self, store: &Store, table: u64) -> bool {
        let own = (1, TABLE.len() as u64 + table);
        let sum = self
            .known
            .iter()
            .try_fold(own, |(keys, bytes), (name, pieces)| {
                let pieces_keys = u64::from(pieces.end - pieces.first);
                let named = 1 + name.len() as u64 + 4;
                let bytes = bytes.checked_add(9 * pieces_keys + named)?;
                Some((keys + 1 + pieces_keys, pieces.len.checked_add(bytes)?))
            });
        let stats = store.stats();
        sum == Some((stats.live_keys, stats.live_bytes))
    }
}

fn forget(batch: &mut Batch, value: Pieces) {
    for piece in value.first..value.end {
        batch.delete(&piece_key(value.number, piece));
    }
}

fn pieces(store: &Store, number: u32) -> io::Result<Pieces> {
    let mut found = Pieces {
        number,
        first: 0,
        end: 0,
        len: 0,
    };
    for pair in undamaged(store, &piece_key(number, 0)[..5])? {
        let (key, value) = pair?;
        let piece = ordered(key[5..].try_into().map_err(foreign)?);
        if found.end == 0 {
            found.first = piece;
        }
        found.end = piece.saturating_add(1);
        found.len += value.len() as u64;
    }
    // A damaged piece belongs to its value all the same, at either end too: whoever reads it is told.
    let there = |piece| !matches!(store.contains(&piece_key(number, piece)), Ok(false));
    while found.first > 0 && there(found.first - 1) {
        found.first -= 1;
    }
    while found.end < u32::MAX && there(found.end) {
        found.end += 1;
    }
    // Not one is readable, and where they began is unknown: no empty value.
    found.end = found.end.max(1);
    Ok(found)
}

/// The pairs whose record is not damaged. What is missing then, whoever reads it says: the start is no
/// place to fail for one record, which may be the table.
fn undamaged(
    store: &Store,
    prefix: &[u8],
) -> io::Result<impl DoubleEndedIterator<Item = io::Result<(Bytes, Bytes)>>> {
    let pairs = store.scan_prefix(prefix).map_err(io::Error::other)?;
    Ok(pairs.filter_map(|pair| match pair {
        Err(StoreError::Damaged { .. }) => None,
        pair => Some(pair.map_err(io::Error::other)),
    }))
}

fn name_key(name: &str) -> Vec<u8> {
    [&[NAME], name.as_bytes()].concat()
}

#[expect(
    clippy::big_endian_bytes,
    reason = "the order of keys is the order of pieces"
)]
fn piece_key(number: u32, piece: u32) -> [u8; 9] {
    let mut key = [PIECE; 9];
    key[1..5].copy_from_slice(&number.to_be_bytes());
    key[5..].copy_from_slice(&piece.to_be_bytes());
    key
}

#[expect(
    clippy::big_endian_bytes,
    reason = "the order of keys is the order of pieces"
)]
fn ordered(bytes: [u8; 4]) -> u32 {
    u32::from_be_bytes(bytes)
}

fn foreign(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use mainspring_mmap_store::Options;

    use super::*;

    #[test]
    fn a_value_that_is_replaced_or_deleted_while_it_is_read_is_looked_up_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Options::new().create(true).open(dir.path());
        let backing = StoreBacking::new(store.expect("a store")).expect("a backing");
        for part in ["one ", "two"] {
            backing.append("s/a/1", part.as_bytes()).expect("append");
        }
        let old = backing.known("s/a/1");
        backing.put("s/a/1", b"new").expect("put");
        let read = backing.read("s/a/1", old).expect("the new one");
        assert_eq!(read.expect("there"), "new");
        let old = backing.known("s/a/1");
        backing.delete("s/a/1").expect("delete");
        assert_eq!(backing.read("s/a/1", old).expect("none"), None);
        // A piece that is gone while nobody wrote is damage.
        backing.put("s/a/2", b"lost").expect("put");
        let lost = backing.known("s/a/2").expect("there");
        let piece = piece_key(lost.number, lost.first);
        backing.store.delete(&piece).expect("delete");
        let error = backing.get("s/a/2").expect_err("damage");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
