//! A persistent cache tier in a session store.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use bytes::{BufMut, Bytes, BytesMut};
use mainspring_cache_tier::{Error, Key, Label, Marks, Tier, TierEntry, TierFuture, TierUsage};
use mainspring_mmap_store::{Batch, Durability, Store};

/// What an entry is kept under: `e` and the key's digest.
const ENTRY: u8 = b'e';
/// What an invalidation is kept under: `m` and the label.
const MARK: u8 = b'm';
/// What says that the tier missed something, and must be emptied before it is used again.
const DISTRUSTED: &[u8] = b"d";
/// What the times are kept under: the floor and the latest.
const TIMES: &[u8] = b"t";

/// A [`Store`] as the persistent tier (L3) of a cache.
///
/// The store should be used for nothing else. Entries are dropped first in, first out when a bound
/// is reached; invalidations are remembered up to [`MAX_MARKS`](Self::MAX_MARKS) labels, beyond which
/// the older ones become a floor below which every labelled entry is stale. Opened with
/// `Durability::Os` a put is one write to the page cache; a power cut loses the newest entries and
/// nothing else. Thread-safe.
#[derive(Debug)]
pub struct StoreTier {
    store: Store,
    max_entries: u64,
    max_bytes: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Labels remembered.
    marks: usize,
    floor: u64,
    latest: u64,
    /// Where the oldest entry is looked for.
    oldest: u64,
    evictions: u64,
    peak_bytes: u64,
}

impl StoreTier {
    /// Labels whose invalidation is remembered one by one.
    pub const MAX_MARKS: usize = 65_536;
    /// How far the noted time runs ahead of the births it covers.
    const AHEAD: u64 = 4_096;

    /// Takes over a store, with at most `max_entries` entries (50,000 is the documented default) of
    /// `max_bytes` together (1 GiB). Costs one pass over the remembered labels.
    ///
    /// # Errors
    /// [`Error::Tier`] when the store cannot be read, or holds what must not be served and cannot be
    /// emptied.
    pub fn new(store: Store, max_entries: u64, max_bytes: u64) -> Result<Self, Error> {
        let mut state = State {
            marks: 0,
            floor: 0,
            latest: 0,
            oldest: 0,
            evictions: 0,
            peak_bytes: 0,
        };
        if let Some(times) = store.get(TIMES).map_err(failed)? {
            (state.floor, state.latest) = (number(&times, 0)?, number(&times, 8)?);
        }
        state.marks = store.scan_prefix(&[MARK]).map_err(failed)?.count();
        let tier = Self {
            store,
            max_entries,
            max_bytes,
            state: Mutex::new(state),
        };
        if tier.store.contains(DISTRUSTED).map_err(failed)? {
            tier.empty()?;
        }
        Ok(tier)
    }

    /// The store itself, for its figures, `verify` and `close`.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn load(&self, key: &Key) -> Result<Option<TierEntry>, Error> {
        let Some(stored) = self.store.get(&entry_key(key)).map_err(failed)? else {
            return Ok(None);
        };
        let wanted = key.encoded();
        match split(&stored)? {
            (stored_key, entry) if stored_key == wanted[..] => TierEntry::decode(&entry).map(Some),
            _ => Ok(None),
        }
    }

    fn save(&self, key: &Key, entry: &TierEntry) -> Result<(), Error> {
        let (encoded, value) = (key.encoded(), entry.encode()?);
        let size = 4 + encoded.len() + value.len();
        if size as u64 > self.max_bytes {
            self.store.delete(&entry_key(key)).map_err(failed)?;
            return Ok(());
        }
        self.reach(entry.birth)?;
        let mut stored = BytesMut::with_capacity(size);
        stored.put_u32_le(encoded.len() as u32);
        stored.put_slice(&encoded);
        stored.put_slice(&value);
        self.store.put(&entry_key(key), &stored).map_err(failed)?;
        self.make_room()
    }

    /// Sees to it that the noted time is never behind a stored birth, ahead in steps so that few
    /// entries cost a note.
    fn reach(&self, birth: u64) -> Result<(), Error> {
        let mut state = self.state();
        if birth <= state.latest {
            return Ok(());
        }
        let latest = birth.saturating_add(Self::AHEAD);
        let times = [state.floor.to_le_bytes(), latest.to_le_bytes()].concat();
        self.store.put(TIMES, &times).map_err(failed)?;
        state.latest = latest;
        Ok(())
    }

    /// Drops the oldest entries until both bounds hold, in batches.
    fn make_room(&self) -> Result<(), Error> {
        let mut state = self.state();
        loop {
            let now = self.store.stats();
            state.peak_bytes = state.peak_bytes.max(now.live_bytes);
            let entries = now.live_keys.saturating_sub(state.marks as u64 + 1);
            if entries <= self.max_entries && now.live_bytes <= self.max_bytes {
                return Ok(());
            }
            let mut batch = Batch::new();
            for found in self.store.scan_inserted(state.oldest) {
                let found = found.map_err(failed)?;
                state.oldest = found.number;
                if found.key.first() == Some(&ENTRY) {
                    batch.delete(&found.key);
                }
                if batch.len() >= 64 {
                    break;
                }
            }
            if batch.is_empty() {
                return Ok(());
            }
            state.evictions += batch.len() as u64;
            self.store.write(batch).map_err(failed)?;
        }
    }

    fn note(&self, labels: &[Label], epoch: u64) -> Result<u64, Error> {
        let mut state = self.state();
        let mut batch = Batch::new();
        let latest = state.latest.max(epoch);
        let mut fresh = 0;
        for label in labels {
            let key = mark_key(*label);
            fresh += usize::from(!self.store.contains(&key).map_err(failed)?);
            batch.put(&key, &epoch.to_le_bytes());
        }
        let mut floor = state.floor;
        let overflow = state.marks + fresh > Self::MAX_MARKS;
        if overflow {
            batch = Batch::new();
            for mark in self.store.scan_prefix(&[MARK]).map_err(failed)? {
                batch.delete(&mark.map_err(failed)?.0);
            }
            floor = floor.max(epoch);
        }
        batch.put(TIMES, &[floor.to_le_bytes(), latest.to_le_bytes()].concat());
        self.store.write(batch).map_err(failed)?;
        (state.floor, state.latest) = (floor, latest);
        state.marks = if overflow { 0 } else { state.marks + fresh };
        Ok(epoch)
    }

    fn remembered(&self) -> Result<Marks, Error> {
        let state = self.state();
        let mut marks = Vec::with_capacity(state.marks);
        for mark in self.store.scan_prefix(&[MARK]).map_err(failed)? {
            let (key, value) = mark.map_err(failed)?;
            marks.push((Label::from_u64(number(&key, 1)?), number(&value, 0)?));
        }
        Ok(Marks {
            marks,
            floor: state.floor,
            latest: state.latest,
        })
    }

    fn empty(&self) -> Result<(), Error> {
        let mut batch = Batch::new();
        for entry in self.store.scan_prefix(&[ENTRY]).map_err(failed)? {
            batch.delete(&entry.map_err(failed)?.0);
        }
        if self.store.contains(DISTRUSTED).map_err(failed)? {
            batch.delete(DISTRUSTED);
        }
        self.store.write(batch).map_err(failed)
    }

    /// The keys written last, the newest first. Costs one pass over the store.
    fn newest(&self, limit: usize) -> Result<Vec<Key>, Error> {
        let mut newest = VecDeque::new();
        if limit == 0 {
            return Ok(Vec::new());
        }
        for found in self.store.scan_inserted(self.state().oldest) {
            let found = found.map_err(failed)?;
            if found.key.first() != Some(&ENTRY) {
                continue;
            }
            if newest.len() == limit {
                newest.pop_front();
            }
            newest.extend(
                split(&found.value)
                    .ok()
                    .and_then(|(key, _)| Key::decode(&key)),
            );
        }
        Ok(newest.into_iter().rev().collect())
    }
}

