//! Byte layout of a segment: a header record and a record for each group of versions (docs/formats/delta-snapshot-v1.md).

use bytes::Bytes;

use crate::cipher::Cipher;
use crate::error::{Error, Result};
use crate::form::Form;
use crate::prefix::Prefixes;
use crate::record::Framing;
use crate::text::BlockRef;
use crate::version::VersionId;
use crate::wire::{Reader, put_bytes, put_signed, put_varint};

pub(crate) const MAGIC: &[u8; 4] = b"MSDS";
pub(crate) const FORMAT: u8 = 3;
/// Formats that are read.
const FORMATS: std::ops::RangeInclusive<u8> = 1..=FORMAT;
pub(crate) const MAX_LABEL: usize = 4096;
pub(crate) const MAX_THREAD: usize = 512;
/// Numbers above are refused, so that counting on from them never ends.
const MAX_SEQ: u64 = 1 << 62;
/// How far behind damage the scanner looks for the next good record.
const RESYNC: usize = 16 << 20;

/// What is wrong with a segment whose very first write was interrupted.
pub(crate) const UNFINISHED: &str = "its first write did not finish";

/// What a segment continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parent {
    pub(crate) id: VersionId,
    /// False when the segment starts with a full state.
    pub(crate) is_base: bool,
    /// Hash of the state it continues.
    pub(crate) root: u128,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) thread: String,
    pub(crate) parent: Option<Parent>,
    /// Number before that of the first version.
    pub(crate) seq: u64,
    pub(crate) time: u64,
    pub(crate) size: u64,
    /// Segments with smaller numbers are replaced by this one and its neighbours.
    pub(crate) replaces: u64,
    /// Bytes of the base state that prime the frame.
    pub(crate) prime: u64,
    /// No version was given this number when the segment was written.
    pub(crate) next_seq: u64,
}

/// One version inside a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) seq: u64,
    pub(crate) time: u64,
    pub(crate) size: u64,
    /// Bytes of its operations in the frame.
    pub(crate) ops: u64,
    /// First bytes of the hash of the state.
    pub(crate) check: u32,
    pub(crate) label: Option<String>,
    /// The caller's own id of it.
    pub(crate) checkpoint: Option<String>,
    /// Its first operation replaces the whole state.
    pub(crate) full: bool,
    pub(crate) blocks: Vec<BlockRef>,
}

/// Versions whose operations were flushed together.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) versions: Vec<Meta>,
    pub(crate) payload: Bytes,
    /// The header of the one block that the payload is, if it was left out.
    pub(crate) block: Option<[u8; 3]>,
    pub(crate) ends_frame: bool,
    pub(crate) offset: usize,
}

/// Bytes that are not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flaw {
    pub(crate) offset: usize,
    pub(crate) what: &'static str,
    /// Nothing follows: a write that did not finish, or damage at the very end.
    pub(crate) tail: bool,
    /// Groups from this one on cannot be used.
    pub(crate) from_group: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) format: u8,
    pub(crate) header: Header,
    pub(crate) groups: Vec<Group>,
    pub(crate) flaw: Option<Flaw>,
    /// Bytes up to the end of the last good record before any flaw.
    pub(crate) good: usize,
}

const SKIPS: u8 = 1;
const LABEL: u8 = 2;
const BLOCKS: u8 = 4;
const FULL: u8 = 8;
const CHECKPOINT: u8 = 16;
const FLAGS: u8 = SKIPS | LABEL | BLOCKS | FULL | CHECKPOINT;

pub(crate) fn check_of(root: u128) -> u32 {
    root as u32
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        put_bytes(&mut out, self.thread.as_bytes());
        match &self.parent {
            None => out.push(0),
            Some(parent) => {
                out.push(1 + u8::from(parent.is_base));
                out.extend_from_slice(&parent.id.thread.to_le_bytes());
                put_varint(&mut out, parent.id.seq);
                out.extend_from_slice(&parent.root.to_le_bytes());
            }
        }
        for value in [
            self.seq,
            self.time,
            self.size,
            self.replaces,
            self.prime,
            self.next_seq,
        ] {
            put_varint(&mut out, value);
        }
        out
    }

    fn decode(key: &str, at: usize, body: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(key, at, body);
        let thread = reader.text()?.to_owned();
        let parent = match reader.byte()? {
            0 => None,
            tag @ (1 | 2) => Some(Parent {
                is_base: tag == 2,
                id: VersionId {
                    thread: u64::from_le_bytes(reader.array()?),
                    seq: reader.varint()?,
                },
                root: u128::from_le_bytes(reader.array()?),
            }),
            _ => return Err(reader.damaged("an unknown kind of base")),
        };
        let header = Self {
            thread,
            parent,
            seq: reader.varint()?,
            time: reader.varint()?,
            size: reader.varint()?,
            replaces: reader.varint()?,
            prime: reader.varint()?,
            next_seq: reader.varint()?,
        };
        if header.seq.max(header.next_seq) > MAX_SEQ {
            return Err(reader.damaged("a version number is out of range"));
        }
        Ok(header)
    }
}

