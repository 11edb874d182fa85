//! What a tier stores.

use crate::error::Error;
use crate::label::Label;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use xxhash_rust::xxh3::Xxh3;

/// A value with what decides whether it may be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TierEntry {
    /// The value's bytes.
    pub value: Bytes,
    /// The logical time at which the value's load began.
    pub birth: u64,
    /// When it stops being served, in milliseconds since the Unix epoch; zero for never.
    pub expires_at: u64,
    /// When it becomes worth loading anew; zero for never.
    pub soft_at: u64,
    /// The signature of what it was made from.
    pub signature: Option<u64>,
    /// What invalidates it: its scope and the scopes above, its tags, the resources it reads.
    pub labels: Vec<Label>,
}

const MAGIC: [u8; 4] = *b"MSCE";
/// Version 1 named its labels otherwise.
const VERSION: u8 = 2;
const SIGNED: u8 = 1;
const HEADER: usize = 48;

impl TierEntry {
    /// The most labels an entry can carry.
    pub const MAX_LABELS: usize = u16::MAX as usize;

    /// The entry as bytes. All integers little-endian:
    ///
    /// | offset | size | field |
    /// | --- | --- | --- |
    /// | 0 | 4 | magic `MSCE` |
    /// | 4 | 1 | version, 2 |
    /// | 5 | 1 | flags: bit 0, a signature is given |
    /// | 6 | 2 | number of labels, n |
    /// | 8 | 8 | birth |
    /// | 16 | 8 | `expires_at` |
    /// | 24 | 8 | `soft_at` |
    /// | 32 | 8 | signature, zero without one |
    /// | 40 | 8 | XXH3-64 of bytes 0 to 40 and of everything from 48 |
    /// | 48 | 8 n | labels |
    /// | 48 + 8 n | rest | value |
    ///
    /// # Errors
    /// [`Error::TooLarge`] with more than [`MAX_LABELS`](Self::MAX_LABELS) labels.
    pub fn encode(&self) -> Result<Bytes, Error> {
        let count = u16::try_from(self.labels.len()).map_err(|_| Error::TooLarge {
            what: "the list of labels",
            size: self.labels.len() as u64 * 8,
            limit: Self::MAX_LABELS as u64 * 8,
        })?;
        let mut bytes = BytesMut::with_capacity(HEADER + self.labels.len() * 8 + self.value.len());
        bytes.put_slice(&MAGIC);
        bytes.put_u8(VERSION);
        bytes.put_u8(if self.signature.is_some() { SIGNED } else { 0 });
        bytes.put_u16_le(count);
        for field in [
            self.birth,
            self.expires_at,
            self.soft_at,
            self.signature.unwrap_or(0),
            0,
        ] {
            bytes.put_u64_le(field);
        }
        for label in &self.labels {
            bytes.put_u64_le(label.to_u64());
        }
        bytes.put_slice(&self.value);
        let sum = checksum(&bytes);
        bytes[40..HEADER].copy_from_slice(&sum.to_le_bytes());
        Ok(bytes.freeze())
    }

    /// The entry of bytes that [`encode`](Self::encode) made. The value shares the bytes' memory.
    ///
    /// # Errors
    /// [`Error::Damaged`] when the bytes are anything else.
    pub fn decode(bytes: &Bytes) -> Result<Self, Error> {
        if bytes.len() < HEADER {
            return Err(damaged(bytes.len(), "shorter than the header"));
        }
        if bytes[..4] != MAGIC {
            return Err(damaged(0, "no entry starts here"));
        }
        if bytes[4] != VERSION {
            return Err(damaged(4, "a version this program does not know"));
        }
        let mut fields = &bytes[5..HEADER];
        let flags = fields.get_u8();
        let count = usize::from(fields.get_u16_le());
        let (birth, expires_at, soft_at) = (
            fields.get_u64_le(),
            fields.get_u64_le(),
            fields.get_u64_le(),
        );
        let (signature, sum) = (fields.get_u64_le(), fields.get_u64_le());
        let start = HEADER + count * 8;
        if bytes.len() < start {
            return Err(damaged(bytes.len(), "shorter than its labels"));
        }
        if checksum(bytes) != sum {
            return Err(damaged(40, "the checksum does not fit"));
        }
        let mut raw = &bytes[HEADER..start];
        let labels = (0..count)
            .map(|_| Label::from_u64(raw.get_u64_le()))
            .collect();
        let signature = (flags & SIGNED != 0).then_some(signature);
        Ok(Self {
            value: bytes.slice(start..),
            birth,
            expires_at,
            soft_at,
            signature,
            labels,
        })
    }

    /// About how much memory the entry takes, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.labels.len() * 8 + self.value.len()
    }
}

fn checksum(bytes: &[u8]) -> u64 {
    let mut sum = Xxh3::new();
    sum.update(&bytes[..40]);
    sum.update(&bytes[HEADER..]);
    sum.digest()
}

fn damaged(offset: usize, what: &'static str) -> Error {
    Error::Damaged {
        offset: offset as u64,
        what,
    }
}
