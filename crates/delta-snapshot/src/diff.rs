//! The operations that lead from one state to another.

use std::ops::Range;

use bytes::Bytes;

use crate::block;
use crate::cipher::Cipher;
use crate::error::Result;
use crate::json::{self, Child};
use crate::pointer::join;
use crate::text::Piece;
use crate::tree::{Container, Kind, Slot, State};

/// One difference between two states: an operation that, with the others in order, leads from the first to the second.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// Items were added to the end of the array at `path`.
    Append {
        /// JSON pointer.
        path: String,
        /// The raw items.
        items: Vec<Bytes>,
    },
    /// The value at `path` is new or another one.
    Set {
        /// JSON pointer.
        path: String,
        /// The raw value.
        value: Bytes,
    },
    /// The member or element at `path` is gone.
    Remove {
        /// JSON pointer.
        path: String,
    },
    /// Elements `range` of the array at `path` were replaced.
    Splice {
        /// JSON pointer.
        path: String,
        /// Elements that are gone.
        range: Range<usize>,
        /// The raw items in their place.
        items: Vec<Bytes>,
    },
    /// Bytes `range` of a byte state were replaced.
    SpliceBytes {
        /// Bytes that are gone.
        range: Range<u64>,
        /// The bytes in their place.
        data: Bytes,
    },
}

/// Values below this are stored as a whole rather than taken apart.
pub(crate) const SMALL: u64 = 256;

/// What leads from `old` to the JSON text `new`; the fallback is one `Set` of everything.
/// Containers below `small` bytes are not taken apart.
pub(crate) fn json_changes(
    old: &State,
    new: &Bytes,
    small: u64,
    cipher: Option<&dyn Cipher>,
) -> Vec<Change> {
    let whole = || {
        vec![Change::Set {
            path: String::new(),
            value: new.clone(),
        }]
    };
    let State::Json(slot) = old else {
        return whole();
    };
    let mut differ = Differ {
        new,
        small,
        cipher,
        changes: Vec::new(),
    };
    match differ.slot(slot, 0..new.len(), "") {
        Ok(()) => differ.changes,
        Err(_) => whole(),
    }
}

/// What leads from one byte string to another, as one splice.
pub(crate) fn splice(old: &[u8], new: &[u8]) -> (Range<usize>, Range<usize>) {
    let shorter = old.len().min(new.len());
    let prefix = common(old.chunks(64), new.chunks(64), |a, b| {
        common(a.iter(), b.iter(), |_, _| 0)
    });
    let prefix = prefix.min(shorter);
    let (old_rest, new_rest) = (&old[prefix..], &new[prefix..]);
    let suffix = common(old_rest.rchunks(64), new_rest.rchunks(64), |a, b| {
        common(a.iter().rev(), b.iter().rev(), |_, _| 0)
    });
    let suffix = suffix.min(shorter - prefix);
    (prefix..old.len() - suffix, prefix..new.len() - suffix)
}

/// Length of the equal beginning of two sequences; `within` looks inside the first pair that differs.
fn common<T: PartialEq + Measure>(
    a: impl Iterator<Item = T>,
    b: impl Iterator<Item = T>,
    within: impl Fn(T, T) -> usize,
) -> usize {
    let mut length = 0;
    for (x, y) in a.zip(b) {
        if x != y {
            return length + within(x, y);
        }
        length += x.measure();
    }
    length
}

trait Measure {
    fn measure(&self) -> usize;
}

impl Measure for &[u8] {
    fn measure(&self) -> usize {
        self.len()
    }
}

impl Measure for &u8 {
    fn measure(&self) -> usize {
        1
    }
}

/// Whether `new[at..]` begins with what the slot renders to, and where that ends.
fn matches(slot: &Slot, new: &[u8], at: usize, cipher: Option<&dyn Cipher>) -> Option<usize> {
    let Some(container) = slot.container() else {
        return text_matches(slot.text(), new, at, cipher);
    };
    let at = literal(slot.prefix(), new, at)?;
    let (open, close): (&[u8], &[u8]) = match container.kind {
        Kind::Object => (b"{", b"}"),
        _ => (b"[", b"]"),
    };
    let mut at = literal(open, new, at)?;
    for (i, child) in container.slots().iter().enumerate() {
        if i > 0 {
            at = literal(b",", new, at)?;
        }
        at = matches(child, new, at, cipher)?;
    }
    if container.slots().is_empty() {
        at = literal(container.bare(), new, at)?;
    }
    at = literal(close, new, at)?;
    literal(slot.suffix(), new, at)
}