/// Where the differences of the next version count from.
#[derive(Debug, Clone, Copy, Default)]
struct Previous {
    seq: u64,
    time: u64,
    size: u64,
}

impl Previous {
    fn put(&mut self, meta: &Meta, out: &mut Vec<u8>) {
        let skips = meta.seq != self.seq + 1;
        let flags = [
            (skips, SKIPS),
            (meta.label.is_some(), LABEL),
            (!meta.blocks.is_empty(), BLOCKS),
            (meta.full, FULL),
            (meta.checkpoint.is_some(), CHECKPOINT),
        ];
        out.push(
            flags
                .iter()
                .filter(|(set, _)| *set)
                .map(|(_, bit)| bit)
                .sum(),
        );
        if skips {
            put_varint(out, meta.seq.wrapping_sub(self.seq));
        }
        put_signed(out, meta.time.wrapping_sub(self.time) as i64);
        put_signed(out, meta.size.wrapping_sub(self.size) as i64);
        put_varint(out, meta.ops);
        out.extend_from_slice(&meta.check.to_le_bytes());
        if let Some(label) = &meta.label {
            put_bytes(out, label.as_bytes());
        }
        if let Some(checkpoint) = &meta.checkpoint {
            put_bytes(out, checkpoint.as_bytes());
        }
        if !meta.blocks.is_empty() {
            put_varint(out, meta.blocks.len() as u64);
            for block in &meta.blocks {
                out.extend_from_slice(&block.id);
                put_varint(out, block.len);
            }
        }
        self.moved_to(meta);
    }

    fn take(&mut self, reader: &mut Reader<'_>) -> Result<Meta> {
        let flags = reader.byte()?;
        if flags & !FLAGS != 0 {
            return Err(reader.damaged("an unknown flag of a version"));
        }
        let step = if flags & SKIPS != 0 {
            reader.varint()?
        } else {
            1
        };
        let mut meta = Meta {
            seq: self.seq.wrapping_add(step),
            time: self.time.wrapping_add(reader.signed()? as u64),
            size: self.size.wrapping_add(reader.signed()? as u64),
            ops: reader.varint()?,
            check: u32::from_le_bytes(reader.array()?),
            full: flags & FULL != 0,
            ..Meta::default()
        };
        if meta.seq == 0 || meta.seq > MAX_SEQ {
            return Err(reader.damaged("a version number is out of range"));
        }
        if flags & LABEL != 0 {
            meta.label = Some(reader.text()?.to_owned());
        }
        if flags & CHECKPOINT != 0 {
            meta.checkpoint = Some(reader.text()?.to_owned());
        }
        if flags & BLOCKS != 0 {
            for _ in 0..reader.count(33)? {
                let id = reader.array()?;
                let len = reader.varint()?;
                if len > u64::from(u32::MAX) {
                    return Err(reader.damaged("a block is too long"));
                }
                meta.blocks.push(BlockRef { id, len });
            }
        }
        self.moved_to(&meta);
        Ok(meta)
    }

    fn moved_to(&mut self, meta: &Meta) {
        (self.seq, self.time, self.size) = (meta.seq, meta.time, meta.size);
    }
}

/// Writes a segment: the first record brings magic and header with it.
#[derive(Debug, Clone)]
pub(crate) struct SegmentWriter {
    pub(crate) key: String,
    header: Option<Header>,
    previous: Previous,
    records: u64,
}

impl SegmentWriter {
    pub(crate) fn new(key: String, header: Header) -> Self {
        let previous = Previous {
            seq: header.seq,
            time: header.time,
            size: header.size,
        };
        Self {
            key,
            header: Some(header),
            previous,
            records: 0,
        }
    }

