//! The sorted footer of a sealed segment: its newest version of every key, in key order.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::check::crc32c;
use bytes::Bytes;

use crate::error::{Error, Result};
use crate::record::{ALIGN, HEADER, Header, Kind, le32, total_len};
use crate::segment::Segment;

const BLOCK_ENTRIES: usize = 64;
const BLOCK_BYTES: usize = 4096;
const TRAILER: usize = 24;

/// The newest version of a key in one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) offset: u64,
    pub(crate) value_len: u32,
    pub(crate) kind: Kind,
}

impl Version {
    pub(crate) fn total(&self, key_len: usize) -> u64 {
        total_len(key_len, self.value_len)
    }
}

/// The keys of the segment that is being written.
pub(crate) type Order = BTreeMap<Box<[u8]>, Version>;

/// Key and newest version.
pub(crate) type Entry = (Box<[u8]>, Version);

/// The blocks of one footer.
#[derive(Debug)]
pub(crate) struct Directory {
    blocks: Vec<Block>,
    entries: usize,
}

#[derive(Debug)]
struct Block {
    /// Number of entries in the blocks before this one.
    start: usize,
    offset: u64,
    len: u32,
    check: u32,
    first: Box<[u8]>,
}

/// The payload of a footer for `order`.
pub(crate) fn encode(order: &Order) -> Vec<u8> {
    let mut payload = Vec::new();
    let mut directory = Vec::new();
    let mut blocks = 0_u32;
    let mut entries = order.iter().peekable();
    while let Some((first, _)) = entries.peek() {
        let (first, start) = (first.to_vec(), payload.len());
        let mut previous: &[u8] = &[];
        let mut count = 0_u32;
        while (count as usize) < BLOCK_ENTRIES && payload.len() - start < BLOCK_BYTES {
            let Some((key, version)) = entries.next() else {
                break;
            };
            encode_entry(&mut payload, previous, key, version);
            previous = key;
            count += 1;
        }
        directory.extend_from_slice(&(start as u32).to_le_bytes());
        directory.extend_from_slice(&((payload.len() - start) as u32).to_le_bytes());
        directory.extend_from_slice(&crc32c(&payload[start..]).to_le_bytes());
        directory.extend_from_slice(&count.to_le_bytes());
        directory.extend_from_slice(&(first.len() as u32).to_le_bytes());
        directory.extend_from_slice(&first);
        blocks += 1;
    }
    let at = payload.len() as u32;
    payload.extend_from_slice(&directory);
    let trailer = [
        at,
        directory.len() as u32,
        crc32c(&directory),
        blocks,
        order.len() as u32,
    ];
    let start = payload.len();
    for word in trailer {
        payload.extend_from_slice(&word.to_le_bytes());
    }
    let check = crc32c(&payload[start..]);
    payload.extend_from_slice(&check.to_le_bytes());
    payload
}

fn encode_entry(out: &mut Vec<u8>, previous: &[u8], key: &[u8], version: &Version) {
    let shared = previous.iter().zip(key).take_while(|(a, b)| a == b).count();
    push_varint(out, shared as u64);
    push_varint(out, (key.len() - shared) as u64);
    out.extend_from_slice(&key[shared..]);
    // The kind takes one bit of the offset.
    let deleted = u64::from(version.kind == Kind::Delete);
    push_varint(out, version.offset / ALIGN * 2 + deleted);
    push_varint(out, u64::from(version.value_len));
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}

/// Reads one entry; `key` holds the previous one's key and then this one's.
fn decode_entry(bytes: &mut &[u8], key: &mut Vec<u8>, footer_at: u64) -> Option<Version> {
    let shared = usize::try_from(take_varint(bytes)?).ok()?;
    let rest = usize::try_from(take_varint(bytes)?).ok()?;
    key.get(..shared)?;
    key.truncate(shared);
    key.extend_from_slice(take(bytes, rest)?);
    let place = take_varint(bytes)?;
    let offset = (place >> 1).checked_mul(ALIGN)?;
    let value_len = u32::try_from(take_varint(bytes)?).ok()?;
    let kind = if place & 1 == 1 {
        Kind::Delete
    } else {
        Kind::Put
    };
    (offset < footer_at).then_some(())?;
    Some(Version {
        offset,
        value_len,
        kind,
    })
}

impl Directory {
    /// Reads the directory of a sealed segment's footer; `None` when it has no good one.
    pub(crate) fn load(segment: &Segment) -> Result<Option<Self>> {
        let at = segment.footer_at;
        if at == 0 {
            return Ok(None);
        }
        let head = segment.bytes(at, HEADER as u64)?;
        let header = Header::decode(&head, segment.salt, at).filter(|h| h.kind == Kind::Footer);
        let Some(header) = header.filter(|h| h.value_len as usize >= TRAILER) else {
            return Ok(None);
        };
        let payload = at + HEADER as u64;
        let len = u64::from(header.value_len);
        if payload + len > segment.tail() {
            return Ok(None);
        }
        let trailer = segment.bytes(payload + len - TRAILER as u64, TRAILER as u64)?;
        let Some((start, size, check)) = Self::trailer(&trailer, len) else {
            return Ok(None);
        };
        let bytes = segment.bytes(payload + u64::from(start), u64::from(size))?;
        if crc32c(&bytes) != check {
            return Ok(None);
        }
        Ok(Self::parse(payload, &bytes, u64::from(start)))
    }

