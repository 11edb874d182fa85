//! The frame of one record: a checked header of 32 bytes, the key, the value, zeros up to a multiple of 8.

use crate::check::{crc32c, crc32c_append};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::error::{Error, Result};
use crate::segment::LiveBytes;

pub(crate) const HEADER: usize = 32;
pub(crate) const ALIGN: u64 = 8;
pub(crate) const MAX_KEY: usize = u16::MAX as usize;
/// Record numbers stay below this, so that counting on cannot overflow.
pub(crate) const MAX_SEQ: u64 = 1 << 63;
pub(crate) const MAX_VALUE: u64 = u32::MAX as u64;

/// More records of the same atomic batch follow.
const CONTINUES: u8 = 1;
/// The value is compressed.
const PACKED: u8 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Put = 1,
    Delete = 2,
    Footer = 3,
}

impl Kind {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Put),
            2 => Some(Self::Delete),
            3 => Some(Self::Footer),
            _ => None,
        }
    }
}

/// The hash by which the index finds a key. Seeded per store, so that nobody can aim at it.
#[inline]
pub(crate) fn hash_key(store_id: u64, key: &[u8]) -> u32 {
    (xxh3_64_with_seed(key, store_id) >> 32) as u32
}

/// What makes a record valid in its own segment only.
pub(crate) fn salt(store_id: u64, segment: u32) -> u32 {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&store_id.to_le_bytes());
    bytes[8..].copy_from_slice(&segment.to_le_bytes());
    crc32c(&bytes)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) body_check: u32,
    pub(crate) seq: u64,
    pub(crate) value_len: u32,
    /// Everything before this offset of the segment was durable when the record was written.
    pub(crate) synced: u64,
    pub(crate) hash: u32,
    pub(crate) key_len: u16,
    pub(crate) kind: Kind,
    pub(crate) continues: bool,
    pub(crate) packed: bool,
}

impl Header {
    /// Length on disk, padding included.
    pub(crate) fn total(&self) -> u64 {
        total_len(usize::from(self.key_len), self.value_len)
    }

    pub(crate) fn bytes(&self) -> LiveBytes {
        LiveBytes {
            records: self.total(),
            payload: u64::from(self.key_len) + u64::from(self.value_len),
        }
    }

    /// True if the bytes found behind the header begin with `key` and it has that length.
    pub(crate) fn fits(&self, key: &[u8], found: &[u8]) -> bool {
        usize::from(self.key_len) == key.len() && found == key
    }

    /// Writes the header over the first 32 bytes of `frame`.
    pub(crate) fn encode(&self, frame: &mut [u8], salt: u32, offset: u64) {
        frame[4..8].copy_from_slice(&self.body_check.to_le_bytes());
        frame[8..16].copy_from_slice(&self.seq.to_le_bytes());
        frame[16..20].copy_from_slice(&self.value_len.to_le_bytes());
        frame[20..24].copy_from_slice(&((self.synced / ALIGN) as u32).to_le_bytes());
        frame[24..28].copy_from_slice(&self.hash.to_le_bytes());
        frame[28..30].copy_from_slice(&self.key_len.to_le_bytes());
        frame[30] = self.kind as u8;
        frame[31] = u8::from(self.continues) * CONTINUES + u8::from(self.packed) * PACKED;
        let check = head_check(&frame[4..HEADER], salt, offset);
        frame[..4].copy_from_slice(&check.to_le_bytes());
    }

    /// Reads the header that starts `bytes`; `None` when it is not one, or not one of this place.
    pub(crate) fn decode(bytes: &[u8], salt: u32, offset: u64) -> Option<Self> {
        let bytes: &[u8; HEADER] = bytes.get(..HEADER)?.try_into().ok()?;
        // The cheap tests come first: a search for the next record runs through here at every step.
        let kind = Kind::from_byte(bytes[30])?;
        if bytes[31] > CONTINUES + PACKED || head_check(&bytes[4..], salt, offset) != le32(bytes, 0)
        {
            return None;
        }
        let seq = le64(bytes, 8);
        (seq < MAX_SEQ).then_some(Self {
            body_check: le32(bytes, 4),
            seq,
            value_len: le32(bytes, 16),
            synced: u64::from(le32(bytes, 20)) * ALIGN,
            hash: le32(bytes, 24),
            key_len: u16::from_le_bytes([bytes[28], bytes[29]]),
            kind,
            continues: bytes[31] & CONTINUES != 0,
            packed: bytes[31] & PACKED != 0,
        })
    }

    /// True if the bytes behind the header are those that were written.
    pub(crate) fn body_is_good(&self, frame: &[u8]) -> bool {
        frame
            .get(HEADER..self.total() as usize)
            .is_some_and(|body| crc32c(body) == self.body_check)
    }
}

fn head_check(bytes: &[u8], salt: u32, offset: u64) -> u32 {
    crc32c_append(salt ^ (offset / ALIGN) as u32, bytes)
}

pub(crate) fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(crate) fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from(le32(bytes, at)) | u64::from(le32(bytes, at + 4)) << 32
}

pub(crate) fn total_len(key_len: usize, value_len: u32) -> u64 {
    (HEADER as u64 + key_len as u64 + u64::from(value_len)).next_multiple_of(ALIGN)
}

/// Appends a frame whose place, number, hash and header check are not known yet; its header is
/// returned.
pub(crate) fn push_frame(
    frames: &mut Vec<u8>,
    kind: Kind,
    key: &[u8],
    value: &[u8],
) -> Result<Header> {
    check_lengths(key, value)?;
    let start = frames.len();
    let total = total_len(key.len(), value.len() as u32) as usize;
    frames.reserve(total);
    frames.resize(start + HEADER, 0);
    frames.extend_from_slice(key);
    frames.extend_from_slice(value);
    frames.resize(start + total, 0);
    Ok(Header {
        body_check: crc32c(&frames[start + HEADER..]),
        seq: 0,
        value_len: value.len() as u32,
        synced: 0,
        hash: 0,
        key_len: key.len() as u16,
        kind,
        continues: false,
        packed: false,
    })
}

/// As [`push_frame`], for a footer; its hash is known.
pub(crate) fn push_footer(frames: &mut Vec<u8>, store_id: u64, payload: &[u8]) -> Result<Header> {
    let header = push_frame(frames, Kind::Footer, &[], payload)?;
    Ok(Header {
        hash: hash_key(store_id, &[]),
        ..header
    })
}

pub(crate) fn check_lengths(key: &[u8], value: &[u8]) -> Result<()> {
    let too_large = |what, len: usize, limit: u64| Error::TooLarge {
        what,
        len: len as u64,
        limit,
    };
    if key.len() > MAX_KEY {
        return Err(too_large("key", key.len(), MAX_KEY as u64));
    }
    if value.len() as u64 > MAX_VALUE {
        return Err(too_large("value", value.len(), MAX_VALUE));
    }
    Ok(())
}
