//! A thread's working state: what was changed since its head, and the compressor of its open segment.

use std::collections::HashMap;

use bytes::Bytes;

use crate::block::{self, Known};
use crate::dictionary::dictionary;
use crate::error::{Error, Result};
use crate::json;
use crate::ledger::segment_key;
use crate::op::{Op, OpWriter};
use crate::pointer;
use crate::segment::{FORMAT, Header, MAX_LABEL, Meta, Parent, SegmentWriter, check_of};
use crate::signal::{self, Count};
use crate::store::{Cell, Store, lock};
use crate::stream::{Effort, Encoder};
use crate::text::{BlockId, Text};
use crate::tree::State;
use crate::version::{CommitOptions, VersionId};

/// Bytes of the base state that prime a new segment.
const PRIME: u64 = 128 << 10;
/// Pieces that a long part of a byte state is cut into.
const BYTE_BLOCK: usize = 256 << 10;

#[derive(Debug, Default)]
pub(crate) struct Work {
    state: Option<State>,
    pending: OpWriter,
    new_blocks: HashMap<BlockId, Bytes>,
    pub(crate) live: Option<Live>,
    base: Option<Base>,
    /// Bytes that replaying the pending operations takes beyond their own.
    extra: u64,
}

/// What a new segment needs to know about the head's state.
#[derive(Debug)]
struct Base {
    root: u128,
    size: u64,
    dictionary: Vec<u8>,
}

impl Base {
    fn of(mut state: State) -> (Self, State) {
        let base = Self {
            root: state.hash(),
            size: state.len(),
            dictionary: dictionary(FORMAT, &state, PRIME),
        };
        (base, state)
    }
}

/// A working state to go back to.
#[derive(Debug)]
pub(crate) struct Saved {
    state: Option<State>,
    bytes: usize,
    blocks: usize,
    extra: u64,
}

/// The open segment.
#[derive(Debug)]
pub(crate) struct Live {
    encoder: Encoder,
    writer: SegmentWriter,
    number: u64,
    replay: u64,
}

impl Work {
    /// The working state; read from the store at first use.
    pub(crate) fn state(&mut self, store: &Store, cell: &Cell) -> Result<&mut State> {
        self.load(store, cell)?;
        self.state
            .as_mut()
            .ok_or_else(|| Error::missing("state", cell.name.clone()))
    }

    fn load(&mut self, store: &Store, cell: &Cell) -> Result<()> {
        if self.state.is_none() {
            let head = {
                let ledger = lock(&cell.ledger);
                ledger.unblocked()?;
                ledger.head
            };
            let (base, state) = Base::of(head.map_or(Ok(State::Empty), |head| store.state(head))?);
            (self.base, self.state) = (Some(base), Some(state));
            store.keep_stream(cell.uid);
        }
        Ok(())
    }

    /// Bytes of the working state, if it is in memory.
    pub(crate) fn len(&self) -> Option<u64> {
        self.state.as_ref().map(State::len)
    }

    pub(crate) fn pending_blocks(&self) -> impl Iterator<Item = &BlockId> {
        self.pending.blocks.iter().map(|block| &block.id)
    }

    pub(crate) fn is_changed(&self) -> bool {
        !self.pending.bytes.is_empty()
    }

    /// Forgets what was not committed.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }

    /// A JSON value as it goes into an operation: checked, long strings moved to blocks.
    pub(crate) fn value(&mut self, store: &Store, raw: &[u8]) -> Result<Text> {
        self.fits(store, raw.len())?;
        let long = json::validate(raw, store.options.block_bytes)?;
        if long.is_empty() {
            return Ok(Bytes::copy_from_slice(raw).into());
        }
        let mut literals = Vec::new();
        let mut blocks = Vec::new();
        let mut from = 0;
        for range in long {
            literals.extend_from_slice(&raw[from..range.start]);
            blocks.push((
                literals.len() as u32,
                self.block(store, &raw[range.clone()]),
            ));
            from = range.end;
        }
        literals.extend_from_slice(&raw[from..]);
        Ok(Text::new(literals.into(), blocks))
    }

    /// Bytes as they go into an operation: long ones as blocks.
    pub(crate) fn data(&mut self, store: &Store, bytes: &[u8]) -> Result<Text> {
        self.fits(store, bytes.len())?;
        if bytes.len() < store.options.block_bytes {
            return Ok(Bytes::copy_from_slice(bytes).into());
        }
        let parts = bytes.chunks(BYTE_BLOCK);
        let blocks = parts.map(|part| (0, self.block(store, part))).collect();
        Ok(Text::new(Bytes::new(), blocks))
    }

    fn block(&mut self, store: &Store, bytes: &[u8]) -> crate::text::BlockRef {
        let block = block::address(bytes, store.cipher());
        if !store.known.meet(&block.id) {
            self.new_blocks
                .entry(block.id)
                .or_insert_with(|| Bytes::copy_from_slice(bytes));
        }
        block
    }

    fn fits(&self, store: &Store, len: usize) -> Result<()> {
        let limit = store.options.max_state.min(u64::from(u32::MAX) / 2);
        if len as u64 > limit {
            return Err(Error::TooLarge {
                what: "value",
                limit,
                found: len as u64,
            });
        }
        Ok(())
    }