    fn trailer(bytes: &[u8], payload_len: u64) -> Option<(u32, u32, u32)> {
        let good = bytes.len() == TRAILER && crc32c(&bytes[..20]) == le32(bytes, 20);
        let (start, size) = (good.then(|| le32(bytes, 0))?, le32(bytes, 4));
        let fits = u64::from(start) + u64::from(size) + TRAILER as u64 == payload_len;
        fits.then(|| (start, size, le32(bytes, 8)))
    }

    fn parse(payload: u64, mut bytes: &[u8], limit: u64) -> Option<Self> {
        let mut blocks = Vec::new();
        let mut entries = 0;
        while !bytes.is_empty() {
            let head = take(&mut bytes, 20)?;
            let first = take(&mut bytes, le32(head, 16) as usize)?;
            let (offset, len) = (u64::from(le32(head, 0)), le32(head, 4));
            let count = le32(head, 12) as usize;
            if offset + u64::from(len) > limit || count > BLOCK_ENTRIES {
                return None;
            }
            blocks.push(Block {
                start: entries,
                offset: payload + offset,
                len,
                check: le32(head, 8),
                first: first.into(),
            });
            entries += count;
        }
        Some(Self { blocks, entries })
    }

    pub(crate) fn len(&self) -> usize {
        self.entries
    }

    pub(crate) fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// The block that holds entry number `i`, and the number of its first entry.
    pub(crate) fn block_of(&self, i: usize) -> (usize, usize) {
        let block = self.blocks.partition_point(|b| b.start <= i) - 1;
        (block, self.blocks[block].start)
    }

    /// The last block whose first key is below `key` (or block 0).
    pub(crate) fn block_before(&self, key: &[u8]) -> usize {
        self.blocks
            .partition_point(|b| *b.first < *key)
            .saturating_sub(1)
    }

    pub(crate) fn start_of(&self, block: usize) -> usize {
        self.blocks[block].start
    }

    pub(crate) fn end_of(&self, block: usize) -> usize {
        self.blocks.get(block + 1).map_or(self.entries, |b| b.start)
    }

    /// True if the blocks that hold entries number `low..high` pass their checks.
    pub(crate) fn is_good(&self, segment: &Segment, low: usize, high: usize) -> Result<bool> {
        let overlapping = self.blocks.iter().enumerate();
        let mut overlapping = overlapping.filter(|(i, b)| b.start < high && self.end_of(*i) > low);
        overlapping.try_fold(true, |good, (_, block)| {
            let bytes = segment.bytes(block.offset, u64::from(block.len))?;
            Ok(good && crc32c(&bytes) == block.check)
        })
    }

    /// Hands every entry to `take`, in key order, without keeping any.
    pub(crate) fn for_each(
        &self,
        segment: &Segment,
        mut take: impl FnMut(&[u8], &Version),
    ) -> Result<()> {
        let mut key = Vec::new();
        for (i, block) in self.blocks.iter().enumerate() {
            let bytes = self.block_bytes(segment, block)?;
            let mut rest = &bytes[..];
            key.clear();
            for _ in block.start..self.end_of(i) {
                let version = decode_entry(&mut rest, &mut key, segment.footer_at)
                    .ok_or_else(|| bad_block(segment, block))?;
                take(&key, &version);
            }
        }
        Ok(())
    }

    fn block_bytes(&self, segment: &Segment, block: &Block) -> Result<Bytes> {
        let bytes = segment.bytes(block.offset, u64::from(block.len))?;
        match crc32c(&bytes) == block.check {
            true => Ok(bytes),
            false => Err(bad_block(segment, block)),
        }
    }

    /// Reads and checks one block.
    pub(crate) fn read(&self, segment: &Segment, block: usize) -> Result<Arc<[Entry]>> {
        let meta = &self.blocks[block];
        let end = self.end_of(block);
        let bytes = self.block_bytes(segment, meta)?;
        decode_block(&bytes, end - meta.start, segment.footer_at)
            .ok_or_else(|| bad_block(segment, meta))
    }
}

fn bad_block(segment: &Segment, block: &Block) -> Error {
    segment.damaged(block.offset, "a block of the footer fails its check")
}

fn decode_block(mut bytes: &[u8], count: usize, footer_at: u64) -> Option<Arc<[Entry]>> {
    let mut entries: Vec<Entry> = Vec::with_capacity(count);
    let mut key = Vec::new();
    for _ in 0..count {
        let version = decode_entry(&mut bytes, &mut key, footer_at)?;
        entries.push((key.as_slice().into(), version));
    }
    bytes.is_empty().then(|| entries.into())
}
