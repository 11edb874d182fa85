//! Applies operations to a state. Each is checked before it changes anything.

use std::borrow::Cow;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::error::{Error, Result};
use crate::json;
use crate::op::Op;
use crate::pointer;
use crate::renumber;
use crate::stream;
use crate::text::{Fetch, Text};
use crate::tree::{Container, Kind, PAGE, Slot, State};

impl State {
    /// Changes the state, or leaves it as it is and says why. Cost: the change (and opening what was never reached into).
    pub(crate) fn apply(&mut self, op: Op, fetch: &dyn Fetch, limit: u64) -> Result<()> {
        match op {
            Op::Append { path, items } => self.in_array(&path, |array, _| {
                for item in items {
                    array.push(Slot::value(item));
                }
            }),
            Op::Splice {
                path,
                start,
                end,
                items,
            } => {
                let range = self.array_range(&path, start, end)?;
                self.in_array(&path, |array, _| {
                    array.splice(range, items.into_iter().map(Slot::value).collect());
                })
            }
            Op::Set { path, value } => self.set(&path, value),
            Op::Renumber { path, differences } => {
                let old = self.value_at(&path)?;
                let new = old.and_then(|old| renumber::renumbered(&old, &differences));
                let new =
                    new.ok_or_else(|| Error::operation(&path, "the value has other numbers"))?;
                self.set(&path, Bytes::from(new).into())
            }
            Op::Remove { path } => self.remove(&path),
            Op::AppendBytes { data } => {
                let end = self.len();
                self.splice_bytes(end..end, data, fetch, limit)
            }
            Op::SpliceBytes { start, end, data } => {
                self.splice_bytes(start..end, data, fetch, limit)
            }
            Op::Patch { len, frame } => self.patch(len, &frame, fetch, limit),
            Op::Full { state } => {
                *self = state;
                Ok(())
            }
        }
    }

    /// The bytes that a `set` would replace, if they are all there.
    fn value_at(&self, path: &str) -> Result<Option<Bytes>> {
        self.look(path, &mut Slot::place)
    }

    /// The operation in its smallest form.
    pub(crate) fn shortened(&self, op: Op) -> Op {
        let Op::Set { path, value } = &op else {
            return op;
        };
        if !value.blocks().is_empty() || value.literals().len() > renumber::MAX_VALUE {
            return op;
        }
        let Ok(Some(old)) = self.value_at(path) else {
            return op;
        };
        match renumber::differences(&old, value.literals()) {
            Some(differences) if differences.len() * 2 <= value.literals().len() => Op::Renumber {
                path: path.clone(),
                differences,
            },
            _ => op,
        }
    }

    fn array_len(&self, path: &str) -> Result<usize> {
        let mut count = |slot: &Slot| match slot.first() {
            Some(b'[') => match slot.container() {
                Some(open) => Ok(open.slots().len()),
                None => slot.parsed(path).map(|open| open.slots().len()),
            },
            _ => Err(Error::operation(path, "it is not an array")),
        };
        self.look(path, &mut count)?
    }

    fn array_range(&self, path: &str, start: u64, end: u64) -> Result<Range<usize>> {
        let len = self.array_len(path)?;
        match (usize::try_from(start), usize::try_from(end)) {
            (Ok(start), Ok(end)) if start <= end && end <= len => Ok(start..end),
            _ => Err(Error::operation(path, "the range is outside the array")),
        }
    }

    fn in_array(&mut self, path: &str, change: impl FnOnce(&mut Container, &str)) -> Result<()> {
        let mut first = |slot: &Slot| slot.first();
        if self.look(path, &mut first)? != Some(b'[') {
            return Err(Error::operation(path, "it is not an array"));
        }
        let tokens = pointer::tokens(path)?;
        self.at(&tokens, path, |slot| {
            slot.open(path).map(|array| change(array, path))
        })?
    }