    /// The bytes to add to the segment for these versions.
    pub(crate) fn group(
        &mut self,
        versions: &[Meta],
        payload: &[u8],
        ends: bool,
        cipher: Option<&dyn Cipher>,
    ) -> Result<Vec<u8>> {
        let framing = Framing {
            key: &self.key,
            cipher,
        };
        let mut out = Vec::with_capacity(payload.len() + 64);
        let mut records = self.records;
        if let Some(header) = &self.header {
            out.extend_from_slice(MAGIC);
            out.push(FORMAT);
            framing.put(0, &header.encode(), &mut out)?;
            records = 1;
        }
        let mut body = Vec::with_capacity(payload.len() + 32);
        let (form, implied) = Form::of(payload, ends);
        put_varint(&mut body, form.count(versions.len()));
        for meta in versions {
            self.previous.put(meta, &mut body);
        }
        body.extend_from_slice(&payload[implied..]);
        framing.put(records, &body, &mut out)?;
        self.header = None;
        self.records = records + 1;
        Ok(out)
    }
}

impl Segment {
    /// Reads and checks every record. Fails only when even the header cannot be read.
    pub(crate) fn parse(key: &str, bytes: &Bytes, cipher: Option<&dyn Cipher>) -> Result<Self> {
        let framing = Framing { key, cipher };
        if bytes.len() < 5 && MAGIC.starts_with(&bytes[..bytes.len().min(4)]) {
            return Err(Error::damaged(key, 0, UNFINISHED));
        }
        if bytes.len() < 5 || &bytes[..4] != MAGIC {
            return Err(Error::damaged(key, 0, "it does not begin as a segment"));
        }
        if !FORMATS.contains(&bytes[4]) {
            return Err(Error::damaged(key, 4, "an unknown format version"));
        }
        let prefixes = Prefixes::new(bytes);
        let (body, mut at) = framing.find(0, bytes, 5).map_err(|what| {
            match resync(&framing, 0, bytes, 5, &prefixes) {
                Behind::Nothing if what.contains("cut off") => Error::damaged(key, 5, UNFINISHED),
                _ => Error::damaged(key, 5, what),
            }
        })?;
        let start = body.start;
        let header = Header::decode(key, start, &framing.open(0, bytes.slice(body))?)?;
        let mut segment = Self {
            format: bytes[4],
            groups: Vec::new(),
            flaw: None,
            good: at,
            header,
        };
        let mut previous = Previous {
            seq: segment.header.seq,
            time: segment.header.time,
            size: segment.header.size,
        };
        let mut number = 1;
        while at < bytes.len() {
            match framing.find(number, bytes, at) {
                Ok((body, next)) => {
                    let start = body.start;
                    let body = framing.open(number, bytes.slice(body))?;
                    segment
                        .groups
                        .push(group(bytes[4], key, at, start, &body, &mut previous)?);
                    at = next;
                    if segment.flaw.is_none() {
                        segment.good = at;
                    }
                    number += 1;
                }
                Err(what) => {
                    let next = resync(&framing, number, bytes, at, &prefixes);
                    segment.flaw.get_or_insert(Flaw {
                        offset: at,
                        what,
                        tail: matches!(next, Behind::Nothing),
                        from_group: segment.groups.len(),
                    });
                    let Behind::Record(found, position) = next else {
                        break;
                    };
                    // The lost records' versions are unknown; one each is the common case.
                    previous.seq = previous.seq.wrapping_add(found - number);
                    (number, at) = (found, position);
                }
            }
        }
        Ok(segment)
    }

    /// The payloads of groups `..=last`, in pieces of memory that can be given back one after the other; the segment
    /// keeps none.
    pub(crate) fn take_payloads(&mut self, last: usize) -> Vec<Bytes> {
        const PIECE: usize = 4 << 10;
        let mut taken = Vec::with_capacity(last + 1);
        let mut rest = &self.groups[..=last];
        while !rest.is_empty() {
            let mut len = 0;
            let fits = rest.iter().take_while(|group| {
                len += group.payload.len();
                len <= PIECE
            });
            let (now, later) = rest.split_at(fits.count().max(1));
            let mut piece = Vec::with_capacity(now.iter().map(|group| group.payload.len()).sum());
            now.iter()
                .for_each(|group| piece.extend_from_slice(&group.payload));
            let mut piece = Bytes::from(piece);
            taken.extend(now.iter().map(|group| piece.split_to(group.payload.len())));
            rest = later;
        }
        self.groups
            .iter_mut()
            .for_each(|group| group.payload = Bytes::new());
        taken
    }

    /// Decompressed length of groups `..=last`.
    pub(crate) fn ops_len(&self, last: usize) -> u64 {
        let metas = self.groups.iter().take(last + 1).flat_map(|g| &g.versions);
        metas.fold(0, |sum, meta| sum.saturating_add(meta.ops))
    }

