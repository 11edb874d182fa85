//! The index on disk, so that opening reads it instead of the log.

use crc32c::crc32c;

use crate::error::{Error, Result};
use crate::index::{Index, Place, SHARDS, Slot, shard_of};
use crate::record::{le32, le64};
use crate::storage::{Access, Storage, StorageFile, read_full, write_all};

const MAGIC: &[u8; 8] = b"MSTORIDX";
const VERSION: u32 = 1;
/// Where the count and the check of each shard are listed.
const DIRECTORY: usize = 24;
const HEAD: usize = DIRECTORY + SHARDS * 8 + 4;
const ENTRY: usize = 12;

pub(crate) fn file_name(id: u32) -> String {
    format!("{id:08}.idx")
}

pub(crate) fn parse_name(name: &str) -> Option<u32> {
    let id = name.strip_suffix(".idx")?.parse().ok()?;
    (file_name(id) == name && id > 0).then_some(id)
}

/// Writes the whole index; the number of bytes written. The caller makes the name durable.
pub(crate) fn write(storage: &dyn Storage, id: u32, store_id: u64, index: &Index) -> Result<u64> {
    let name = file_name(id);
    let mut bytes = vec![0; HEAD];
    for shard in 0..SHARDS {
        let start = bytes.len();
        let entries = index.sorted(shard);
        for slot in &entries {
            let (segment, offset) = slot.place.words();
            for word in [slot.hash, segment, offset] {
                bytes.extend_from_slice(&word.to_le_bytes());
            }
        }
        let check = crc32c(&bytes[start..]);
        let at = DIRECTORY + shard * 8;
        bytes[at..at + 4].copy_from_slice(&(entries.len() as u32).to_le_bytes());
        bytes[at + 4..at + 8].copy_from_slice(&check.to_le_bytes());
    }
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..16].copy_from_slice(&id.to_le_bytes());
    bytes[16..24].copy_from_slice(&store_id.to_le_bytes());
    let check = crc32c(&bytes[..HEAD - 4]);
    bytes[HEAD - 4..HEAD].copy_from_slice(&check.to_le_bytes());
    let save = || {
        let file = storage.open(&name, Access::Create)?;
        write_all(&*file, &bytes, 0)?;
        file.sync()
    };
    save().map_err(|e| Error::io("write", name.as_str(), e))?;
    Ok(bytes.len() as u64)
}

/// Reads a checkpoint into an index, dropping entries whose segment is gone.
pub(crate) fn load(
    storage: &dyn Storage,
    id: u32,
    store_id: u64,
    known: impl Fn(u32) -> bool,
) -> Result<Index> {
    let name = file_name(id);
    let file = storage
        .open(&name, Access::Read)
        .map_err(|e| Error::io("open", name.as_str(), e))?;
    let counts = read_head(&*file, &name, id, store_id)?;
    let index = Index::new();
    let len: usize = counts.iter().map(|(count, _)| count * ENTRY).sum();
    let entries = read_part(&*file, &name, HEAD as u64, len)?;
    let mut rest = &entries[..];
    for (shard, &(count, check)) in counts.iter().enumerate() {
        let at = (HEAD + len - rest.len()) as u64;
        let (bytes, behind) = rest.split_at(count * ENTRY);
        rest = behind;
        if crc32c(bytes) != check {
            return Err(Error::damaged(
                name,
                at,
                "a part of the index fails its check",
            ));
        }
        let (entries, _) = bytes.as_chunks::<ENTRY>();
        let slots = || entries.iter().map(slot);
        let sorted = slots().is_sorted_by_key(|s| s.hash);
        let ends = [slots().next(), slots().next_back()];
        if !sorted || ends.iter().flatten().any(|s| shard_of(s.hash) != shard) {
            let what = "a part of the index is out of order";
            return Err(Error::damaged(name, at, what));
        }
        index.fill(shard, slots().filter(|s| known(s.place.segment())), count);
    }
    Ok(index)
}

#[inline]
fn slot(entry: &[u8; ENTRY]) -> Slot {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = *entry;
    Slot {
        hash: u32::from_le_bytes([a, b, c, d]),
        place: Place::from_words(
            u32::from_le_bytes([e, f, g, h]),
            u32::from_le_bytes([i, j, k, l]),
        ),
    }
}

type Counts = Vec<(usize, u32)>;

fn read_head(file: &dyn StorageFile, name: &str, id: u32, store_id: u64) -> Result<Counts> {
    let head = read_part(file, name, 0, HEAD)?;
    if crc32c(&head[..HEAD - 4]) != le32(&head, HEAD - 4) || &head[..8] != MAGIC {
        return Err(Error::damaged(
            name,
            0,
            "the index's header fails its check",
        ));
    }
    if le32(&head, 8) != VERSION || le32(&head, 12) != id || le64(&head, 16) != store_id {
        return Err(Error::damaged(
            name,
            8,
            "the index belongs to another store",
        ));
    }
    let counts: Counts = (0..SHARDS)
        .map(|s| {
            (
                le32(&head, DIRECTORY + s * 8) as usize,
                le32(&head, DIRECTORY + 4 + s * 8),
            )
        })
        .collect();
    let size = file
        .size()
        .map_err(|e| Error::io("measure", name.to_owned(), e))?;
    let entries: u64 = counts.iter().map(|(count, _)| *count as u64).sum();
    if size != HEAD as u64 + entries * ENTRY as u64 {
        return Err(Error::damaged(
            name,
            size,
            "the index's length does not fit its count",
        ));
    }
    Ok(counts)
}

fn read_part(file: &dyn StorageFile, name: &str, at: u64, len: usize) -> Result<Vec<u8>> {
    let size = file
        .size()
        .map_err(|e| Error::io("measure", name.to_owned(), e))?;
    if at + len as u64 > size {
        return Err(Error::damaged(name, size, "the index is cut short"));
    }
    let mut bytes = vec![0; len];
    let read =
        read_full(file, &mut bytes, at).map_err(|e| Error::io("read", name.to_owned(), e))?;
    match read == len {
        true => Ok(bytes),
        false => Err(Error::damaged(
            name,
            at + read as u64,
            "the index is cut short",
        )),
    }
}