    /// Goes down to a slot, opening what is on the way, and keeps lengths and hashes in step on the way back.
    fn at<R>(
        &mut self,
        tokens: &[Cow<'_, str>],
        path: &str,
        change: impl FnOnce(&mut Slot) -> R,
    ) -> Result<R> {
        match self {
            Self::Json(slot) => descend(slot, tokens, path, change),
            _ => Err(Error::operation(path, "the state is not JSON")),
        }
    }

    fn set(&mut self, path: &str, value: Text) -> Result<()> {
        let tokens = pointer::tokens(path)?;
        let Some((last, parents)) = tokens.split_last() else {
            *self = Self::Json(Slot::value(value));
            return Ok(());
        };
        let (kind, place) = self.place(path, parents.len(), last)?;
        if place.is_none() && kind == Kind::Array {
            return Err(Error::operation(path, "the index is outside the array"));
        }
        self.at(parents, path, |slot| {
            let container = slot.open(path)?;
            match place {
                Some(index) => container.change(index, |slot| *slot = slot.replaced(value)),
                None => {
                    let name = json::quote(last) + ":";
                    container.push(Slot::member(name.as_bytes(), value));
                }
            }
            Ok(())
        })?
    }

    fn remove(&mut self, path: &str) -> Result<()> {
        let tokens = pointer::tokens(path)?;
        let Some((last, parents)) = tokens.split_last() else {
            *self = Self::Empty;
            return Ok(());
        };
        let (_, place) = self.place(path, parents.len(), last)?;
        let index = place.ok_or_else(|| Error::missing("path", path))?;
        self.at(parents, path, |slot| {
            slot.open(path)?.splice(index..index + 1, Vec::new());
            Ok(())
        })?
    }

    /// What kind of container the last token points into, and at which child.
    fn place(&self, path: &str, parents: usize, last: &str) -> Result<(Kind, Option<usize>)> {
        let parent = path
            .match_indices('/')
            .nth(parents)
            .map_or("", |(at, _)| &path[..at]);
        let mut find = |slot: &Slot| match slot.container() {
            Some(open) => Ok((open.kind, open.position(last))),
            None => slot
                .parsed(path)
                .map(|open| (open.kind, open.position(last))),
        };
        self.look(parent, &mut find)?
    }

    fn pages(&mut self) -> Result<&mut Container> {
        if matches!(self, Self::Empty) {
            *self = Self::Bytes(Container::new(Kind::Pages, Vec::new(), Bytes::new()));
        }
        match self {
            Self::Bytes(pages) => Ok(pages),
            _ => Err(Error::operation("", "the state is JSON, not bytes")),
        }
    }

    fn splice_bytes(
        &mut self,
        range: Range<u64>,
        data: Text,
        fetch: &dyn Fetch,
        limit: u64,
    ) -> Result<()> {
        let pages = match self {
            Self::Json(_) => return Err(Error::operation("", "the state is JSON, not bytes")),
            Self::Empty => &Container::new(Kind::Pages, Vec::new(), Bytes::new()),
            Self::Bytes(pages) => pages,
        };
        if range.start > range.end || range.end > pages.len() {
            return Err(Error::operation("", "the range is outside the state"));
        }
        let (touched, start) = touched(pages, &range);
        let old: u64 = pages.slots()[touched.clone()].iter().map(Slot::len).sum();
        within(old, limit)?;
        let slots = if data.blocks().is_empty() {
            let around = gather(&pages.slots()[touched.clone()], fetch)?;
            let head = (range.start - start) as usize;
            let tail = (range.end - start) as usize;
            paged(&[&around[..head], data.literals(), &around[tail..]])
        } else {
            let around = gather(&pages.slots()[touched.clone()], fetch)?;
            let head = (range.start - start) as usize;
            let tail = (range.end - start) as usize;
            let mut slots = paged(&[&around[..head]]);
            slots.extend(block_pages(&data));
            slots.extend(paged(&[&around[tail..old as usize]]));
            slots
        };
        self.pages()?.splice(touched, slots);
        Ok(())
    }

    fn patch(&mut self, len: u64, frame: &[u8], fetch: &dyn Fetch, limit: u64) -> Result<()> {
        if !matches!(self, Self::Empty | Self::Bytes(_)) {
            return Err(Error::operation("", "the state is JSON, not bytes"));
        }
        within(len.max(self.len()), limit)?;
        let old = self.render(fetch)?;
        let new = stream::unpatch(&old, frame, len)?;
        *self = Self::Bytes(Container::new(Kind::Pages, paged(&[&new]), Bytes::new()));
        Ok(())
    }
}

/// Checked before bytes are put together: a few blocks named very often would take any amount of memory.
fn within(len: u64, limit: u64) -> Result<()> {
    if len > limit {
        return Err(Error::TooLarge {
            what: "state",
            limit,
            found: len,
        });
    }
    Ok(())
}

fn descend<R>(
    slot: &mut Slot,
    tokens: &[Cow<'_, str>],
    path: &str,
    change: impl FnOnce(&mut Slot) -> R,
) -> Result<R> {
    let Some((token, rest)) = tokens.split_first() else {
        return Ok(change(slot));
    };
    let container = slot.open(path)?;
    let index = container
        .position(token)
        .ok_or_else(|| Error::missing("path", path))?;
    container.change(index, |child| descend(child, rest, path, change))
}

/// The pages that a range of bytes touches (an insertion touches the page before it), and where the first begins.
fn touched(pages: &Container, range: &Range<u64>) -> (Range<usize>, u64) {
    let slots = pages.slots();
    let appended = range.start == pages.len();
    if appended && slots.last().is_some_and(|last| last.len() < PAGE as u64) {
        let last = slots.len() - 1;
        return (last..slots.len(), pages.len() - slots[last].len());
    }
    if appended {
        return (slots.len()..slots.len(), pages.len());
    }
    let mut at = 0;
    let mut first = 0;
    while at + slots[first].len() <= range.start {
        at += slots[first].len();
        first += 1;
    }
    let start = at;
    let mut end = first;
    while end < slots.len() && (at < range.end || end == first) {
        at += slots[end].len();
        end += 1;
    }
    (first..end, start)
}

fn gather(slots: &[Slot], fetch: &dyn Fetch) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for slot in slots {
        slot.text().render(fetch, &mut bytes)?;
    }
    Ok(bytes)
}

/// Cuts bytes into pages of [`PAGE`].
fn paged(parts: &[&[u8]]) -> Vec<Slot> {
    let mut all = BytesMut::with_capacity(parts.iter().map(|p| p.len()).sum());
    parts.iter().for_each(|part| all.extend_from_slice(part));
    let all = all.freeze();
    let starts = (0..all.len()).step_by(PAGE);
    starts
        .map(|at| Slot::closed(all.slice(at..all.len().min(at + PAGE)).into(), 0, 0))
        .collect()
}

/// One page for each block, pages as usual for what is between them.
fn block_pages(data: &Text) -> Vec<Slot> {
    let mut slots = Vec::new();
    for piece in data.pieces() {
        match piece {
            crate::text::Piece::Literal(bytes) => slots.extend(paged(&[bytes])),
            crate::text::Piece::Block(block) => {
                let text = Text::new(Bytes::new(), vec![(0, *block)]);
                slots.push(Slot::closed(text, 0, 0));
            }
        }
    }
    slots
}