fn literal(bytes: &[u8], new: &[u8], at: usize) -> Option<usize> {
    new.get(at..)?
        .starts_with(bytes)
        .then_some(at + bytes.len())
}

fn text_matches(
    text: &crate::text::Text,
    new: &[u8],
    mut at: usize,
    cipher: Option<&dyn Cipher>,
) -> Option<usize> {
    for piece in text.pieces() {
        at = match piece {
            Piece::Literal(bytes) => literal(bytes, new, at)?,
            Piece::Block(block) => {
                let end = at.checked_add(usize::try_from(block.len).ok()?)?;
                let same = block::address(new.get(at..end)?, cipher) == *block;
                same.then_some(end)?
            }
        };
    }
    Some(at)
}

/// Whether the whole state renders to `new`.
pub(crate) fn equals(state: &State, new: &[u8], cipher: Option<&dyn Cipher>) -> bool {
    match state {
        State::Empty => new.is_empty(),
        State::Json(slot) => matches(slot, new, 0, cipher) == Some(new.len()),
        State::Bytes(pages) => {
            let mut slots = pages.slots().iter();
            let end = slots.try_fold(0, |at, page| text_matches(page.text(), new, at, cipher));
            end == Some(new.len())
        }
    }
}

struct Differ<'a> {
    new: &'a Bytes,
    small: u64,
    cipher: Option<&'a dyn Cipher>,
    changes: Vec<Change>,
}

