//! Setting damage aside.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::backup;
use crate::checkpoint;
use crate::compact::Policy;
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::index::Index;
use crate::manifest::{self, Manifest, Member, Roots};
use crate::options::Options;
use crate::queue::lock;
use crate::recover;
use crate::replay::{replay_active, replay_sealed};
use crate::segment::{self, LiveBytes, Origin, START, Segment, decode_header, file_name};
use crate::storage::{Access, Storage};
use crate::store::{Inner, Store};
use crate::telemetry::span;
use crate::verify::Damage;
use crate::view::View;
use crate::walk::{Found, Walk};

/// How a file is opened that is read and synced: Windows syncs what may be written to.
const TO_SYNC: Access = match cfg!(windows) {
    true => Access::Write,
    false => Access::Read,
};

/// What [`Store::repair`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairReport {
    /// Keys in the repaired store.
    pub keys: u64,
    /// The damage that was found.
    pub damage: Vec<Damage>,
    /// Files that were set aside, under these names, for whoever wants to look at them.
    pub set_aside: Vec<String>,
}

impl Store {
    /// Makes a damaged store whole: rewrites each segment in which something is damaged with what
    /// can be read of it, sets the old file aside as `*.damaged`, and rebuilds a lost manifest and
    /// a lost index from the log. Nothing is deleted.
    ///
    /// Where the newest record of a key is lost for good, the key is gone or shows an older value.
    /// A store without damage is left as it is.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Locked`], [`Error::Newer`], [`Error::Unrecognised`], [`Error::Io`].
    pub fn repair(dir: impl AsRef<Path>) -> Result<RepairReport> {
        Self::repair_in(Arc::new(Directory::new(dir)))
    }

    /// As [`repair`](Self::repair), for a store kept in any [`Storage`].
    ///
    /// # Errors
    /// As [`repair`](Self::repair).
    pub fn repair_in(storage: Arc<dyn Storage>) -> Result<RepairReport> {
        span!("mmap_store.repair");
        let mut report = RepairReport::default();
        repair_manifest(&*storage, &mut report)?;
        let store = Options::new().open_in(storage)?;
        report.damage.extend(store.verify()?.damage);
        report.damage.extend(store.damage());
        report
            .damage
            .sort_by(|a, b| (&a.file, a.offset).cmp(&(&b.file, b.offset)));
        report.damage.dedup();
        store.inner.set_damage_aside(&mut report)?;
        report.keys = store.stats().live_keys;
        store.close()?;
        Ok(report)
    }
}

/// Writes a new manifest from the segments when the old one is unusable.
fn repair_manifest(storage: &dyn Storage, report: &mut RepairReport) -> Result<()> {
    let error = match Manifest::load(storage) {
        Ok(Some(_)) => return Ok(()),
        Ok(None) => Error::damaged(manifest::NAME, 0, "the manifest is missing"),
        Err(e @ Error::Damaged { .. }) => e,
        Err(e) => return Err(e),
    };
    let guard = storage
        .lock(false)
        .map_err(|_| Error::Missing)?
        .ok_or(Error::Locked)?;
    let manifest = from_segments(storage, report)?;
    report
        .damage
        .push(Damage::from_error(manifest::NAME, &error));
    let aside = name_aside(storage, manifest::NAME)?;
    if storage.rename(manifest::NAME, &aside).is_ok() {
        report.set_aside.push(aside);
    }
    // It says that what it lists is durable, names included.
    let synced = storage.sync_dir();
    synced.map_err(|e| Error::io("sync", "the directory", e))?;
    manifest.publish(storage).map_err(|(e, _)| e)?;
    drop(guard);
    Ok(())
}

/// A name that is free: what was set aside before stays.
fn name_aside(storage: &dyn Storage, name: &str) -> Result<String> {
    let taken = storage.list();
    let taken = taken.map_err(|e| Error::io("list", "the directory", e))?;
    let (mut aside, mut number) = (format!("{name}.damaged"), 1);
    while taken.contains(&aside) {
        number += 1;
        aside = format!("{name}.{number}.damaged");
    }
    Ok(aside)
}

