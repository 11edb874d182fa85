//! Opening: manifest, segments, index, and what was written after the last checkpoint.

use std::any::Any;
use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use arc_swap::ArcSwap;

use crate::absence::Absence;
use crate::backlog::Backlog;
use crate::chain::{self, Chain};
use crate::checkpoint::{self, IndexFile};
use crate::error::{Error, Result};
use crate::flusher::Flusher;
use crate::index::Index;
use crate::janitor::Janitor;
use crate::journal::Journal;
use crate::manifest::{self, Manifest, Member};
use crate::missing::MissingFile;
use crate::options::{Durability, Options};
use crate::queue::{Queue, lock};
use crate::replay::{replay_active, replay_sealed};
use crate::segment::{self, LiveBytes, Origin, START, Segment, decode_header, file_name};
use crate::stats::Counters;
use crate::storage::{Access, Storage, StorageFile};
use crate::store::Inner;
use crate::verify::Damage;
use crate::view::View;
use crate::writer::Writer;

/// How often a reader starts over because the writer compacted while it was opening.
const ATTEMPTS: usize = 32;

pub(crate) fn open(options: Options, storage: Arc<dyn Storage>) -> Result<Inner> {
    // Recognise first, so that nothing of a foreign or newer store is touched.
    let found = present(&*storage)?;
    if options.read_only {
        let manifest = found.ok_or(Error::Missing)?;
        return open_for_reading(options, storage, manifest, None);
    }
    if found.is_none() && !options.create {
        return Err(Error::Missing);
    }
    let guard = storage
        .lock(options.create)
        .map_err(|e| Error::io("lock", "the store", e))?
        .ok_or(Error::Locked)?;
    let manifest = match present(&*storage)? {
        Some(manifest) => manifest,
        None => create(&options, &*storage)?,
    };
    let inner = load(options, storage, manifest, Some(guard), None)?;
    remove_orphans(&inner);
    Ok(inner)
}

/// The manifest; `None` when there is no store, an error when there was one.
fn present(storage: &dyn Storage) -> Result<Option<Manifest>> {
    let manifest = Manifest::load(storage)?;
    if manifest.is_none() {
        let names = match storage.list() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            names => names.map_err(|e| Error::io("list", "the directory", e))?,
        };
        if names.iter().any(|n| segment::parse_name(n).is_some()) {
            return Err(Error::damaged(manifest::NAME, 0, "the manifest is missing"));
        }
    }
    Ok(manifest)
}

fn create(options: &Options, storage: &dyn Storage) -> Result<Manifest> {
    let manifest = Manifest {
        store_id: options.store_id.unwrap_or_else(draw),
        generation: 1,
        next_seq: 1,
        next_segment: 1,
        ..Manifest::default()
    };
    manifest.publish(storage).map_err(|(e, _)| e)?;
    Ok(manifest)
}

/// A number from the standard library's source of randomness.
pub(crate) fn draw() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u8(0);
    hasher.finish()
}

fn open_for_reading(
    options: Options,
    storage: Arc<dyn Storage>,
    mut manifest: Manifest,
    absence: Option<Arc<Absence>>,
) -> Result<Inner> {
    for _ in 0..ATTEMPTS {
        let inner = load(
            options.clone(),
            Arc::clone(&storage),
            manifest.clone(),
            None,
            absence.clone(),
        )?;
        let now = Manifest::load(&*storage)?.ok_or(Error::Missing)?;
        if now.generation == manifest.generation || lock(&inner.view.load().index.damage).is_empty()
        {
            return Ok(inner);
        }
        // Files may have gone while they were being opened.
        manifest = now;
    }
    load(options, storage, manifest, None, absence)
}

/// Brings a read-only handle up to the writer's state.
pub(crate) fn refresh(inner: &Inner) -> Result<bool> {
    let mut writer = lock(&inner.writer);
    // Behind the lock, so that of two callers none goes back to what it read before the other.
    let manifest = Manifest::load(&*inner.storage)?.ok_or(Error::Missing)?;
    let mut known = None;
    if manifest.generation == writer.manifest.generation {
        let Some(active) = inner.view.load().active().cloned() else {
            return Ok(false);
        };
        let tail = active.tail();
        let last_seq = replay_active(inner, &active, tail, 0)?;
        if active.tail() != tail {
            writer.next_seq = writer.next_seq.max(last_seq + 1);
            return Ok(true);
        }
        if !overtaken(&active)? {
            return Ok(false);
        }
        known = Some((tail, writer.next_seq));
    }
    let options = inner.options.clone();
    let absence = Some(Arc::clone(&inner.absence));
    let fresh = open_for_reading(options, Arc::clone(&inner.storage), manifest, absence)?;
    let mut order = lock(&inner.order);
    {
        let fresh = lock(&fresh.writer);
        writer.manifest = fresh.manifest.clone();
        writer.next_seq = fresh.next_seq;
    }
    let tail = fresh.view.load().active().map_or(0, |s| s.tail());
    inner.replace_index(fresh.view.load_full());
    *order = None;
    // No number is given twice: where the newest is the same and ends at the same place, the bytes
    // behind it are half a record that nobody goes on with.
    Ok(known != Some((tail, writer.next_seq)))
}

