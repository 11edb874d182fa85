//! The manifest: which segments make up the store, in the order of insertion. Replaced atomically.

use std::collections::HashSet;

use crate::check::crc32c;

use crate::error::{Error, Result};
use crate::place::Place;
use crate::record::{MAX_SEQ, le32, le64};
use crate::segment::{LiveBytes, START};
use crate::storage::{Access, Storage, read_file, write_all};

pub(crate) const NAME: &str = "MANIFEST";
pub(crate) const TEMPORARY: &str = "MANIFEST.tmp";
const MAGIC: &[u8; 8] = b"MSTORMAN";
const VERSION: u32 = 1;
const HEAD: usize = 56;
const ENTRY: usize = 48;
const MAX_LEN: u64 = HEAD as u64 + 4 + ((1 << 24) * ENTRY as u64);

const SEALED: u32 = 1;
/// Far above what an entry of the index can point at; the sum over all members stays a number.
const MAX_SEGMENT_LEN: u64 = 1 << 39;

/// One segment as the manifest knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) id: u32,
    pub(crate) sealed: bool,
    /// Everything before this offset was durable when the manifest was written, and is known to the
    /// index's files, if there are any.
    pub(crate) len: u64,
    pub(crate) footer_at: u64,
    pub(crate) base_seq: u64,
    /// What was alive then.
    pub(crate) live: LiveBytes,
}

/// Where the files of the index begin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Roots {
    /// Number of the newest file; 0 for none.
    pub(crate) newest: u32,
    /// Number of a file that stands for `base_of` and all before it; 0 for none.
    pub(crate) base: u32,
    pub(crate) base_of: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) store_id: u64,
    pub(crate) generation: u64,
    pub(crate) next_seq: u64,
    pub(crate) next_segment: u32,
    pub(crate) roots: Roots,
    /// In the order of insertion.
    pub(crate) members: Vec<Member>,
}

