//! Operations: what changes a state, and how that is written down.

use std::collections::HashMap;

use bytes::Bytes;

use crate::error::Result;
use crate::json::MAX_DEPTH;
use crate::renumber::MAX_VALUE;
use crate::text::{BlockRef, Text};
use crate::tree::{Container, Kind, Slot, State};
use crate::wire::{Reader, put_bytes, put_signed, put_varint};

/// One change of a state.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Append {
        path: String,
        items: Vec<Text>,
    },
    Set {
        path: String,
        value: Text,
    },
    /// What to add to each number of the value at `path`.
    Renumber {
        path: String,
        differences: Vec<i64>,
    },
    Remove {
        path: String,
    },
    Splice {
        path: String,
        start: u64,
        end: u64,
        items: Vec<Text>,
    },
    AppendBytes {
        data: Text,
    },
    SpliceBytes {
        start: u64,
        end: u64,
        data: Text,
    },
    /// The bytes of the new byte state, compressed with the old one as reference.
    Patch {
        len: u64,
        frame: Bytes,
    },
    /// A whole state, with what is open in it.
    Full {
        state: State,
    },
}

const APPEND: u8 = 1;
const SET: u8 = 2;
const REMOVE: u8 = 3;
const SPLICE: u8 = 4;
const APPEND_BYTES: u8 = 5;
const SPLICE_BYTES: u8 = 6;
const PATCH: u8 = 7;
const FULL: u8 = 8;
const RENUMBER: u8 = 9;

/// Writes operations of one version; blocks are numbered in the order of their first use.
#[derive(Debug, Default)]
pub(crate) struct OpWriter {
    pub(crate) bytes: Vec<u8>,
    pub(crate) blocks: Vec<BlockRef>,
    /// Where a block stands in `blocks`; what was taken back from there may still be named.
    numbers: HashMap<BlockRef, usize>,
}

impl OpWriter {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.blocks.clear();
        self.numbers.clear();
    }

    pub(crate) fn put(&mut self, op: &Op) {
        match op {
            Op::Append { path, items } => {
                self.head(APPEND, path);
                self.texts(items);
            }
            Op::Set { path, value } => {
                self.head(SET, path);
                self.text(value);
            }
            Op::Renumber { path, differences } => {
                self.head(RENUMBER, path);
                put_varint(&mut self.bytes, differences.len() as u64);
                for difference in differences {
                    put_signed(&mut self.bytes, *difference);
                }
            }
            Op::Remove { path } => self.head(REMOVE, path),
            Op::Splice {
                path,
                start,
                end,
                items,
            } => {
                self.head(SPLICE, path);
                put_varint(&mut self.bytes, *start);
                put_varint(&mut self.bytes, *end);
                self.texts(items);
            }
            Op::AppendBytes { data } => {
                self.bytes.push(APPEND_BYTES);
                self.text(data);
            }
            Op::SpliceBytes { start, end, data } => {
                self.bytes.push(SPLICE_BYTES);
                put_varint(&mut self.bytes, *start);
                put_varint(&mut self.bytes, *end);
                self.text(data);
            }
            Op::Patch { len, frame } => {
                self.bytes.push(PATCH);
                put_varint(&mut self.bytes, *len);
                put_bytes(&mut self.bytes, frame);
            }
            Op::Full { state } => {
                self.bytes.push(FULL);
                self.state(state);
            }
        }
    }

    fn head(&mut self, tag: u8, path: &str) {
        self.bytes.push(tag);
        put_bytes(&mut self.bytes, path.as_bytes());
    }

    fn texts(&mut self, texts: &[Text]) {
        put_varint(&mut self.bytes, texts.len() as u64);
        texts.iter().for_each(|text| self.text(text));
    }

    fn text(&mut self, text: &Text) {
        let blocks = text.blocks();
        let flag = u64::from(!blocks.is_empty());
        put_varint(&mut self.bytes, (text.literals().len() as u64) << 1 | flag);
        self.bytes.extend_from_slice(text.literals());
        if flag == 1 {
            put_varint(&mut self.bytes, blocks.len() as u64);
            for (at, block) in blocks {
                put_varint(&mut self.bytes, u64::from(*at));
                let number = self.number(block);
                put_varint(&mut self.bytes, number);
            }
        }
    }

    fn number(&mut self, block: &BlockRef) -> u64 {
        let number = self.numbers.entry(*block).or_insert(usize::MAX);
        if self.blocks.get(*number) != Some(block) {
            *number = self.blocks.len();
            self.blocks.push(*block);
        }
        *number as u64
    }

    fn state(&mut self, state: &State) {
        match state {
            State::Empty => self.bytes.push(0),
            State::Json(slot) => {
                self.bytes.push(1);
                self.slot(slot);
            }
            State::Bytes(pages) => {
                self.bytes.push(2);
                self.container(pages);
            }
        }
    }

    fn slot(&mut self, slot: &Slot) {
        let open = u64::from(slot.container().is_some());
        put_varint(&mut self.bytes, u64::from(slot.pre()) << 1 | open);
        put_varint(&mut self.bytes, u64::from(slot.post()));
        self.text(slot.text());
        if let Some(container) = slot.container() {
            self.container(container);
        }
    }

    fn container(&mut self, container: &Container) {
        self.bytes.push(container.kind as u8);
        put_bytes(&mut self.bytes, container.bare());
        put_varint(&mut self.bytes, container.slots().len() as u64);
        for slot in container.slots() {
            self.slot(slot);
        }
    }
}

