//! A key and its entry as one string of bytes, for tiers that find entries by a digest of the key.

use crate::entry::TierEntry;
use crate::error::Error;
use crate::key::Key;
use bytes::{Buf, BufMut, Bytes, BytesMut};

const MAGIC: [u8; 4] = *b"MSCF";
const VERSION: u8 = 1;
const HEADER: usize = 12;

/// Magic `MSCF`, version 1 and three zero bytes, the length of the encoded key as four little-endian bytes,
/// the encoded key, the encoded entry.
pub(crate) fn encode(key: &Key, entry: &TierEntry) -> Result<Bytes, Error> {
    let key = key.encoded();
    let length = u32::try_from(key.len()).map_err(|_| Error::TooLarge {
        what: "a key",
        size: key.len() as u64,
        limit: u64::from(u32::MAX),
    })?;
    let entry = entry.encode()?;
    let mut bytes = BytesMut::with_capacity(HEADER + key.len() + entry.len());
    bytes.put_slice(&MAGIC);
    bytes.put_slice(&[VERSION, 0, 0, 0]);
    bytes.put_u32_le(length);
    bytes.put_slice(&key);
    bytes.put_slice(&entry);
    Ok(bytes.freeze())
}

/// The key of a record that begins with these bytes.
pub(crate) fn key(bytes: &[u8]) -> Option<Key> {
    let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
    if header[..4] != MAGIC || header[4..8] != [VERSION, 0, 0, 0] {
        return None;
    }
    let length = (&header[8..]).get_u32_le() as usize;
    Key::decode(rest.get(..length)?)
}

/// The entry, when the record is of that key; another key of the same digest is a miss.
pub(crate) fn decode(bytes: &Bytes, key: &Key) -> Result<Option<TierEntry>, Error> {
    let damaged = |offset, what| Err(Error::Damaged { offset, what });
    if bytes.len() < HEADER || bytes[..4] != MAGIC {
        return damaged(0, "no record starts here");
    }
    if bytes[4..8] != [VERSION, 0, 0, 0] {
        return damaged(4, "a version this program does not know");
    }
    let length = (&bytes[8..HEADER]).get_u32_le() as usize;
    let Some(end) = HEADER.checked_add(length).filter(|end| *end <= bytes.len()) else {
        return damaged(8, "the key is longer than the record");
    };
    if bytes[HEADER..end] != key.encoded() {
        return Ok(None);
    }
    TierEntry::decode(&bytes.slice(end..)).map(Some)
}