fn from_segments(storage: &dyn Storage, report: &mut RepairReport) -> Result<Manifest> {
    let names = storage
        .list()
        .map_err(|e| Error::io("list", "the directory", e))?;
    let mut found = Vec::new();
    let mut unreadable = Vec::new();
    for name in names.iter().filter(|n| segment::parse_name(n).is_some()) {
        let file = storage
            .open(name, TO_SYNC)
            .map_err(|e| Error::io("open", name.as_str(), e))?;
        match decode_header(&*file, name) {
            Ok((store_id, id, base_seq)) if file_name(id) == *name => {
                found.push((store_id, id, base_seq, file));
            }
            Ok(_) => {
                let what = "the header names another segment";
                unreadable.push(Damage::new(name, 0, START, what));
            }
            // Without its header nothing in it can be checked.
            Err(e @ (Error::Damaged { .. } | Error::Unrecognised { .. })) => {
                unreadable.push(Damage::from_error(name, &e));
            }
            Err(e) => return Err(e),
        }
    }
    let Some(&(store_id, ..)) = found.first() else {
        return Err(Error::Missing);
    };
    for (_, id, ..) in found.extract_if(.., |(store, ..)| *store != store_id) {
        let what = "the segment is of another store";
        unreadable.push(Damage::new(&file_name(id), 0, START, what));
    }
    // Under its own name it would be taken for a left-over and removed.
    for damage in unreadable {
        let aside = name_aside(storage, &damage.file)?;
        let renamed = storage.rename(&damage.file, &aside);
        renamed.map_err(|e| Error::io("set aside", damage.file.as_str(), e))?;
        report.set_aside.push(aside);
        report.damage.push(damage);
    }
    found.sort_by_key(|(_, id, base_seq, _)| (*base_seq, *id));
    let names = names.iter().map(String::as_str);
    let mut manifest = Manifest {
        store_id,
        // The lost one's is not known; by the same number a reader would take this one for it.
        generation: 1 + (recover::draw() >> 2),
        next_seq: 1,
        next_segment: 1,
        roots: Roots {
            // Who still reads by the lost manifest must not find other files under its numbers.
            base: names.filter_map(checkpoint::parse_name).max().unwrap_or(0),
            ..Roots::default()
        },
        ..Manifest::default()
    };
    for (_, id, base_seq, file) in found {
        let size = file
            .size()
            .map_err(|e| Error::io("measure", file_name(id), e))?;
        // A killed writer's last records may be in the page cache only.
        let synced = file.sync();
        synced.map_err(|e| Error::io("sync", file_name(id), e))?;
        let origin = Origin {
            store_id,
            id,
            base_seq,
            tail: size,
            sealed: true,
            footer_at: 0,
            live: LiveBytes::default(),
        };
        let segment = Arc::new(Segment::new(file, origin, None));
        let mut walk = Walk::new(&segment, START, 0, size);
        let mut len = START;
        while let Some(found) = walk.next()? {
            if let Found::Record(_, record) = &found {
                manifest.next_seq = manifest.next_seq.max(record.header.seq + 1);
            }
            // A batch that is not whole does not count.
            if !matches!(&found, Found::Record(_, record) if record.header.continues) {
                len = walk.position();
            }
        }
        manifest.next_segment = manifest.next_segment.max(id + 1);
        // Whatever lies behind the last good record is reported as such.
        manifest.members.push(Member {
            id,
            sealed: true,
            len,
            footer_at: 0,
            base_seq,
            live: LiveBytes::default(),
        });
    }
    Ok(manifest)
}

impl Inner {
    fn set_damage_aside(&self, report: &mut RepairReport) -> Result<()> {
        let _one_at_a_time = lock(&self.compacting);
        let active = self.view.load().active().cloned();
        if active.is_some_and(|s| is_bad(&s, report)) {
            lock(&self.writer).rotate(self)?;
        }
        // What is damaged in the log, the index cannot be trusted with.
        lock(&self.writer).journal.forget();
        let members = self.view.load().members.clone();
        for segment in members.iter().filter(|s| s.sealed) {
            if is_bad(segment, report) {
                self.salvage(segment, report)?;
            }
        }
        if !report.damage.is_empty() {
            // Half an index must not be saved when this is dropped.
            let whole = self.reindex();
            whole.inspect_err(|_| self.closed.store(true, Ordering::Release))?;
            lock(&self.writer).checkpoint(self)?;
            lock(&self.view.load().index.damage).clear();
        }
        Ok(())
    }

    fn salvage(&self, old: &Arc<Segment>, report: &mut RepairReport) -> Result<()> {
        let run = std::slice::from_ref(old);
        let Some(output) = self.rewrite(run, old.base_seq, Policy::Readable)? else {
            return Ok(());
        };
        let aside = name_aside(&*self.storage, &old.name)?;
        // A copy, so that a crash leaves the old file under its own name.
        let size = old
            .file
            .size()
            .map_err(|e| Error::io("measure", old.name.as_str(), e))?;
        backup::copy(old, size, &*self.storage, &aside)?;
        report.set_aside.push(aside);
        self.install(run, output)
    }

    /// Builds the index anew from the log: what it said of records that were lost is what a look-up
    /// would go by, and a scan would not.
    fn reindex(&self) -> Result<()> {
        let view = self.view.load_full();
        for segment in &view.members {
            segment.live.subtract(segment.live.get());
        }
        let index = Index::new(Vec::new(), Arc::clone(&self.absence));
        let empty = View::new(Arc::new(index), view.members.clone());
        self.replace_index(Arc::new(empty));
        lock(&self.writer).journal.forget();
        replay_sealed(self)?;
        if let Some(active) = view.active() {
            replay_active(self, active, START, active.tail())?;
        }
        Ok(())
    }
}

fn is_bad(segment: &Segment, report: &RepairReport) -> bool {
    let named = report.damage.iter().any(|d| d.file == segment.name);
    segment.flawed.fetch_or(named, Ordering::Relaxed) || named
}
