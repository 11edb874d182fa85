//! The one writer: groups into the log, sealing, checkpoints.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::backlog::{Backlog, Due};
use crate::batch::{Condition, Request};
use crate::error::{Error, Result, is_full};
use crate::index::Index;
use crate::journal::{Journal, Saved, describe};
use crate::manifest::Manifest;
use crate::mapping;
use crate::options::Durability;
use crate::order;
use crate::packing::unpack;
use crate::place::Place;
use crate::queue::{Ticket, lock};
use crate::record::{Header, Kind};
use crate::segment::{START, Segment};
use crate::stats::add;
use crate::storage::write_all;
use crate::store::Inner;
use crate::table::Change;
use crate::view::View;

/// Bytes after which a sync begins that nobody asked for, so that the one that seals the segment finds
/// little left to do.
const AHEAD: u64 = 4 << 20;

#[derive(Debug)]
pub(crate) struct Writer {
    /// As last published.
    pub(crate) manifest: Manifest,
    /// The next record's number. Never given twice, not even after a failed write.
    pub(crate) next_seq: u64,
    /// The active segment is durable up to here.
    pub(crate) synced: u64,
    /// The active segment holds zeros from its tail up to here.
    pub(crate) reserved: u64,
    /// What no file of the index knows.
    pub(crate) backlog: Backlog,
    pub(crate) journal: Journal,
}

/// A request of the present group that takes effect.
struct Admitted<'a> {
    ticket: &'a Ticket,
    request: Request,
}

impl Writer {
    /// True if a segment is known to be durable up to `tail`: a sealed one is.
    pub(crate) fn is_synced(&self, inner: &Inner, segment: u32, tail: u64) -> bool {
        let view = inner.view.load();
        let active = view.active().filter(|s| s.id == segment);
        active.is_none() || self.synced >= tail
    }

    pub(crate) fn note_synced(&mut self, inner: &Inner, segment: u32, tail: u64) {
        if inner.view.load().active().is_some_and(|s| s.id == segment) {
            self.synced = self.synced.max(tail);
        }
    }

    /// Commits a group and finishes each of its tickets.
    pub(crate) fn commit(&mut self, inner: &Inner, group: &[Arc<Ticket>]) {
        let mut admitted = Vec::with_capacity(group.len());
        for ticket in group {
            let Some(request) = ticket.take() else {
                continue;
            };
            match holds(inner, &request, &admitted) {
                Ok(true) => admitted.push(Admitted { ticket, request }),
                Ok(false) => ticket.finish(Ok(false)),
                Err(e) => ticket.finish(Err(e)),
            }
        }
        if admitted.is_empty() {
            return;
        }
        let written = self.write_group(inner, &mut admitted);
        for entry in &admitted {
            entry.ticket.finish(written.clone().map(|()| true));
        }
        if written.is_ok() {
            let bytes = admitted.iter().map(|a| a.request.frames.len() as u64);
            self.ask_for_save(inner, bytes.sum());
        }
    }

    /// Has the index saved if that is due. What fails here is not the caller's.
    fn ask_for_save(&mut self, inner: &Inner, group: u64) {
        let every = inner.options.checkpoint_every;
        match self.backlog.ask(every, group) {
            Due::Nothing => {}
            Due::Beside => inner.due_index.store(true, Ordering::Relaxed),
            // Who saves it beside the writers does not keep up.
            Due::AtOnce => {
                if self.checkpoint(inner).is_err() {
                    self.backlog.failed(every);
                }
            }
        }
    }

