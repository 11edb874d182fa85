//! Large values, stored once under the hash of their bytes.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;

use crate::backing::Backing;
use crate::cipher::Cipher;
use crate::error::{Error, GET, Result};
use crate::record::Framing;
use crate::stream;
use crate::text::{BlockId, BlockRef, Fetch};
use crate::wire::{Reader, put_varint};

pub(crate) const PREFIX: &str = "b/";
const MAGIC: &[u8; 4] = b"MSDB";
const FORMAT: u8 = 1;
/// Addresses remembered as stored.
const KNOWN: usize = 1 << 16;
/// Bytes of blocks that one restore keeps at hand.
const CACHE: usize = 16 << 20;

/// Address of a block: BLAKE3, keyed when there is a cipher.
pub(crate) fn address(bytes: &[u8], cipher: Option<&dyn Cipher>) -> BlockRef {
    let hash = match cipher {
        None => blake3::hash(bytes),
        Some(cipher) => blake3::keyed_hash(&cipher.address_key(), bytes),
    };
    BlockRef {
        id: *hash.as_bytes(),
        len: bytes.len() as u64,
    }
}

pub(crate) fn key(id: &BlockId) -> String {
    let hex = id.iter().map(|byte| format!("{byte:02x}"));
    hex.fold(PREFIX.to_owned(), |key, byte| key + &byte)
}

/// The address in a key, if it is one.
pub(crate) fn id_of(key: &str) -> Option<BlockId> {
    let hex = key.strip_prefix(PREFIX)?;
    let mut id = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (byte, at) in id.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&hex[at..at + 2], 16).ok()?;
    }
    Some(id)
}

/// Which blocks are known to be stored, so that a repeated value costs no call.
///
/// While garbage is collected it also knows which blocks were given meanwhile: those stay.
#[derive(Debug, Default)]
pub(crate) struct Known {
    ids: Mutex<Ids>,
    /// Held alone while one block is deleted, so that nobody finds it there and relies on that.
    removal: RwLock<()>,
}

#[derive(Debug, Default)]
struct Ids {
    stored: HashSet<BlockId>,
    given: Option<HashSet<BlockId>>,
}

impl Known {
    fn ids(&self) -> MutexGuard<'_, Ids> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn contains(&self, id: &BlockId) -> bool {
        self.ids().stored.contains(id)
    }

    /// The same for a block that a caller has just given and is going to refer to.
    pub(crate) fn meet(&self, id: &BlockId) -> bool {
        let mut ids = self.ids();
        if let Some(given) = &mut ids.given {
            given.insert(*id);
        }
        ids.stored.contains(id)
    }

    pub(crate) fn insert(&self, id: BlockId) {
        let mut ids = self.ids();
        if ids.stored.len() >= KNOWN {
            ids.stored.clear();
        }
        ids.stored.insert(id);
    }

    /// What is stored under the address is not what it should be: the next commit of these bytes writes them anew.
    pub(crate) fn forget(&self, id: &BlockId) {
        self.ids().stored.remove(id);
    }

    /// Begins or ends to note what is given.
    pub(crate) fn watch(&self, on: bool) {
        self.ids().given = on.then(HashSet::new);
    }

    /// Deletes a block unless it was given since the watch began; whether it did.
    pub(crate) fn remove(&self, backing: &dyn Backing, id: &BlockId, key: &str) -> Result<bool> {
        let _alone = self.removal.write().unwrap_or_else(PoisonError::into_inner);
        {
            let mut ids = self.ids();
            if ids.given.as_ref().is_some_and(|given| given.contains(id)) {
                return Ok(false);
            }
            // Forgotten first: after a failed delete the block is looked for again.
            ids.stored.remove(id);
        }
        backing.delete(key).map_err(Error::io("delete", key))?;
        Ok(true)
    }
}