/// True if what follows the last known record is neither a record nor free: it may be half written
/// just now, or the writer took back a failed write that this handle saw, and wrote another.
fn overtaken(active: &Segment) -> Result<bool> {
    let next = active.bytes(active.tail(), 32)?;
    Ok(next.iter().any(|b| *b != 0))
}

fn load(
    options: Options,
    storage: Arc<dyn Storage>,
    mut manifest: Manifest,
    guard: Option<Box<dyn Any + Send + Sync>>,
    // Whose present index the new one is to follow.
    followed: Option<Arc<Absence>>,
) -> Result<Inner> {
    let mut damage = Vec::new();
    let files = open_index(&*storage, &manifest, &mut damage);
    let mut members = Vec::with_capacity(manifest.members.len());
    let last = manifest.members.len().saturating_sub(1);
    for (i, member) in manifest.members.iter_mut().enumerate() {
        if files.is_none() {
            // Counted while the log is read.
            member.live = LiveBytes::default();
        }
        // Only the last segment is ever written to.
        let active = i == last && !member.sealed;
        let store_id = manifest.store_id;
        let segment = open_segment(&options, &*storage, store_id, member, active, &mut damage)?;
        member.sealed = segment.sealed;
        members.push(Arc::new(segment));
    }
    let is_known = files.is_some();
    let journal = Journal::new(
        files.as_deref().unwrap_or_default(),
        manifest.roots,
        is_known || members.is_empty(),
    );
    let absence = followed.clone().unwrap_or_default();
    let index = match files {
        Some(files) => {
            let known = members.iter().zip(&manifest.members);
            let known = known.map(|(s, m)| (Arc::clone(s), m.len.min(s.tail())));
            let chain = Chain {
                files,
                members: known.collect(),
                store_id: manifest.store_id,
                damage: Arc::new(Mutex::new(damage)),
            };
            Index::of_chain(chain, Arc::clone(&absence))
        }
        None => Index::new(damage, Arc::clone(&absence)),
    };
    if followed.is_none() {
        index.claim_absence();
    }
    // What is to follow the new index still speaks of the one before: nothing read below may ask it.
    let asked = match followed {
        Some(_) => Arc::default(),
        None => absence,
    };
    let inner = Inner {
        store_id: manifest.store_id,
        absence: asked,
        view: ArcSwap::from_pointee(View::new(Arc::new(index), members)),
        order: Mutex::new(None),
        queue: Queue::default(),
        compacting: Mutex::new(()),
        merging: Mutex::new(()),
        saving: Mutex::new(()),
        due_index: AtomicBool::new(false),
        poison: OnceLock::new(),
        syncing: Mutex::new(()),
        // Until all is read, dropping this must not write: it would cut the log where reading stopped.
        closed: AtomicBool::new(true),
        long_index: AtomicBool::new(journal.is_long()),
        counters: Counters::default(),
        flusher: Flusher::default(),
        janitor: Janitor::default(),
        closing: AtomicBool::new(false),
        guard: Mutex::new(guard),
        writer: Mutex::new(Writer {
            next_seq: manifest.next_seq,
            synced: 0,
            reserved: 0,
            backlog: Backlog::default(),
            journal,
            manifest: manifest.clone(),
        }),
        storage,
        options,
    };
    if !is_known {
        replay_sealed(&inner)?;
    }
    recover_active(&inner, &manifest, is_known)?;
    if !lock(&inner.view.load().index.damage).is_empty() {
        // What damage did to the index is in no journal.
        lock(&inner.writer).journal.forget();
    }
    inner.closed.store(false, Ordering::Release);
    Ok(inner)
}

/// The heads of the index's files; `None` when there are none or one of them is damaged: the log
/// holds everything that they do.
fn open_index(
    storage: &dyn Storage,
    manifest: &Manifest,
    damage: &mut Vec<Damage>,
) -> Option<Vec<IndexFile>> {
    if manifest.roots.newest == 0 {
        return None;
    }
    chain::open_files(storage, manifest.roots, manifest.store_id)
        .inspect_err(|e| {
            let name = checkpoint::file_name(manifest.roots.newest);
            damage.push(Damage::from_error(&name, e));
        })
        .ok()
}