/// Reads the operations of one version.
#[derive(Debug)]
pub(crate) struct OpReader<'a> {
    /// What texts share; without it each gets bytes of its own.
    shared: Option<&'a Bytes>,
    reader: Reader<'a>,
    blocks: &'a [BlockRef],
}

impl<'a> OpReader<'a> {
    /// Texts will share `buffer`.
    pub(crate) fn new(key: &'a str, buffer: &'a Bytes, blocks: &'a [BlockRef]) -> Self {
        Self {
            shared: Some(buffer),
            ..Self::copying(key, buffer, blocks)
        }
    }

    /// Texts will be copies, so that what is overwritten later is given back.
    pub(crate) fn copying(key: &'a str, bytes: &'a [u8], blocks: &'a [BlockRef]) -> Self {
        Self {
            shared: None,
            reader: Reader::new(key, 0, bytes),
            blocks,
        }
    }

    fn keep(&self, part: &[u8]) -> Bytes {
        match self.shared {
            Some(buffer) => buffer.slice_ref(part),
            None => Bytes::copy_from_slice(part),
        }
    }

    pub(crate) fn next(&mut self) -> Result<Option<Op>> {
        if self.reader.is_empty() {
            return Ok(None);
        }
        let tag = self.reader.byte()?;
        Ok(Some(match tag {
            APPEND => Op::Append {
                path: self.path()?,
                items: self.texts()?,
            },
            SET => Op::Set {
                path: self.path()?,
                value: self.text()?,
            },
            RENUMBER => Op::Renumber {
                path: self.path()?,
                differences: self.differences()?,
            },
            REMOVE => Op::Remove { path: self.path()? },
            SPLICE => Op::Splice {
                path: self.path()?,
                start: self.reader.varint()?,
                end: self.reader.varint()?,
                items: self.texts()?,
            },
            APPEND_BYTES => Op::AppendBytes { data: self.text()? },
            SPLICE_BYTES => Op::SpliceBytes {
                start: self.reader.varint()?,
                end: self.reader.varint()?,
                data: self.text()?,
            },
            PATCH => {
                let len = self.reader.varint()?;
                let frame = self.reader.bytes()?;
                let frame = self.keep(frame);
                Op::Patch { len, frame }
            }
            FULL => Op::Full {
                state: self.state()?,
            },
            _ => return Err(self.reader.damaged("an unknown operation")),
        }))
    }