/// Stores a block unless it is there, undamaged.
pub(crate) fn store(
    backing: &dyn Backing,
    known: &Known,
    block: &BlockRef,
    bytes: &[u8],
    level: i32,
    cipher: Option<&dyn Cipher>,
) -> Result<()> {
    if known.contains(&block.id) {
        return Ok(());
    }
    let key = key(&block.id);
    let _stays = known.removal.read().unwrap_or_else(PoisonError::into_inner);
    let there = backing.list(&key).map_err(Error::io("list", &key))?;
    // Read once a process: what a later reader would find damaged is replaced while its bytes are at hand.
    let limit = bytes.len() as u64;
    if there.is_empty() || load(backing, block, limit, cipher).is_err() {
        let record = encode(&key, bytes, level, cipher)?;
        backing.put(&key, &record).map_err(Error::io("put", &key))?;
    }
    known.insert(block.id);
    Ok(())
}

fn encode(key: &str, bytes: &[u8], level: i32, cipher: Option<&dyn Cipher>) -> Result<Vec<u8>> {
    let packed = stream::pack(level, bytes)?;
    let compressed = packed.len() < bytes.len();
    let mut body = Vec::with_capacity(packed.len() + 16);
    put_varint(&mut body, (bytes.len() as u64) << 1 | u64::from(compressed));
    body.extend_from_slice(if compressed { &packed } else { bytes });
    let mut out = MAGIC.to_vec();
    out.push(FORMAT);
    Framing { key, cipher }.put(0, &body, &mut out)?;
    Ok(out)
}

/// Reads a stored block and checks it against its address.
pub(crate) fn load(
    backing: &dyn Backing,
    block: &BlockRef,
    limit: u64,
    cipher: Option<&dyn Cipher>,
) -> Result<Bytes> {
    let key = key(&block.id);
    let stored = backing.get(&key).map_err(Error::io(GET, &key))?;
    let stored = stored.ok_or_else(|| Error::missing("block", &key))?;
    let bytes = decode(&key, &stored, limit, cipher)?;
    if address(&bytes, cipher) != *block {
        return Err(Error::damaged(
            &key,
            0,
            "the bytes do not have the address they are stored under",
        ));
    }
    Ok(bytes)
}

pub(crate) fn decode(
    key: &str,
    stored: &Bytes,
    limit: u64,
    cipher: Option<&dyn Cipher>,
) -> Result<Bytes> {
    if stored.len() < 5 || &stored[..4] != MAGIC || stored[4] != FORMAT {
        return Err(Error::damaged(key, 0, "it does not begin as a block"));
    }
    let framing = Framing { key, cipher };
    let (body, start) = framing.only(stored, 5)?;
    let mut reader = Reader::new(key, start, &body);
    let head = reader.varint()?;
    let len = head >> 1;
    if len > limit {
        return Err(Error::TooLarge {
            what: "block",
            limit,
            found: len,
        });
    }
    let rest = body.slice(reader.at()..);
    if head & 1 == 0 {
        return Ok(rest);
    }
    let bytes =
        stream::unpack(&rest, len as usize).map_err(|what| Error::damaged(key, start, what))?;
    Ok(bytes.into())
}

/// Loads blocks for one call and keeps a few at hand.
#[derive(Debug)]
pub(crate) struct Fetcher<'a> {
    backing: &'a dyn Backing,
    known: &'a Known,
    cipher: Option<&'a dyn Cipher>,
    limit: u64,
    cache: RefCell<HashMap<BlockId, Bytes>>,
}

impl<'a> Fetcher<'a> {
    pub(crate) fn new(
        backing: &'a dyn Backing,
        known: &'a Known,
        cipher: Option<&'a dyn Cipher>,
        limit: u64,
    ) -> Self {
        Self {
            backing,
            known,
            cipher,
            limit,
            cache: RefCell::default(),
        }
    }
}

impl Fetch for Fetcher<'_> {
    fn fetch(&self, block: &BlockRef) -> Result<Bytes> {
        if let Some(bytes) = self.cache.borrow().get(&block.id) {
            return Ok(bytes.clone());
        }
        let bytes = load(self.backing, block, self.limit, self.cipher)
            .inspect_err(|_| self.known.forget(&block.id))?;
        let mut cache = self.cache.borrow_mut();
        let held: usize = cache.values().map(Bytes::len).sum();
        if held + bytes.len() > CACHE {
            cache.clear();
        }
        cache.insert(block.id, bytes.clone());
        Ok(bytes)
    }
}