    /// Applies an operation to the working state and notes it for the next commit.
    pub(crate) fn apply(&mut self, store: &Store, cell: &Cell, op: Op) -> Result<()> {
        let limit = store.options.max_state;
        self.load(store, cell)?;
        if let Op::Append { path, .. } | Op::Splice { path, .. } = &op
            && pointer::tokens(path)?.len() >= json::MAX_DEPTH
        {
            // The array itself would be one open container more than a whole state is read back with.
            return Err(Error::operation(path, "the path is too deep"));
        }
        let stored = store.fetcher();
        let fetch = Pending {
            new_blocks: &self.new_blocks,
            stored: &stored,
        };
        let extra = match &op {
            Op::Patch { len, .. } => *len,
            _ => 0,
        };
        let Some(state) = &mut self.state else {
            return Ok(());
        };
        let mark = (self.pending.bytes.len(), self.pending.blocks.len());
        let op = state.shortened(op);
        self.pending.put(&op);
        let applied = state.apply(op, &fetch, limit);
        if applied.is_err() {
            self.pending.bytes.truncate(mark.0);
            self.pending.blocks.truncate(mark.1);
        } else {
            self.extra += extra;
        }
        applied
    }

    /// The head, if it is what the caller thinks it is and nothing else speaks against the commit.
    pub(crate) fn expect(
        &self,
        cell: &Cell,
        commit: &CommitOptions<'_>,
    ) -> Result<Option<VersionId>> {
        for (what, text) in [
            ("label", commit.label),
            ("checkpoint id", commit.checkpoint),
        ] {
            let found = text.map_or(0, str::len) as u64;
            let limit = MAX_LABEL as u64;
            if found > limit {
                return Err(Error::TooLarge { what, limit, found });
            }
        }
        let head = lock(&cell.ledger).head;
        match commit.parent {
            Some(expected) if expected != head => {
                let name =
                    |id: Option<VersionId>| id.map_or("no version".to_owned(), |id| id.to_string());
                Err(Error::Conflict {
                    expected: name(expected),
                    found: name(head),
                })
            }
            _ => Ok(head),
        }
    }

    /// The working state as bytes.
    pub(crate) fn render(&mut self, store: &Store, cell: &Cell) -> Result<Bytes> {
        self.load(store, cell)?;
        let stored = store.fetcher();
        let fetch = Pending {
            new_blocks: &self.new_blocks,
            stored: &stored,
        };
        self.state
            .as_ref()
            .map_or(Ok(Bytes::new()), |state| state.render(&fetch))
    }

    /// Enough to undo the operations that follow.
    pub(crate) fn save(&self) -> Saved {
        Saved {
            state: self.state.clone(),
            bytes: self.pending.bytes.len(),
            blocks: self.pending.blocks.len(),
            extra: self.extra,
        }
    }

    pub(crate) fn put_back(&mut self, saved: Saved) {
        self.state = saved.state;
        self.pending.bytes.truncate(saved.bytes);
        self.pending.blocks.truncate(saved.blocks);
        self.extra = saved.extra;
    }

    /// Makes a version of the working state.
    pub(crate) fn commit(
        &mut self,
        store: &Store,
        cell: &Cell,
        commit: &CommitOptions<'_>,
    ) -> Result<VersionId> {
        let head = self.expect(cell, commit)?;
        self.store_blocks(store, &store.known, 0)?;
        let state = self.state(store, cell)?;
        let (root, size) = (state.hash(), state.len());
        if size > store.options.max_state {
            return Err(Error::TooLarge {
                what: "state",
                limit: store.options.max_state,
                found: size,
            });
        }
        let time = commit.time.unwrap_or_else(|| (store.options.clock)());
        let mut meta = Meta {
            time,
            size,
            check: check_of(root),
            label: commit.label.map(str::to_owned),
            checkpoint: commit.checkpoint.map(str::to_owned),
            ..Meta::default()
        };
        self.write(store, cell, head, &mut meta)
    }

    /// Stores the pending blocks, so that they need not be kept in memory; the first `stored` of them are. Gives how
    /// many are now.
    pub(crate) fn flush_blocks(&mut self, store: &Store, stored: usize) -> Result<usize> {
        self.store_blocks(store, &store.known, stored)?;
        self.new_blocks.clear();
        Ok(self.pending.blocks.len())
    }

    fn store_blocks(&mut self, store: &Store, known: &Known, from: usize) -> Result<()> {
        let blocks = self.pending.blocks.get(from..).unwrap_or_default();
        let (backing, cipher) = (&*store.backing, store.cipher());
        for block in blocks.iter().filter(|block| !known.contains(&block.id)) {
            match self.new_blocks.get(&block.id) {
                Some(bytes) => {
                    block::store(backing, known, block, bytes, store.options.level, cipher)?;
                }
                // It was stored when the value came, so its bytes were not kept; then it was found damaged or missing.
                // A version that cannot be restored is none: the value has to be given again.
                None => {
                    block::load(backing, block, store.options.max_state, cipher)?;
                    known.insert(block.id);
                }
            }
        }
        Ok(())
    }