    /// The compressed frame up to group `last`, and whether it is complete.
    pub(crate) fn frame(&self, last: usize) -> (Vec<u8>, bool) {
        let groups = &self.groups[..=last];
        let mut frame =
            Vec::with_capacity(groups.iter().map(|g| g.payload.len() + 3).sum::<usize>() + 3);
        for group in groups {
            frame.extend_from_slice(group.block.as_ref().map_or(&[], |header| &header[..]));
            frame.extend_from_slice(&group.payload);
        }
        (frame, groups.last().is_some_and(|group| group.ends_frame))
    }
}

/// What stands behind damage.
enum Behind {
    /// The next good record: its number and place.
    Record(u64, usize),
    Nothing,
    /// Looking further would take too long.
    Unknown,
}

/// The next good record behind damage.
fn resync(
    framing: &Framing<'_>,
    number: u64,
    bytes: &[u8],
    at: usize,
    prefixes: &Prefixes<'_>,
) -> Behind {
    let numbers = number + 1..number + 4;
    // Where its own length says that it ends, however long it is; then byte by byte.
    if let Some(position) = stated_end(bytes, at) {
        let mut fits = numbers.clone();
        if let Some(found) = fits.find(|&n| framing.find(n, bytes, position).is_ok()) {
            return Behind::Record(found, position);
        }
    }
    let end = bytes.len().min(at + RESYNC);
    for position in at + 1..end {
        let found = framing.find_any(numbers.clone(), bytes, position, prefixes);
        if let Some((found, body)) = found
            && (framing.cipher.is_some() || plausible(bytes[4], &bytes[body]))
        {
            return Behind::Record(found, position);
        }
    }
    if end < bytes.len() {
        return Behind::Unknown;
    }
    Behind::Nothing
}

/// Whether bytes may be the body of a group: of many places some sum fits by chance.
fn plausible(format: u8, body: &[u8]) -> bool {
    let mut reader = Reader::new("", 0, body);
    let (count, form) = Form::counted(format, reader.varint().unwrap_or(0));
    let mut previous = Previous::default();
    let mut ops = 0u64;
    count > 0
        && count <= body.len() as u64 / 8
        && (0..count).all(|_| {
            let meta = previous.take(&mut reader);
            ops = ops.saturating_add(meta.as_ref().map_or(0, |meta| meta.ops));
            meta.is_ok()
        })
        && form.is_plausible(&body[reader.at()..], ops)
}

fn stated_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut reader = Reader::new("", at, &bytes[at..]);
    let len = usize::try_from(reader.varint().ok()?).ok()?;
    let end = (at + reader.at()).checked_add(len)?.checked_add(4)?;
    (end < bytes.len()).then_some(end)
}

fn group(
    format: u8,
    key: &str,
    offset: usize,
    start: usize,
    body: &Bytes,
    previous: &mut Previous,
) -> Result<Group> {
    let mut reader = Reader::new(key, start, body);
    let (count, form) = Form::counted(format, reader.varint()?);
    if count > reader.left() as u64 / 8 {
        return Err(reader.damaged("a count is larger than the data"));
    }
    let mut versions = Vec::with_capacity(count.min(4096) as usize);
    for _ in 0..count {
        versions.push(previous.take(&mut reader)?);
    }
    let payload = body.slice(reader.at()..);
    let ops = versions
        .iter()
        .fold(0u64, |sum, meta| sum.saturating_add(meta.ops));
    // Known before anything is decompressed, so that no memory is asked for that cannot be filled.
    if ops > 0 && form.most(&payload).is_none_or(|most| ops > most) {
        return Err(reader.damaged("a length is larger than the data can hold"));
    }
    Ok(Group {
        versions,
        block: form.header(payload.len()),
        payload,
        ends_frame: form == Form::Last,
        offset,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sum of four bytes fits by chance once in four thousand million places; behind damage many places are tried.
    #[test]
    fn bytes_that_are_no_group_are_hardly_ever_taken_for_one() {
        let mut random = fastrand::Rng::with_seed(11);
        let mut body = [0; 900];
        for format in FORMATS {
            let taken = (0..100_000).filter(|_| {
                let len = random.usize(10..900);
                random.fill(&mut body[..len]);
                plausible(format, &body[..len])
            });
            let taken = taken.count();
            assert!(taken < 20, "format {format}: {taken} of 100,000");
        }
    }
}
