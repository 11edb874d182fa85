//! An entry as one string of bytes in memory.

use crate::entry::TierEntry;
use crate::error::Error;
use crate::key::Key;
use crate::label::Label;
use bytes::{Buf, BufMut, Bytes};

/// What an entry takes beside its bytes: its slot, and its places in the table, in the memory of evicted keys and in
/// the allocator.
const BESIDE: usize = 96;

const SIGNED: u64 = 1;
const FLAGS: u32 = 1;

/// Numbers of seven bits a byte, the lowest first: which coder (zero: none), the lengths of value, scope and key, the
/// number of labels doubled and one when there is a signature, the birth, the two times. Then eight bytes for the signature
/// when there is one and for each label. Then scope, key and value, compressed together.
#[derive(Clone)]
pub(super) struct Packed(Box<[u8]>);

/// What comes before the compressed bytes.
struct Head {
    coder: u32,
    value: usize,
    scope: usize,
    key: usize,
    labels: usize,
    signed: bool,
    birth: u64,
    expires_at: u64,
    soft_at: u64,
}

impl Head {
    /// Takes it from the beginning of the bytes.
    fn take(bytes: &mut &[u8]) -> Self {
        let mut next = || number(bytes);
        let (coder, value, scope, key) = (next(), next(), next(), next());
        let (marks, birth, expires_at, soft_at) = (next(), next(), next(), next());
        Self {
            coder: coder as u32,
            value: value as usize,
            scope: scope as usize,
            key: key as usize,
            labels: (marks >> FLAGS) as usize,
            signed: marks & SIGNED != 0,
            birth,
            expires_at,
            soft_at,
        }
    }
}

/// What is compressed of an entry: its scope, its key and its value.
pub(super) fn content(key: &Key, entry: &TierEntry, into: &mut Vec<u8>) {
    into.clear();
    into.reserve(key.scope().as_str().len() + key.bytes().len() + entry.value.len());
    into.extend_from_slice(key.scope().as_str().as_bytes());
    into.extend_from_slice(key.bytes());
    into.extend_from_slice(&entry.value);
}

impl Packed {
    /// The entry, when `packed` is its [`content`] as the coder of that number made it.
    pub(super) fn new(
        key: &Key,
        entry: &TierEntry,
        coder: u32,
        packed: &[u8],
    ) -> Result<Self, Error> {
        let (scope, name) = (key.scope().as_str().len(), key.bytes().len());
        for (what, length) in [
            ("a value", entry.value.len()),
            ("a scope", scope),
            ("a key", name),
        ] {
            u32::try_from(length).map_err(|_| too_large(what, length))?;
        }
        let signed = entry.signature.is_some();
        let words = entry.labels.len() + usize::from(signed);
        let mut bytes = Vec::with_capacity(8 * 10 + words * 8 + packed.len());
        let marks = (entry.labels.len() as u64) << FLAGS | if signed { SIGNED } else { 0 };
        let lengths = [entry.value.len(), scope, name].map(|length| length as u64);
        put(&mut bytes, u64::from(coder));
        lengths.iter().for_each(|length| put(&mut bytes, *length));
        for value in [marks, entry.birth, entry.expires_at, entry.soft_at] {
            put(&mut bytes, value);
        }
        let labels = entry.labels.iter().map(|label| label.to_u64());
        for word in entry.signature.into_iter().chain(labels) {
            bytes.put_u64_le(word);
        }
        bytes.extend_from_slice(packed);
        Ok(Self(bytes.into_boxed_slice()))
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn coder(&self) -> u32 {
        Head::take(&mut &self.0[..]).coder
    }

    /// Bytes of the value as it came.
    pub(super) fn raw(&self) -> usize {
        Head::take(&mut &self.0[..]).value
    }

    pub(super) fn weight(&self) -> u32 {
        u32::try_from(BESIDE + self.0.len()).unwrap_or(u32::MAX)
    }
}

/// The entry in these bytes, its content of so many bytes made by `unpack` with the coder of the number given; `None`
/// when that is not there, or it is another key's.
pub(super) fn entry(
    mut bytes: &[u8],
    key: &Key,
    unpack: impl FnOnce(u32, &[u8], usize) -> Result<Option<Bytes>, Error>,
) -> Result<Option<TierEntry>, Error> {
    let head = Head::take(&mut bytes);
    let (scope, name) = (key.scope().as_str().as_bytes(), key.bytes());
    let words = head.labels + usize::from(head.signed);
    if (head.scope, head.key) != (scope.len(), name.len()) || bytes.len() < words * 8 {
        return Ok(None);
    }
    let signature = head.signed.then(|| bytes.get_u64_le());
    let label = |_| Label::from_u64(bytes.get_u64_le());
    let labels = (0..head.labels).map(label).collect();
    let Some(content) = unpack(head.coder, bytes, head.scope + head.key + head.value)? else {
        return Ok(None);
    };
    let same = content.get(..head.scope) == Some(scope)
        && content.get(head.scope..head.scope + head.key) == Some(&name[..]);
    Ok(same.then(|| TierEntry {
        value: content.slice(head.scope + head.key..),
        birth: head.birth,
        expires_at: head.expires_at,
        soft_at: head.soft_at,
        signature,
        labels,
    }))
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 1 << 7 {
        bytes.push((number & 0x7F) as u8 | 1 << 7);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn number(bytes: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let Some((byte, rest)) = bytes.split_first() else {
            return number;
        };
        *bytes = rest;
        number |= u64::from(byte & 0x7F) << shift;
        if byte >> 7 == 0 {
            break;
        }
    }
    number
}

fn too_large(what: &'static str, size: usize) -> Error {
    Error::TooLarge {
        what,
        size: size as u64,
        limit: u64::from(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_any_size_come_back() {
        for wanted in [0, 1, 127, 128, 300, 1 << 32, u64::MAX] {
            let mut bytes = Vec::new();
            put(&mut bytes, wanted);
            let mut rest = &bytes[..];
            assert_eq!((number(&mut rest), rest.len()), (wanted, 0));
        }
    }
}