    /// Appends the version to the open segment or to a new one. The open segment is given up when anything fails.
    fn write(
        &mut self,
        store: &Store,
        cell: &Cell,
        head: Option<VersionId>,
        meta: &mut Meta,
    ) -> Result<VersionId> {
        let bound = store.options.replay_limit(meta.size);
        let pending = self.pending.bytes.len() as u64 + self.extra;
        let fits = |live: &Live| live.replay.saturating_add(pending) <= bound;
        let (mut live, header) = match self.live.take().filter(fits) {
            Some(live) => (live, None),
            None => {
                let (live, header) = self.start(store, cell, head, bound, meta)?;
                (live, Some(header))
            }
        };
        let whole;
        let ops = if meta.full {
            whole = self.whole();
            &whole
        } else {
            &self.pending
        };
        meta.ops = ops.bytes.len() as u64;
        meta.blocks.clone_from(&ops.blocks);
        for block in &meta.blocks {
            store.known.meet(&block.id);
        }
        meta.seq = lock(&cell.ledger).next_seq;
        let payload = live.encoder.flush(&ops.bytes)?;
        let record =
            live.writer
                .group(std::slice::from_ref(meta), &payload, false, store.cipher())?;
        let key = &live.writer.key;
        if let Err(error) = append(store, key, &record) {
            lock(&cell.ledger).suspects.insert(live.number);
            return Err(error);
        }
        signal::count(Count::Written, record.len() as u64);
        let mut ledger = lock(&cell.ledger);
        if let Some(header) = header {
            ledger.open_segment(live.number, header);
        }
        let full_bytes = if meta.full { payload.len() as u64 } else { 0 };
        ledger.grow(live.number, record.len() as u64, full_bytes);
        ledger.push(live.number, meta.clone(), false);
        store.remembers(1);
        let id = ledger.id(meta.seq);
        ledger.head = Some(id);
        drop(ledger);
        live.replay += meta.ops + std::mem::take(&mut self.extra);
        self.base = None;
        self.live = Some(live);
        self.pending.clear();
        self.new_blocks.clear();
        Ok(id)
    }

    /// The whole working state as one operation.
    fn whole(&self) -> OpWriter {
        let mut writer = OpWriter::default();
        if let Some(state) = &self.state {
            writer.put(&Op::Full {
                state: state.clone(),
            });
        }
        writer
    }

    /// A new segment.
    fn start(
        &mut self,
        store: &Store,
        cell: &Cell,
        head: Option<VersionId>,
        bound: u64,
        meta: &mut Meta,
    ) -> Result<(Live, Header)> {
        let links = head.map_or(Ok(Vec::new()), |head| store.chain(head))?;
        let before: u64 = links.iter().map(|link| link.replay).sum();
        let pending = self.pending.bytes.len() as u64 + self.extra;
        meta.full = before.saturating_add(pending) > bound
            || links.len() >= store.options.max_chain as usize;
        let base = head.filter(|_| !meta.full);
        let mut header = Header {
            thread: cell.name.clone(),
            time: meta.time,
            ..Header::default()
        };
        let mut primed = dictionary(FORMAT, &State::Empty, 0);
        if let Some(base) = base {
            let known = match self.base.take() {
                Some(known) => known,
                None => Base::of(store.state(base)?).0,
            };
            header.size = known.size;
            header.prime = PRIME;
            header.parent = Some(Parent {
                id: base,
                is_base: true,
                root: known.root,
            });
            primed = known.dictionary;
        } else if let Some(head) = head {
            header.parent = Some(Parent {
                id: head,
                is_base: false,
                root: 0,
            });
        }
        let mut ledger = lock(&cell.ledger);
        let number = ledger.next_segment;
        // A number is never used twice, even when the first write to it fails.
        ledger.next_segment += 1;
        header.seq = ledger.next_seq - 1;
        header.next_seq = ledger.next_seq;
        drop(ledger);
        let live = Live {
            encoder: Encoder::new(Effort::Live(store.options.level), &primed)?,
            writer: SegmentWriter::new(segment_key(cell.uid, number), header.clone()),
            number,
            replay: if meta.full { 0 } else { before },
        };
        store.keep_stream(cell.uid);
        Ok((live, header))
    }
}

fn append(store: &Store, key: &str, record: &[u8]) -> Result<()> {
    let backing = &store.backing;
    backing
        .append(key, record)
        .map_err(Error::io("append", key))?;
    if store.options.sync {
        backing.sync().map_err(Error::io("sync", key))?;
    }
    Ok(())
}

/// Blocks that are not stored yet come from memory.
struct Pending<'a> {
    new_blocks: &'a HashMap<BlockId, Bytes>,
    stored: &'a dyn crate::text::Fetch,
}

impl crate::text::Fetch for Pending<'_> {
    fn fetch(&self, block: &crate::text::BlockRef) -> Result<Bytes> {
        match self.new_blocks.get(&block.id) {
            Some(bytes) => Ok(bytes.clone()),
            None => self.stored.fetch(block),
        }
    }
}