impl Tier for StoreTier {
    fn name(&self) -> &str {
        "store"
    }

    fn get<'a>(&'a self, key: &'a Key) -> TierFuture<'a, Option<TierEntry>> {
        Box::pin(async move { self.load(key) })
    }

    fn put<'a>(&'a self, key: &'a Key, entry: &'a TierEntry) -> TierFuture<'a, ()> {
        Box::pin(async move { self.save(key, entry) })
    }

    fn remove<'a>(&'a self, key: &'a Key) -> TierFuture<'a, ()> {
        Box::pin(async move { self.store.delete(&entry_key(key)).map(drop).map_err(failed) })
    }

    fn mark<'a>(&'a self, labels: &'a [Label], epoch: u64) -> TierFuture<'a, u64> {
        Box::pin(async move { self.note(labels, epoch) })
    }

    fn marks(&self) -> TierFuture<'_, Marks> {
        Box::pin(async move { self.remembered() })
    }

    fn distrust(&self) -> TierFuture<'_, ()> {
        Box::pin(async move { self.store.put(DISTRUSTED, b"").map_err(failed) })
    }

    fn keys(&self, limit: usize) -> TierFuture<'_, Vec<Key>> {
        Box::pin(async move { self.newest(limit) })
    }

    fn clear(&self) -> TierFuture<'_, ()> {
        Box::pin(async move { self.empty() })
    }

    fn flush(&self) -> TierFuture<'_, ()> {
        Box::pin(async move { self.store.flush(Durability::Always).map_err(failed) })
    }

    fn usage(&self) -> TierUsage {
        let (now, state) = (self.store.stats(), self.state());
        let entries = now.live_keys.saturating_sub(state.marks as u64 + 1);
        let mut usage = TierUsage::new(entries, now.live_bytes);
        usage.peak_bytes = state.peak_bytes.max(now.live_bytes);
        usage.evictions = state.evictions;
        usage
    }
}

fn entry_key(key: &Key) -> [u8; 17] {
    let mut bytes = [ENTRY; 17];
    bytes[1..].copy_from_slice(&key.digest().to_le_bytes());
    bytes
}

fn mark_key(label: Label) -> [u8; 9] {
    let mut bytes = [MARK; 9];
    bytes[1..].copy_from_slice(&label.to_u64().to_le_bytes());
    bytes
}

/// The stored key and the entry's bytes.
fn split(stored: &Bytes) -> Result<(Bytes, Bytes), Error> {
    let length = stored
        .get(..4)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u32::from_le_bytes);
    match length.map(|length| 4 + length as usize) {
        Some(end) if end <= stored.len() => Ok((stored.slice(4..end), stored.slice(end..))),
        _ => Err(Error::Damaged {
            offset: 0,
            what: "the key is longer than the record",
        }),
    }
}

fn number(bytes: &[u8], at: usize) -> Result<u64, Error> {
    let found = bytes
        .get(at..at + 8)
        .and_then(|bytes| bytes.try_into().ok());
    let wrong = Error::Damaged {
        offset: at as u64,
        what: "a number is cut short",
    };
    found.map(u64::from_le_bytes).ok_or(wrong)
}

fn failed(error: mainspring_mmap_store::Error) -> Error {
    Error::tier("store", error)
}