impl Differ<'_> {
    fn part(&self, range: Range<usize>) -> Bytes {
        self.new.slice(range)
    }

    fn set(&mut self, path: &str, range: Range<usize>) {
        let value = self.part(range);
        self.changes.push(Change::Set {
            path: path.to_owned(),
            value,
        });
    }

    /// `range`: the value's whole place in the new text, white space included.
    fn slot(&mut self, slot: &Slot, range: Range<usize>, path: &str) -> Result<()> {
        let lead = self.new[range.clone()]
            .iter()
            .take_while(|b| b.is_ascii_whitespace())
            .count();
        let tail = self.new[range.clone()]
            .iter()
            .rev()
            .take_while(|b| b.is_ascii_whitespace())
            .count();
        let inner = range.start + lead..range.end.saturating_sub(tail).max(range.start + lead);
        let prefix = slot.prefix();
        let before = prefix
            .iter()
            .rposition(|&b| b == b':')
            .map_or(0, |colon| colon + 1);
        let same_around = prefix[before..] == self.new[range.start..inner.start]
            && *slot.suffix() == self.new[inner.end..range.end];
        let kind = match self.new.get(inner.start) {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            _ => Kind::Pages,
        };
        let same_kind = slot.first() == self.new.get(inner.start).copied();
        if !same_around
            || !same_kind
            || kind == Kind::Pages
            || (slot.container().is_none() && slot.len() < self.small)
        {
            self.set(path, range);
            return Ok(());
        }
        let parsed;
        let container = match slot.container() {
            Some(open) => open,
            None => {
                parsed = slot.parsed(path)?;
                &parsed
            }
        };
        let mark = self.changes.len();
        let done = match kind {
            Kind::Object => self.object(container, inner, path)?,
            _ => self.array(container, inner, path)?,
        };
        if !done {
            self.changes.truncate(mark);
            self.set(path, range);
        }
        Ok(())
    }

    fn array(&mut self, old: &Container, inner: Range<usize>, path: &str) -> Result<bool> {
        let slots = old.slots();
        let (mut at, mut same) = (inner.start + 1, 0);
        // Equal elements at the front are compared, not parsed.
        while let Some(end) = slots
            .get(same)
            .and_then(|slot| matches(slot, self.new, at, self.cipher))
        {
            match self.new.get(end) {
                Some(b',') if end < inner.end => (at, same) = (end + 1, same + 1),
                Some(b']') if end + 1 == inner.end => {
                    if same + 1 < slots.len() {
                        self.splice(path, same + 1..slots.len(), &[], 0);
                    }
                    return Ok(true);
                }
                _ => break,
            }
        }
        let mut rest = vec![b'['];
        rest.extend_from_slice(&self.new[at..inner.end]);
        let children = json::children(&rest)?;
        let shift = at - 1;
        let list = &children.list;
        if list.is_empty() {
            let cut = slots.is_empty() || same > 0 || !children.bare.is_empty();
            if !cut {
                self.splice(path, 0..slots.len(), &[], 0);
            }
            return Ok(!cut);
        }
        let equal = |(slot, child): &(&Slot, &Child)| {
            let end = child.all.end + shift;
            matches(slot, self.new, child.all.start + shift, self.cipher) == Some(end)
        };
        let back = slots[same..]
            .iter()
            .rev()
            .zip(list.iter().rev())
            .take_while(|pair| equal(&(pair.0, pair.1)))
            .count();
        let gone = same..slots.len() - back;
        let fresh = &list[..list.len() - back];
        if gone.len() == fresh.len() {
            for (index, child) in gone.zip(fresh) {
                let range = child.all.start + shift..child.all.end + shift;
                if matches(&slots[index], self.new, range.start, self.cipher) != Some(range.end) {
                    self.slot(&slots[index], range, &join(path, &index.to_string()))?;
                }
            }
        } else {
            self.splice(path, gone, fresh, shift);
            if gone_is_tail(slots.len(), self.changes.last()) {
                self.turn_into_append();
            }
        }
        Ok(true)
    }

    fn splice(&mut self, path: &str, range: Range<usize>, fresh: &[Child], shift: usize) {
        let parts = fresh
            .iter()
            .map(|c| self.part(c.all.start + shift..c.all.end + shift));
        let change = Change::Splice {
            path: path.to_owned(),
            range,
            items: parts.collect(),
        };
        self.changes.push(change);
    }

    fn turn_into_append(&mut self) {
        if let Some(Change::Splice { path, items, .. }) = self.changes.pop() {
            self.changes.push(Change::Append { path, items });
        }
    }

    /// Members in the old order, some gone, some new at the end; anything else is left to a `Set`.
    fn object(&mut self, old: &Container, inner: Range<usize>, path: &str) -> Result<bool> {
        let slots = old.slots();
        let (mut at, mut index) = (inner.start + 1, 0);
        loop {
            if let Some(end) = slots
                .get(index)
                .and_then(|slot| matches(slot, self.new, at, self.cipher))
            {
                match self.new.get(end) {
                    Some(b',') if end < inner.end => {
                        (at, index) = (end + 1, index + 1);
                        continue;
                    }
                    Some(b'}') if end + 1 == inner.end => {
                        return Ok(self.remove_rest(slots, index + 1, path));
                    }
                    _ => {}
                }
            }
            let Some((child, colon)) = json::member(self.new, at) else {
                return Ok(false);
            };
            let name = &self.new[child.start..colon];
            let place = slots[index.min(slots.len())..].iter().position(|slot| {
                let prefix = slot.prefix();
                prefix
                    .iter()
                    .rposition(|&b| b == b':')
                    .is_some_and(|c| &prefix[..=c] == name)
            });
            match place {
                Some(skipped) => {
                    self.remove_some(&slots[index..index + skipped], path);
                    index += skipped;
                    let slot = &slots[index];
                    if matches(slot, self.new, child.start, self.cipher) != Some(child.end) {
                        self.slot(slot, colon..child.end, &join(path, &slot.key()))?;
                    }
                    index += 1;
                }
                None => {
                    if index < slots.len() && !self.remove_rest(slots, index, path) {
                        return Ok(false);
                    }
                    index = slots.len();
                    let key = json::unquote(name[..name.len() - 1].trim_ascii());
                    if (json::quote(&key) + ":").as_bytes() != name {
                        return Ok(false);
                    }
                    self.set(&join(path, &key), colon..child.end);
                }
            }
            at = child.end + 1;
            match self.new.get(child.end) {
                Some(b',') => {}
                Some(b'}') if at == inner.end => return Ok(self.remove_rest(slots, index, path)),
                _ => return Ok(false),
            }
        }
    }

    fn remove_some(&mut self, slots: &[Slot], path: &str) {
        for slot in slots {
            let path = join(path, &slot.key());
            self.changes.push(Change::Remove { path });
        }
    }

    fn remove_rest(&mut self, slots: &[Slot], from: usize, path: &str) -> bool {
        self.remove_some(slots.get(from..).unwrap_or_default(), path);
        true
    }
}

fn gone_is_tail(len: usize, change: Option<&Change>) -> bool {
    matches!(change, Some(Change::Splice { range, .. }) if range.start == len && range.end == len)
}