impl Manifest {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD + self.members.len() * ENTRY + 4);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&(self.members.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.store_id.to_le_bytes());
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&self.next_seq.to_le_bytes());
        out.extend_from_slice(&self.next_segment.to_le_bytes());
        for number in [self.roots.newest, self.roots.base, self.roots.base_of] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for member in &self.members {
            let sealed = if member.sealed { SEALED } else { 0 };
            out.extend_from_slice(&member.id.to_le_bytes());
            out.extend_from_slice(&sealed.to_le_bytes());
            for word in [
                member.len,
                member.footer_at,
                member.base_seq,
                member.live.records,
                member.live.payload,
            ] {
                out.extend_from_slice(&word.to_le_bytes());
            }
        }
        let check = crc32c(&out);
        out.extend_from_slice(&check.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        if bytes.len() < HEAD + 4 {
            return Err(Self::explain(bytes));
        }
        let (body, check) = bytes.split_at(bytes.len() - 4);
        if crc32c(body) != le32(check, 0) {
            return Err(Self::explain(bytes));
        }
        if &body[..8] != MAGIC || le32(body, 8) != VERSION {
            return Err(Self::explain(bytes));
        }
        if (body.len() - HEAD) != le32(body, 12) as usize * ENTRY {
            let what = "the manifest's length does not fit its count";
            return Err(Error::damaged(NAME, 12, what));
        }
        let members = body[HEAD..].chunks_exact(ENTRY).map(|entry| Member {
            id: le32(entry, 0),
            sealed: le32(entry, 4) & SEALED != 0,
            len: le64(entry, 8),
            footer_at: le64(entry, 16),
            base_seq: le64(entry, 24),
            live: LiveBytes {
                records: le64(entry, 32),
                payload: le64(entry, 40),
            },
        });
        let manifest = Self {
            store_id: le64(body, 16),
            generation: le64(body, 24),
            next_seq: le64(body, 32),
            next_segment: le32(body, 40),
            roots: Roots {
                newest: le32(body, 44),
                base: le32(body, 48),
                base_of: le32(body, 52),
            },
            members: members.collect(),
        };
        match manifest.makes_sense() {
            true => Ok(manifest),
            false => Err(Error::damaged(NAME, 16, "the manifest contradicts itself")),
        }
    }

    /// What this crate writes fulfils this; whoever made a file by hand may have had other ideas.
    fn makes_sense(&self) -> bool {
        let (end, mut ids) = (self.members.len().saturating_sub(1), HashSet::new());
        let members = self.members.iter().enumerate().all(|(i, m)| {
            let known = (1..self.next_segment).contains(&m.id) && ids.insert(m.id);
            let footer = m.footer_at == 0 || (START..m.len).contains(&m.footer_at);
            let live = m.live.records <= m.len && m.live.payload <= m.len;
            let len = (START..=MAX_SEGMENT_LEN).contains(&m.len);
            known && footer && len && live && (m.sealed || i == end)
        });
        let last = self.members.last().map_or(0, |m| m.base_seq);
        let ordered = self.members.is_sorted_by_key(|m| m.base_seq) && last <= self.next_seq;
        let small = self.next_segment <= Place::MAX_SEGMENT + 1;
        members && ordered && small && self.generation.max(self.next_seq) < MAX_SEQ
    }

    /// Why a manifest that fails its check fails it.
    fn explain(bytes: &[u8]) -> Error {
        let differing = bytes.iter().zip(MAGIC).filter(|(a, b)| a != b).count();
        // One changed byte of eight is damage; a file of another program differs in more.
        if differing > 1 {
            return Error::Unrecognised { file: NAME.into() };
        }
        if bytes.len() < HEAD + 4 {
            return Error::damaged(NAME, bytes.len() as u64, "the manifest is cut short");
        }
        match le32(bytes, 8) {
            found if differing == 0 && found > VERSION && found < 256 => Error::Newer {
                file: NAME.into(),
                found,
                supported: VERSION,
            },
            _ => Error::damaged(NAME, 0, "the manifest fails its check"),
        }
    }

    /// The store's manifest; `None` when there is none.
    pub(crate) fn load(storage: &dyn Storage) -> Result<Option<Self>> {
        let file = match storage.open(NAME, Access::Read) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io("open", NAME, e)),
        };
        let bytes = read_file(&*file, MAX_LEN).map_err(|e| Error::io("read", NAME, e))?;
        Self::decode(&bytes).map(Some)
    }

    /// Makes this the store's manifest, durably; the number of bytes written. On failure it is
    /// also told whether the new manifest may have taken the old one's place.
    pub(crate) fn publish(&self, storage: &dyn Storage) -> Result<u64, (Error, bool)> {
        let bytes = self.encode();
        let prepare = || {
            let file = storage.open(TEMPORARY, Access::Create)?;
            write_all(&*file, &bytes, 0)?;
            file.sync()
        };
        let swap = || {
            storage.rename(TEMPORARY, NAME)?;
            storage.sync_dir()
        };
        prepare().map_err(|e| (Error::io("write", TEMPORARY, e), false))?;
        swap().map_err(|e| (Error::io("replace", NAME, e), true))?;
        Ok(bytes.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_holds_no_more_than_its_length() {
        let decoded = |len, records, payload| {
            let member = Member {
                id: 1,
                sealed: true,
                len,
                footer_at: 0,
                base_seq: 1,
                live: LiveBytes { records, payload },
            };
            let manifest = Manifest {
                next_seq: 2,
                next_segment: 2,
                members: vec![member],
                ..Manifest::default()
            };
            Manifest::decode(&manifest.encode())
        };
        assert!(decoded(1000, 900, 800).is_ok() && decoded(START, 0, 0).is_ok());
        for (len, records, payload) in [
            (0, 0, 0),
            (START - 1, 0, 0),
            (1000, 1001, 0),
            (1000, 0, u64::MAX),
            (u64::MAX, 0, 0),
        ] {
            let error = decoded(len, records, payload).unwrap_err();
            assert!(matches!(error, Error::Damaged { .. }), "{error}");
        }
    }
}