fn open_segment(
    options: &Options,
    storage: &dyn Storage,
    store_id: u64,
    member: &Member,
    active: bool,
    damage: &mut Vec<Damage>,
) -> Result<Segment> {
    let name = file_name(member.id);
    let access = if active && !options.read_only {
        Access::Write
    } else {
        Access::Read
    };
    let file: Arc<dyn StorageFile> = match storage.open(&name, access) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Arc::new(MissingFile),
        file => file.map_err(|e| Error::io("open", name.as_str(), e))?,
    };
    let size = file
        .size()
        .map_err(|e| Error::io("measure", name.as_str(), e))?;
    match decode_header(&*file, &name) {
        Ok(head) if head == (store_id, member.id, member.base_seq) => {}
        Ok(_) => damage.push(Damage::new(
            &name,
            0,
            START,
            "the header names another segment",
        )),
        Err(e @ (Error::Damaged { .. } | Error::Unrecognised { .. })) => {
            // The manifest knows what the header says.
            damage.push(Damage::from_error(&name, &e));
        }
        Err(e) => return Err(e),
    }
    let short = size < member.len;
    if short {
        damage.push(Damage::new(
            &name,
            size,
            member.len - size,
            "the file ends too early",
        ));
    } else if !active && size > member.len {
        damage.push(Damage::new(
            &name,
            member.len,
            size - member.len,
            "bytes behind the end",
        ));
    }
    // A segment that lost its end is never written to again: old entries point behind that end.
    let sealed = !active || short;
    let footer_at = if short { 0 } else { member.footer_at };
    let map = match options.mapped && sealed && !short {
        true => crate::mapping::map(&*file, member.len)
            .map_err(|e| Error::io("map", name.as_str(), e))?,
        false => None,
    };
    let origin = Origin {
        store_id,
        id: member.id,
        base_seq: member.base_seq,
        tail: member.len.min(size),
        sealed,
        footer_at,
        live: member.live,
    };
    let segment = Segment::new(file, origin, map);
    segment.flawed.store(short, Ordering::Relaxed);
    Ok(segment)
}

fn recover_active(inner: &Inner, manifest: &Manifest, is_known: bool) -> Result<()> {
    let view = inner.view.load_full();
    let (Some(active), Some(member)) = (view.active(), manifest.members.last()) else {
        return Ok(());
    };
    let from = if is_known { member.len } else { START };
    active.set_tail(from);
    let last_seq = replay_active(inner, active, from, member.len)?;
    let tail = active.tail();
    let mut writer = lock(&inner.writer);
    writer.next_seq = writer.next_seq.max(last_seq + 1);
    writer.backlog = Backlog::new(tail - from);
    if inner.options.read_only {
        return Ok(());
    }
    let end = keep_or_cut(inner, active, tail)?;
    // A cut must be durable before anything is written; and where all that a reader is shown is
    // durable, so must be what nobody acknowledged.
    let cut = inner.counters.torn.load(Ordering::Relaxed) > 0;
    let shown = inner.options.durability == Durability::Always && tail > member.len;
    writer.synced = tail.min(member.len);
    if cut || shown {
        let synced = active.file.sync();
        synced.map_err(|e| Error::io("sync", active.name.as_str(), e))?;
        writer.synced = tail;
    }
    writer.reserved = end;
    inner.counters.reserved.store(end, Ordering::Relaxed);
    Ok(())
}

/// Zeros behind the tail are space for later; anything else is torn and cut off, since new records
/// could otherwise make old ones behind them look like their successors.
fn keep_or_cut(inner: &Inner, active: &Segment, tail: u64) -> Result<u64> {
    let io = |action, e| Error::io(action, active.name.as_str(), e);
    let size = active.file.size().map_err(|e| io("measure", e))?;
    let mut at = tail;
    let mut last = tail;
    while at < size {
        let bytes = active.bytes(at, (1 << 20).min(size - at))?;
        if bytes.is_empty() {
            break;
        }
        if let Some(i) = bytes.iter().rposition(|b| *b != 0) {
            last = at + i as u64 + 1;
        }
        at += bytes.len() as u64;
    }
    if last == tail {
        return Ok(size);
    }
    inner.counters.torn.store(last - tail, Ordering::Relaxed);
    active
        .file
        .set_len(tail)
        .map_err(|e| io("cut the torn end of", e))?;
    Ok(tail)
}

/// Removes what an interrupted seal, checkpoint or compaction left behind.
fn remove_orphans(inner: &Inner) {
    let Ok(names) = inner.storage.list() else {
        return;
    };
    let writer = lock(&inner.writer);
    let used: HashSet<u32> = writer.manifest.members.iter().map(|m| m.id).collect();
    let index = writer.journal.names();
    // A damaged index may be of use to whoever looks into it.
    let is_lost = index.is_empty() && writer.manifest.roots.newest != 0;
    drop(writer);
    for name in names {
        let orphan = segment::parse_name(&name).is_some_and(|id| !used.contains(&id))
            || checkpoint::parse_name(&name).is_some() && !is_lost && !index.contains(&name)
            || name == manifest::TEMPORARY;
        if orphan {
            // Failing costs space only; the next opening tries again.
            let _ = inner.storage.remove(&name);
        }
    }
}
