//! An entry as one string of bytes in memory.

use crate::entry::TierEntry;
use crate::error::Error;
use crate::key::Key;
use crate::label::Label;
use crate::sync::Arc;
use bytes::{Buf, BufMut, Bytes};

/// What an entry takes beside its bytes: counters and slot, and its places in the table, in the memory of evicted
/// keys and in the allocator.
const BESIDE: usize = 112;

const SIGNED: u8 = 1;
const EXPIRES: u8 = 2;
const SOFTENS: u8 = 4;

/// Which coder (zero: none), the value's length, the lengths of scope and key, the number of labels, what is given of
/// the times and the signature and that, the birth, the labels, the scope, the key, the value.
#[derive(Clone)]
pub(super) struct Packed(Arc<[u8]>);

const FIXED: usize = 4 + 4 + 4 + 4 + 2 + 1 + 8;

impl Packed {
    pub(super) fn new(
        key: &Key,
        entry: &TierEntry,
        coder: u32,
        value: &[u8],
    ) -> Result<Self, Error> {
        let (scope, name) = (key.scope().as_str().as_bytes(), key.bytes());
        let words = entry.labels.len() + 3;
        let size = FIXED + words * 8 + scope.len() + name.len() + value.len();
        let mut bytes = Vec::with_capacity(size);
        bytes.put_u32_le(coder);
        for (what, length) in [
            ("a value", entry.value.len()),
            ("a scope", scope.len()),
            ("a key", name.len()),
        ] {
            bytes.put_u32_le(u32::try_from(length).map_err(|_| too_large(what, length))?);
        }
        let labels = u16::try_from(entry.labels.len());
        bytes.put_u16_le(labels.map_err(|_| too_large("the list of labels", entry.labels.len()))?);
        let optional = [
            (SIGNED, entry.signature),
            (EXPIRES, Some(entry.expires_at).filter(|at| *at != 0)),
            (SOFTENS, Some(entry.soft_at).filter(|at| *at != 0)),
        ];
        let given = optional.iter().filter(|(_, value)| value.is_some());
        bytes.put_u8(given.map(|(flag, _)| flag).sum());
        for (_, value) in optional {
            value.into_iter().for_each(|value| bytes.put_u64_le(value));
        }
        bytes.put_u64_le(entry.birth);
        entry
            .labels
            .iter()
            .for_each(|label| bytes.put_u64_le(label.to_u64()));
        bytes.put_slice(scope);
        bytes.put_slice(name);
        bytes.put_slice(value);
        Ok(Self(Arc::from(bytes)))
    }

    pub(super) fn coder(&self) -> u32 {
        (&self.0[..]).get_u32_le()
    }

    /// Bytes of the value as it came.
    pub(super) fn raw(&self) -> usize {
        (&self.0[4..]).get_u32_le() as usize
    }

    pub(super) fn weight(&self) -> u32 {
        u32::try_from(BESIDE + self.0.len()).unwrap_or(u32::MAX)
    }

    /// The entry, its value made by `unpack` from the bytes stored; `None` when it is another key's.
    pub(super) fn entry(
        &self,
        key: &Key,
        unpack: impl FnOnce(&[u8]) -> Result<Bytes, Error>,
    ) -> Result<Option<TierEntry>, Error> {
        let mut rest = &self.0[8..];
        let (scope, name) = (rest.get_u32_le() as usize, rest.get_u32_le() as usize);
        let (labels, flags) = (rest.get_u16_le(), rest.get_u8());
        let mut given = |flag| (flags & flag != 0).then(|| rest.get_u64_le());
        let (signature, expires_at, soft_at) = (given(SIGNED), given(EXPIRES), given(SOFTENS));
        let birth = rest.get_u64_le();
        let label = |_| Label::from_u64(rest.get_u64_le());
        let labels = (0..labels).map(label).collect();
        let (found, rest) = rest.split_at(scope + name);
        let (scope, name) = found.split_at(scope);
        if scope != key.scope().as_str().as_bytes() || name != key.bytes() {
            return Ok(None);
        }
        Ok(Some(TierEntry {
            value: unpack(rest)?,
            birth,
            expires_at: expires_at.unwrap_or(0),
            soft_at: soft_at.unwrap_or(0),
            signature,
            labels,
        }))
    }
}

fn too_large(what: &'static str, size: usize) -> Error {
    Error::TooLarge {
        what,
        size: size as u64,
        limit: u64::from(u32::MAX),
    }
}
