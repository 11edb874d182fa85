//! Work on the index's files that goes on beside the writers: saving what changed, and merging.

use std::sync::Arc;

use crate::backlog::Backlog;
use crate::chain;
use crate::checkpoint::{Encoder, Title, file_name};
use crate::error::{Error, Result};
use crate::index::SHARDS;
use crate::journal::{Draft, Known, Saved, describe};
use crate::manifest::{Member, Roots};
use crate::queue::lock;
use crate::segment::Segment;
use crate::stats::add;
use crate::store::Inner;
use crate::writer::Writer;

/// A save that has begun.
struct Save {
    draft: Draft,
    /// As of then: how far each segment is known, and what is alive in it.
    members: Vec<Member>,
    generation: u64,
    /// The active segment and its end.
    active: Option<(Arc<Segment>, u64)>,
    /// Bytes of log that it is about.
    bytes: u64,
}

impl Writer {
    /// What there is to save; `None` when all of it was done at once.
    fn begin_save(&mut self, inner: &Inner) -> Result<Option<Save>> {
        inner.check_writable()?;
        let view = inner.view.load_full();
        let Some(draft) = self.journal.draft(inner.store_id, &view.index)? else {
            return self.checkpoint(inner).map(|()| None);
        };
        let mut manifest = self.manifest.clone();
        describe(&mut manifest, &view.members);
        Ok(Some(Save {
            draft,
            members: manifest.members,
            generation: manifest.generation,
            active: view.active().map(|s| (Arc::clone(s), s.tail())),
            bytes: self.backlog.bytes(),
        }))
    }

    fn finish_save(&mut self, inner: &Inner, save: Save, saved: Saved) -> Result<()> {
        let fits = self.journal.fits(&saved) && self.manifest.generation == save.generation;
        if !fits || inner.check_writable().is_err() {
            // Somebody else saved more meanwhile.
            let _ = inner.storage.remove(&saved.name());
            return Ok(());
        }
        let mut manifest = self.manifest.clone();
        manifest.members = save.members;
        manifest.roots = saved.roots(manifest.roots);
        let published = self.publish(inner, manifest);
        let newer = self.backlog.bytes().saturating_sub(save.bytes);
        self.conclude(inner, saved, published)?;
        self.backlog = Backlog::new(newer);
        Ok(())
    }
}

impl Inner {
    /// Saves what changed in the index, with everything that the active segment holds now. Writers
    /// wait for the swap only.
    pub(crate) fn save_index_beside(&self) -> Result<()> {
        // Whoever comes while it is being done need not do it again.
        let Ok(_turn) = self.saving.try_lock() else {
            return Ok(());
        };
        let Some(save) = lock(&self.writer).begin_save(self)? else {
            return Ok(());
        };
        let saved = self.write_save(&save)?;
        lock(&self.writer).finish_save(self, save, saved)
    }

    /// What the file is to know must be durable, and so must its name.
    fn write_save(&self, save: &Save) -> Result<Saved> {
        if let Some((active, tail)) = &save.active {
            self.sync_upto(active, *tail)?;
        }
        let saved = save.draft.write(&*self.storage).map_err(|e| match e {
            Error::Io { .. } if !e.is_full() => self.poison(e),
            e => e,
        })?;
        add(&self.counters.written, saved.bytes());
        let synced = self.storage.sync_dir();
        synced.map_err(|e| self.poison(Error::io("sync", "the directory", e)))?;
        Ok(saved)
    }

    /// Makes one file out of many, if that pays. Writers wait for the swap only.
    pub(crate) fn merge_index(&self) -> Result<()> {
        // Whoever comes while it is being done need not do it again.
        let Ok(_turn) = self.merging.try_lock() else {
            return Ok(());
        };
        let (number, roots) = {
            let mut writer = lock(&self.writer);
            self.check_writable()?;
            let upto = writer.journal.files.last().map(|f| f.number);
            let (true, Some(newest)) = (writer.journal.is_long(), upto) else {
                return Ok(());
            };
            let number = writer.journal.number()?;
            let roots = writer.manifest.roots;
            (number, Roots { newest, ..roots })
        };
        let merged = self.write_merged(number, roots);
        let bytes = match merged {
            Ok(bytes) => bytes,
            Err(e) => {
                let _ = self.storage.remove(&file_name(number));
                if matches!(e, Error::Damaged { .. }) {
                    lock(&self.writer).journal.forget();
                }
                return Err(e);
            }
        };
        add(&self.counters.written, bytes);
        self.install_merged(number, roots.newest, bytes)
    }

    fn write_merged(&self, number: u32, roots: Roots) -> Result<u64> {
        let files = chain::open_files(&*self.storage, roots, self.store_id)?;
        let mut encoder = Encoder::new();
        for shard in 0..SHARDS {
            encoder.push(chain::table(&files, shard)?.iter(), &[]);
        }
        let title = Title {
            number,
            previous: 0,
            store_id: self.store_id,
            keys: files.last().map_or(0, |f| f.title.keys),
        };
        let bytes = encoder.write(&*self.storage, title)?;
        let synced = self.storage.sync_dir();
        synced.map_err(|e| self.poison(Error::io("sync", "the directory", e)))?;
        Ok(bytes)
    }

    fn install_merged(&self, number: u32, stands_for: u32, bytes: u64) -> Result<()> {
        let mut writer = lock(&self.writer);
        let known = |f: &Known| f.number == stands_for;
        let at = writer.journal.files.iter().position(known);
        let usable = self
            .check_writable()
            .map(|()| at.filter(|_| writer.journal.is_known()));
        let (Ok(Some(at)), mut manifest) = (usable, writer.manifest.clone()) else {
            // Somebody wrote it anew as a whole, or closed the store.
            let _ = self.storage.remove(&file_name(number));
            return Ok(());
        };
        manifest.roots = Roots {
            base: number,
            base_of: stands_for,
            ..manifest.roots
        };
        writer.publish(self, manifest).inspect_err(|_| {
            if self.poison.get().is_none() {
                let _ = self.storage.remove(&file_name(number));
            }
        })?;
        let merged = Known {
            number: stands_for,
            file: number,
            bytes,
        };
        let replaced = writer.journal.files.splice(..=at, [merged]);
        let replaced: Vec<u32> = replaced.map(|f| f.file).collect();
        drop(writer);
        for file in replaced {
            let _ = self.storage.remove(&file_name(file));
        }
        Ok(())
    }
}