    fn path(&mut self) -> Result<String> {
        self.reader.text().map(str::to_owned)
    }

    fn differences(&mut self) -> Result<Vec<i64>> {
        let count = self.reader.count(1)?;
        if count > MAX_VALUE {
            return Err(self.reader.damaged("more numbers than a value may have"));
        }
        (0..count).map(|_| self.reader.signed()).collect()
    }

    fn texts(&mut self) -> Result<Vec<Text>> {
        let count = self.reader.count(1)?;
        let mut texts = Vec::with_capacity(count.min(1024));
        for _ in 0..count {
            texts.push(self.text()?);
        }
        Ok(texts)
    }

    fn text(&mut self) -> Result<Text> {
        let head = self.reader.varint()?;
        let len =
            usize::try_from(head >> 1).map_err(|_| self.reader.damaged("a text is too long"))?;
        if len > u32::MAX as usize {
            return Err(self.reader.damaged("a text is too long"));
        }
        let literals = self.reader.take(len)?;
        let literals = self.keep(literals);
        if head & 1 == 0 {
            return Ok(literals.into());
        }
        let count = self.reader.count(2)?;
        let mut blocks = Vec::with_capacity(count.min(1024));
        let mut last = 0;
        for _ in 0..count {
            let at = self.reader.varint()?;
            let number = self.reader.varint()?;
            if at < last || at > len as u64 {
                return Err(self.reader.damaged("a block stands outside its text"));
            }
            last = at;
            let block = usize::try_from(number)
                .ok()
                .and_then(|n| self.blocks.get(n));
            let block = *block.ok_or_else(|| self.reader.damaged("an unknown block number"))?;
            blocks.push((at as u32, block));
        }
        Ok(Text::new(literals, blocks))
    }

    fn state(&mut self) -> Result<State> {
        Ok(match self.reader.byte()? {
            0 => State::Empty,
            1 => State::Json(self.slot(0)?),
            2 => {
                let pages = self.container(0)?;
                let plain =
                    |slot: &Slot| slot.container().is_none() && slot.pre() == 0 && slot.post() == 0;
                if pages.kind != Kind::Pages || !pages.slots().iter().all(plain) {
                    return Err(self.reader.damaged("a state of bytes is not made of pages"));
                }
                State::Bytes(pages)
            }
            _ => return Err(self.reader.damaged("an unknown kind of state")),
        })
    }

    fn slot(&mut self, depth: usize) -> Result<Slot> {
        if depth > MAX_DEPTH {
            return Err(self.reader.damaged("containers are nested too deep"));
        }
        let head = self.reader.varint()?;
        let post = self.reader.varint()?;
        let pre = head >> 1;
        let text = self.text()?;
        let len = text.literals().len() as u64;
        if pre.checked_add(post).is_none_or(|around| around > len) {
            return Err(self.reader.damaged("white space is longer than its text"));
        }
        if head & 1 == 0 {
            return Ok(Slot::closed(text, pre as u32, post as u32));
        }
        if pre + post != len {
            return Err(self.reader.damaged("an open value has a text of its own"));
        }
        let container = self.container(depth + 1)?;
        Ok(Slot::opened(text, pre as u32, container))
    }

    fn container(&mut self, depth: usize) -> Result<Container> {
        let kind = match self.reader.byte()? {
            0 => Kind::Array,
            1 => Kind::Object,
            2 => Kind::Pages,
            _ => return Err(self.reader.damaged("an unknown kind of container")),
        };
        let bare = self.reader.bytes()?;
        let bare = self.keep(bare);
        let count = self.reader.count(3)?;
        // Containers in containers could each ask for much and have nothing.
        let mut slots = Vec::with_capacity(count.min(if depth < 2 { 1024 } else { 4 }));
        for _ in 0..count {
            slots.push(self.slot(depth)?);
        }
        Ok(Container::new(kind, slots, bare))
    }
}
