//! The stored form, version 1; laid out in `docs/formats/bloom-v1.md`.

use xxhash_rust::xxh3::xxh3_64;

use crate::{
    error::Error,
    key::{HashKind, KeyHash},
};

pub(crate) const HEADER_BYTES: usize = 96;
const MAGIC: [u8; 8] = *b"MSBLOOM\0";
const VERSION: u16 = 1;

const AT_VERSION: usize = 8;
const AT_KIND: usize = 10;
const AT_HASH: usize = 11;
const AT_BITS: usize = 12;
const AT_SEED: usize = 16;
pub(crate) const AT_UNITS: usize = 24;
const AT_INSERTED: usize = 32;
pub(crate) const AT_CAPACITY: usize = 40;
pub(crate) const AT_FPR: usize = 48;
const AT_BODY_LEN: usize = 56;
const AT_BODY_SUM: usize = 80;
const AT_HEADER_SUM: usize = 88;

/// Bytes that version 1 leaves zero.
const RESERVED: [std::ops::Range<usize>; 2] = [13..16, 64..80];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    SplitBlock,
    Claim,
    Scalable,
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Self::SplitBlock => 1,
            Self::Claim => 2,
            Self::Scalable => 3,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::SplitBlock => "split-block",
            Self::Claim => "claim",
            Self::Scalable => "scalable",
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        [Self::SplitBlock, Self::Claim, Self::Scalable]
            .into_iter()
            .find(|kind| kind.code() == code)
    }

    /// Bytes that `units` take, where the header alone decides it.
    fn body_len(self, units: u64) -> Option<u64> {
        match self {
            Self::SplitBlock => units.checked_mul(32),
            Self::Claim => units.checked_mul(8),
            Self::Scalable => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) hash: KeyHash,
    /// Bits that a key sets in its unit.
    pub(crate) bits_per_key: u8,
    /// Blocks, words or layers.
    pub(crate) units: u64,
    pub(crate) inserted: u64,
    pub(crate) capacity: u64,
    pub(crate) fpr: f64,
}

impl Header {
    /// The header of this `body`.
    pub(crate) fn encode(&self, body: &[u8]) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &MAGIC);
        put(AT_VERSION, &VERSION.to_le_bytes());
        put(
            AT_KIND,
            &[
                self.kind.code(),
                hash_code(self.hash.kind()),
                self.bits_per_key,
            ],
        );
        put(AT_SEED, &self.hash.seed().to_le_bytes());
        put(AT_UNITS, &self.units.to_le_bytes());
        put(AT_INSERTED, &self.inserted.to_le_bytes());
        put(AT_CAPACITY, &self.capacity.to_le_bytes());
        put(AT_FPR, &self.fpr.to_le_bytes());
        put(AT_BODY_LEN, &(body.len() as u64).to_le_bytes());
        put(AT_BODY_SUM, &xxh3_64(body).to_le_bytes());
        let sum = xxh3_64(&header[..AT_HEADER_SUM]);
        header[AT_HEADER_SUM..].copy_from_slice(&sum.to_le_bytes());
        header
    }

    fn check(&self, body_len: u64) -> Result<(), Error> {
        let positive_rate = self.fpr > 0.0 && self.fpr <= 1.0;
        let bits = match self.kind {
            Kind::SplitBlock | Kind::Scalable => self.bits_per_key == 8,
            Kind::Claim => (1..=8).contains(&self.bits_per_key),
        };
        let checks = [
            (AT_BITS, bits, "the number of bits per key is impossible"),
            (
                AT_UNITS,
                self.units > 0 && self.units <= u64::from(u32::MAX),
                "the number of units is impossible",
            ),
            (AT_CAPACITY, self.capacity > 0, "the capacity is zero"),
            (
                AT_FPR,
                positive_rate,
                "the false positive rate is impossible",
            ),
            (
                AT_BODY_LEN,
                self.kind
                    .body_len(self.units)
                    .is_none_or(|expected| expected == body_len),
                "the length does not match the number of units",
            ),
        ];
        match checks.into_iter().find(|(_, holds, _)| !holds) {
            Some((at, _, what)) => Err(damaged(at, what)),
            None => Ok(()),
        }
    }
}