    fn write_group(&mut self, inner: &Inner, admitted: &mut [Admitted<'_>]) -> Result<()> {
        inner.check_writable()?;
        let bytes: u64 = admitted.iter().map(|a| a.request.frames.len() as u64).sum();
        let segment = self.active_for(inner, bytes)?;
        let tail = segment.tail();
        let limit = (u64::from(u32::MAX) * 8).saturating_sub(tail);
        if bytes > limit {
            let what = "batch";
            return Err(Error::TooLarge {
                what,
                len: bytes,
                limit,
            });
        }
        let mut at = tail;
        for entry in admitted.iter_mut() {
            at = self.number(&mut entry.request, &segment, at);
        }
        self.append(inner, &segment, admitted, tail, bytes)?;
        self.apply(inner, &segment, admitted, tail);
        add(&inner.counters.commits, 1);
        add(&inner.counters.requests, admitted.len() as u64);
        self.backlog.grow(bytes);
        match inner.options.durability {
            Durability::Interval(_) => inner.flusher.wake(),
            Durability::Os if tail + bytes - self.synced >= AHEAD => inner.flusher.want(),
            Durability::Os | Durability::Always => {}
        }
        Ok(())
    }

    /// Completes the headers of a request that will lie at `at`; where the next one will.
    fn number(&mut self, request: &mut Request, segment: &Segment, mut at: u64) -> u64 {
        let mut start = 0;
        for header in &mut request.headers {
            header.seq = self.next_seq;
            header.synced = self.synced;
            self.next_seq += 1;
            header.encode(&mut request.frames[start..], segment.salt, at);
            start += header.total() as usize;
            at += header.total();
        }
        at
    }

    fn append(
        &mut self,
        inner: &Inner,
        segment: &Segment,
        admitted: &[Admitted<'_>],
        tail: u64,
        bytes: u64,
    ) -> Result<()> {
        let always = inner.options.durability == Durability::Always;
        match always {
            true => self.reserve(inner, segment, tail + bytes, bytes)?,
            false => self.reserve_block(inner, segment, tail, bytes),
        }
        let joined: Vec<u8>;
        let block: &[u8] = match admitted {
            [one] => &one.request.frames,
            many => {
                let frames: Vec<&[u8]> = many.iter().map(|a| &*a.request.frames).collect();
                joined = frames.concat();
                &joined
            }
        };
        if let Err(e) = write_all(&*segment.file, block, tail) {
            return Err(self.failed(inner, segment, tail, e));
        }
        add(&inner.counters.written, bytes);
        self.note_reserved(inner, self.reserved.max(tail + bytes));
        if always {
            self.sync_active(inner, segment, tail + bytes)?;
        }
        Ok(())
    }

    fn sync_active(&mut self, inner: &Inner, segment: &Segment, upto: u64) -> Result<()> {
        add(&inner.counters.syncs, 1);
        inner.sync_segment("sync", segment)?;
        self.synced = upto;
        Ok(())
    }

    /// After a failed write at `tail`: a full disk leaves the store usable, anything else does not.
    pub(crate) fn failed(
        &mut self,
        inner: &Inner,
        segment: &Segment,
        tail: u64,
        e: io::Error,
    ) -> Error {
        let full = is_full(&e);
        let error = Error::io("write to", segment.name.as_str(), e);
        if !full {
            return inner.poison(error);
        }
        match self.take_back(inner, segment, tail) {
            Ok(()) => error,
            Err(e) => e,
        }
    }

    /// Cuts half a write off, durably: what is written in its place may be lost in a power cut, and
    /// what was there before must not come back instead.
    pub(crate) fn take_back(&mut self, inner: &Inner, segment: &Segment, tail: u64) -> Result<()> {
        let cut = segment.file.set_len(tail);
        cut.map_err(|e| inner.poison(Error::io("cut", segment.name.as_str(), e)))?;
        inner.sync_segment("cut", segment)?;
        self.synced = tail;
        self.note_reserved(inner, tail);
        Ok(())
    }

    /// Makes a written group visible.
    fn apply(&mut self, inner: &Inner, segment: &Segment, admitted: &[Admitted<'_>], tail: u64) {
        let mut order = lock(&inner.order);
        let bytes: usize = admitted.iter().map(|a| a.request.frames.len()).sum();
        segment.set_tail(tail + bytes as u64);
        let mut base = tail;
        for entry in admitted {
            for (start, header, key, value) in entry.request.parts() {
                let offset = base + start as u64;
                add(&inner.counters.user, (key.len() + value.len()) as u64);
                let change = inner.point_to(key, header, segment, offset);
                self.journal.note(change);
                if let Some(order) = order.as_mut() {
                    order::note(order, key, header, offset);
                }
            }
            base += entry.request.frames.len() as u64;
        }
    }

    /// The active segment, with room for `bytes` more.
    fn active_for(&mut self, inner: &Inner, bytes: u64) -> Result<Arc<Segment>> {
        let active = inner.view.load().active().cloned();
        match active {
            Some(segment) if segment.tail() == START => Ok(segment),
            Some(segment) if segment.tail() + bytes <= inner.segment_size() => Ok(segment),
            _ => {
                let next = self.rotate(inner)?;
                // Here only: a compaction that seals must not call for the next one.
                inner.janitor.wake();
                Ok(next)
            }
        }
    }

    /// Makes `manifest` the present one.
    pub(crate) fn publish(&mut self, inner: &Inner, mut manifest: Manifest) -> Result<()> {
        manifest.generation += 1;
        manifest.next_seq = self.next_seq;
        match manifest.publish(&*inner.storage) {
            Ok(bytes) => add(&inner.counters.written, bytes),
            // Nothing was swapped yet: the old manifest stands.
            Err((error, false)) if error.is_full() => return Err(error),
            Err((error, _)) => return Err(inner.poison(error)),
        }
        self.manifest = manifest;
        Ok(())
    }

    /// Saves what changed in the index, with everything that the active segment holds now.
    pub(crate) fn checkpoint(&mut self, inner: &Inner) -> Result<()> {
        let view = inner.view.load_full();
        self.sync_tail(inner, &view)?;
        let mut manifest = self.manifest.clone();
        let saved = self.save_index(inner, &view.index, &mut manifest)?;
        describe(&mut manifest, &view.members);
        let published = self.publish_with_names(inner, manifest);
        self.conclude(inner, saved, published)
    }

    /// What the index's files are to know must be durable.
    pub(crate) fn sync_tail(&mut self, inner: &Inner, view: &View) -> Result<()> {
        match view.active().filter(|s| s.tail() > self.synced) {
            Some(active) => self.sync_active(inner, active, active.tail()),
            None => Ok(()),
        }
    }

    /// Publishes a manifest that names files whose names are not durable yet.
    pub(crate) fn publish_with_names(&mut self, inner: &Inner, manifest: Manifest) -> Result<()> {
        let synced = inner.storage.sync_dir();
        synced.map_err(|e| inner.poison(Error::io("sync", "the directory", e)))?;
        self.publish(inner, manifest)
    }

    /// Writes a file of the index, which `manifest` names from then on.
    pub(crate) fn save_index(
        &mut self,
        inner: &Inner,
        index: &Index,
        manifest: &mut Manifest,
    ) -> Result<Saved> {
        let saved = self.journal.save(&*inner.storage, inner.store_id, index);
        let saved = saved.map_err(|e| match e {
            Error::Io { .. } if !e.is_full() => inner.poison(e),
            e => e,
        })?;
        add(&inner.counters.written, saved.bytes());
        manifest.roots = saved.roots(manifest.roots);
        Ok(saved)
    }

    /// After the manifest that names `saved` was published, or was not.
    pub(crate) fn conclude(
        &mut self,
        inner: &Inner,
        saved: Saved,
        published: Result<()>,
    ) -> Result<()> {
        if let Err(e) = published {
            // Unless the swap may have happened, nobody will miss the file.
            if inner.poison.get().is_none() {
                let _ = inner.storage.remove(&saved.name());
            }
            return Err(e);
        }
        self.backlog = Backlog::default();
        inner
            .long_index
            .store(self.journal.is_long(), Ordering::Relaxed);
        let index = Arc::clone(&inner.view.load().index);
        for name in self.journal.published(saved, &index) {
            // Left behind, it is cleaned up at the next opening.
            let _ = inner.storage.remove(&name);
        }
        Ok(())
    }

    /// Leaves the store as one wants to find it.
    pub(crate) fn close(&mut self, inner: &Inner) -> Result<()> {
        let active = inner.view.load().active().cloned();
        if let Some(active) = active {
            self.take_back(inner, &active, active.tail())?;
        }
        match self.is_clean(inner) {
            true => Ok(()),
            false => self.checkpoint(inner),
        }
    }

    fn is_clean(&self, inner: &Inner) -> bool {
        let view = inner.view.load();
        let members = self.manifest.members.iter().zip(&view.members);
        members.into_iter().all(|(m, s)| m.len == s.tail())
            && self.manifest.next_seq == self.next_seq
            && self.journal.is_saved()
            && !view.index.is_broken()
    }
}

impl Inner {
    pub(crate) fn map(
        &self,
        file: &dyn crate::storage::StorageFile,
        len: u64,
    ) -> Result<Option<Bytes>> {
        match self.options.mapped {
            true => mapping::map(file, len).map_err(|e| Error::io("map", "a segment", e)),
            false => Ok(None),
        }
    }

    /// Points the index at the record of `key` at `offset` (or, for a tombstone, nowhere).
    pub(crate) fn point_to(
        &self,
        key: &[u8],
        header: &Header,
        segment: &Segment,
        offset: u64,
    ) -> Change {
        let old = self.locate_hashed(header.hash, key, true).ok().flatten();
        let view = self.view.load();
        if let Some((place, header)) = &old
            && let Some(segment) = view.segment(*place)
        {
            segment.forget(*place, header.as_ref());
        }
        let new =
            (header.kind == Kind::Put).then(|| Place::new(segment.id, offset, header.total()));
        if new.is_some() {
            segment.live.add(header.bytes());
        }
        let change = Change {
            hash: header.hash,
            old: old.map(|(place, _)| place),
            new,
        };
        view.index.change(change);
        change
    }
}

/// True if the request's condition holds behind those admitted before it.
fn holds(inner: &Inner, request: &Request, before: &[Admitted<'_>]) -> Result<bool> {
    let Some((_, _, key, _)) = request.parts().next() else {
        return Ok(false);
    };
    // Once the log has it, pointing to it must not fail.
    let index = &inner.view.load().index;
    request
        .headers
        .iter()
        .try_for_each(|header| index.ensure(header.hash))?;
    match &request.condition {
        Condition::Always => Ok(true),
        Condition::Present => match pending(before, key) {
            Some(value) => Ok(value.is_some()),
            None => Ok(inner.locate(key, false)?.is_some()),
        },
        Condition::Equals(key, expected) => match pending(before, key) {
            Some(Some((true, packed))) => {
                let what = |what| Error::damaged("a batch", 0, what);
                Ok(Some(unpack(packed, what)?) == *expected)
            }
            Some(value) => Ok(value.map(|(_, plain)| plain) == expected.as_deref()),
            None => Ok(inner.get(key)? == *expected),
        },
    }
}

/// What the requests of this group made of `key`, if they touch it: whether the value is compressed,
/// and its bytes.
fn pending<'a>(before: &'a [Admitted<'_>], key: &[u8]) -> Option<Option<(bool, &'a [u8])>> {
    let mut found = None;
    for entry in before {
        for (_, header, k, value) in entry.request.parts() {
            if k == key {
                found = Some((header.kind == Kind::Put).then_some((header.packed, value)));
            }
        }
    }
    found
}