/// The header, the body's promised checksum and the body, whose bytes nobody has read yet.
pub(crate) fn decode(bytes: &[u8], wanted: Kind) -> Result<(Header, u64, &[u8]), Error> {
    let Some((head, body)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err(damaged(bytes.len(), "the header is cut short"));
    };
    if head[..8] != MAGIC {
        return Err(damaged(0, "the magic is not that of a filter"));
    }
    let found = u16::from_le_bytes([head[AT_VERSION], head[AT_VERSION + 1]]);
    if found > VERSION {
        return Err(Error::UnsupportedVersion {
            found,
            supported: VERSION,
        });
    }
    if u64_at(head, AT_HEADER_SUM) != xxh3_64(&head[..AT_HEADER_SUM]) || found == 0 {
        return Err(damaged(
            AT_HEADER_SUM,
            "the header's checksum does not match",
        ));
    }
    if let Some(at) = RESERVED.into_iter().flatten().find(|&at| head[at] != 0) {
        return Err(damaged(at, "a reserved byte is not zero"));
    }
    let kind = Kind::from_code(head[AT_KIND]).ok_or(damaged(AT_KIND, "the kind is unknown"))?;
    if kind != wanted {
        return Err(Error::WrongKind {
            found: kind.name(),
            wanted: wanted.name(),
        });
    }
    let header = fields(head, kind)?;
    let body_len = u64_at(head, AT_BODY_LEN);
    header.check(body_len)?;
    if body_len != body.len() as u64 {
        return Err(damaged(
            AT_BODY_LEN,
            "the length does not match the bytes at hand",
        ));
    }
    Ok((header, u64_at(head, AT_BODY_SUM), body))
}

/// Compares the bits with their checksum.
pub(crate) fn check_body(body: &[u8], expected: u64) -> Result<(), Error> {
    if xxh3_64(body) == expected {
        Ok(())
    } else {
        Err(damaged(
            HEADER_BYTES,
            "the checksum of the bits does not match",
        ))
    }
}

fn fields(head: &[u8; HEADER_BYTES], kind: Kind) -> Result<Header, Error> {
    let hash = hash_kind(head[AT_HASH]).ok_or(damaged(AT_HASH, "the hash function is unknown"))?;
    Ok(Header {
        kind,
        hash: KeyHash::new(hash, u64_at(head, AT_SEED)),
        bits_per_key: head[AT_BITS],
        units: u64_at(head, AT_UNITS),
        inserted: u64_at(head, AT_INSERTED),
        capacity: u64_at(head, AT_CAPACITY),
        fpr: f64::from_bits(u64_at(head, AT_FPR)),
    })
}

fn u64_at(head: &[u8; HEADER_BYTES], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&head[at..at + 8]);
    u64::from_le_bytes(bytes)
}

const fn hash_code(kind: HashKind) -> u8 {
    match kind {
        HashKind::Xxh3 => 1,
        HashKind::Xxh64 => 2,
    }
}

fn hash_kind(code: u8) -> Option<HashKind> {
    [HashKind::Xxh3, HashKind::Xxh64]
        .into_iter()
        .find(|&kind| hash_code(kind) == code)
}

pub(crate) const fn damaged(offset: usize, what: &'static str) -> Error {
    Error::Damaged {
        offset: offset as u64,
        what,
    }
}

/// The length of the filter that starts at `bytes`, header included, if its header says one.
pub(crate) fn stored_len(bytes: &[u8]) -> Option<usize> {
    let head = bytes.first_chunk::<HEADER_BYTES>()?;
    usize::try_from(u64_at(head, AT_BODY_LEN))
        .ok()?
        .checked_add(HEADER_BYTES)
}
