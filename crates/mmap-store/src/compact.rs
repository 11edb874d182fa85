//! Giving back the space of records that exist no more.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::ahead::BLOCK;
use crate::error::{Error, Result, is_full};
use crate::footer::{self, Order};
use crate::journal::describe;
use crate::manifest::{Manifest, Member, Roots};
use crate::order;
use crate::place::Place;
use crate::queue::lock;
use crate::record::{Header, Kind, push_footer};
use crate::rotation::check_number;
use crate::segment::{LiveBytes, Origin, Record, START, Segment, encode_header, file_name};
use crate::stats::add;
use crate::storage::{Access, StorageFile, write_all};
use crate::store::{Inner, Store};
use crate::table::Change;
use crate::telemetry::{self, span};
use crate::view::View;
use crate::walk::{Found, Walk};
use crate::writer::Writer;

/// What a [`Store::compact`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactReport {
    /// Segments that were read and removed.
    pub removed: u64,
    /// Segments written in their place.
    pub written: u64,
    /// Bytes of log before.
    pub bytes_before: u64,
    /// Bytes of log after.
    pub bytes_after: u64,
}

/// A record's old and new place.
pub(crate) struct Move {
    pub(crate) hash: u32,
    pub(crate) old: Place,
    pub(crate) new: Place,
    pub(crate) bytes: LiveBytes,
}

/// A new segment that takes the place of old ones, before it does.
pub(crate) struct Output {
    pub(crate) segment: Segment,
    pub(crate) moves: Vec<Move>,
    pub(crate) records: u64,
}

impl Store {
    /// Rewrites the segments that hold dead records, oldest first, so that only live ones remain.
    ///
    /// Readers never wait for it; writers wait for the swap of each finished segment. Takes one
    /// segment of extra space, and that of the index. A segment in
    /// which something is damaged is left as it is; what is sealed meanwhile is left to the next call.
    ///
    /// # Errors
    /// As [`put`](Self::put). On a full disk nothing is lost; what was compacted so far stays so.
    pub fn compact(&self) -> Result<CompactReport> {
        self.inner.compact()
    }
}

impl Inner {
    pub(crate) fn compact(&self) -> Result<CompactReport> {
        telemetry::compact(|| self.compact_once())
    }

    fn compact_once(&self) -> Result<CompactReport> {
        span!("mmap_store.compact");
        self.check_writable()?;
        let _one_at_a_time = lock(&self.compacting);
        let mut report = CompactReport {
            bytes_before: self.log_bytes(),
            ..CompactReport::default()
        };
        {
            let mut writer = lock(&self.writer);
            self.check_writable()?;
            let view = self.view.load_full();
            // What waits for its shard to be loaded is not counted as garbage yet, and a damaged part
            // of the index must be known before anything moves.
            view.index.load_all()?;
            if view.active().is_some_and(|s| has_garbage(s)) {
                writer.rotate(self)?;
            }
            if !writer.journal.is_known() || view.index.is_broken() {
                writer.checkpoint(self)?;
            }
        }
        self.compact_sealed(&mut report)?;
        report.bytes_after = self.log_bytes();
        Ok(report)
    }

    fn log_bytes(&self) -> u64 {
        let members = &self.view.load().members;
        members.iter().map(|s| s.tail()).sum()
    }
}

fn has_garbage(segment: &Segment) -> bool {
    segment.records_end().saturating_sub(START) > segment.live.get().records
}

impl Inner {
    fn compact_sealed(&self, report: &mut CompactReport) -> Result<()> {
        let mut at = 0;
        // As it is now: while segments are joined they get fewer.
        let limit = self.segment_size();
        // As long as everything before holds live records only, a tombstone hides nothing.
        let mut clean = true;
        // What is sealed from here on waits for the next call: its tombstones may hide records that
        // were alive when this one passed them.
        let sealed = |m: &[Arc<Segment>]| m.iter().filter(|s| s.sealed).count();
        let mut end = sealed(&self.view.load().members);
        // Whoever closes the store waits for the segment at hand, not for all of them.
        while !self.closing.load(Ordering::Acquire) {
            let mut members = self.view.load().members.clone();
            members.truncate(end);
            let run = Self::choose_run(&members, at, limit);
            let Some(first) = run.first() else {
                match members.get(at) {
                    None => return Ok(()),
                    Some(skipped) => clean &= !skipped.flawed.load(Ordering::Relaxed),
                }
                at += 1;
                continue;
            };
            let base_seq = first.base_seq;
            match self.rewrite(
                run,
                base_seq,
                Policy::Live {
                    keep_tombstones: !clean,
                },
            )? {
                Some(output) => {
                    let written = u64::from(output.records > 0);
                    self.install(run, output)?;
                    report.removed += run.len() as u64;
                    report.written += written;
                    at += written as usize;
                    end = end + written as usize - run.len();
                }
                None => {
                    clean = false;
                    at += run.len();
                }
            }
        }
        Ok(())
    }

    /// Sealed neighbours from `at` on that are worth rewriting into one segment.
    fn choose_run(members: &[Arc<Segment>], at: usize, limit: u64) -> &[Arc<Segment>] {
        let mut live = 0;
        let mut garbage = false;
        let mut end = at;
        for segment in members.get(at..).unwrap_or_default() {
            let own = segment.live.get().records;
            let small = segment.tail() < limit / 2;
            let fit = end == at || live + own <= limit;
            let worth = has_garbage(segment) || small;
            if !segment.sealed || segment.flawed.load(Ordering::Relaxed) || !worth || !fit {
                break;
            }
            garbage |= has_garbage(segment);
            live += own;
            end += 1;
        }
        match garbage || end > at + 1 {
            true => &members[at..end],
            false => &[],
        }
    }

    /// Copies records of `run` into a new segment; `None` if something in there is damaged and the
    /// policy does not allow that.
    pub(crate) fn rewrite(
        &self,
        run: &[Arc<Segment>],
        base_seq: u64,
        policy: Policy,
    ) -> Result<Option<Output>> {
        let id = {
            let mut writer = lock(&self.writer);
            let id = writer.manifest.next_segment;
            check_number(id)?;
            writer.manifest.next_segment += 1;
            id
        };
        let name = file_name(id);
        let copy = Copy::new(self, id, base_seq);
        let result = copy.and_then(|copy| copy.run(self, run, policy));
        match result {
            Ok(Some(output)) if output.records > 0 => Ok(Some(output)),
            Ok(output) => {
                let _ = self.storage.remove(&name);
                Ok(output)
            }
            Err(e) => {
                let _ = self.storage.remove(&name);
                Err(e)
            }
        }
    }

    /// Puts a finished output in the place of `run`, then removes the files of `run`.
    pub(crate) fn install(&self, run: &[Arc<Segment>], output: Output) -> Result<()> {
        let mut writer = lock(&self.writer);
        self.check_writable()?;
        let view = self.view.load_full();
        let ids: Vec<u32> = run.iter().map(|s| s.id).collect();
        let Some(at) = view.members.iter().position(|s| ids.contains(&s.id)) else {
            return Ok(());
        };
        let segment = Arc::new(output.segment);
        let mut moves = Vec::with_capacity(output.moves.len());
        for step in output.moves {
            // What was overwritten or deleted meanwhile is dead in the output, too.
            if view.index.points_at(step.hash, step.old)? {
                segment.live.add(step.bytes);
                moves.push(Change {
                    hash: step.hash,
                    old: Some(step.old),
                    new: Some(step.new),
                });
            }
        }
        let mut manifest = writer.manifest.clone();
        let mut members = view.members.clone();
        manifest.members.drain(at..at + run.len());
        members.drain(at..at + run.len());
        if output.records > 0 {
            manifest.members.insert(at, member_of(&segment));
            members.insert(at, Arc::clone(&segment));
        }
        let published = writer.publish_moves(self, &view, &members, manifest, &moves);
        if let Err(e) = published {
            // Unless the swap may have happened, nobody will miss the output.
            if self.poison.get().is_none() {
                let _ = self.storage.remove(&segment.name);
            }
            return Err(e);
        }
        let index = &view.index;
        let both = View::with_hidden(Arc::clone(index), members.clone(), run);
        self.view.store(Arc::new(both));
        moves.into_iter().for_each(|step| index.change(step));
        self.view
            .store(Arc::new(View::new(Arc::clone(index), members)));
        drop(writer);
        for id in ids {
            // Readers with the file open read on. Left behind, it is cleaned up when opening.
            let _ = self.storage.remove(&file_name(id));
        }
        Ok(())
    }
}

impl Writer {
    /// Publishes a manifest in which records have moved, together with a file of the index that says
    /// where to.
    fn publish_moves(
        &mut self,
        inner: &Inner,
        view: &View,
        members: &[Arc<Segment>],
        mut manifest: Manifest,
        moves: &[Change],
    ) -> Result<()> {
        self.sync_tail(inner, view)?;
        // Before the mark, or going back to it would take away what it puts in front. And no part of
        // the index may turn out damaged once the moves are noted: made whole, it would not know them.
        view.index.load_all()?;
        self.journal.take_resolved(&view.index)?;
        if !self.journal.is_known() {
            // From the log, then: the index's files know nothing of this.
            manifest.roots = Roots::default();
            describe(&mut manifest, members);
            return self.publish(inner, manifest);
        }
        let mark = self.journal.mark();
        moves.iter().for_each(|step| self.journal.note(*step));
        let saved = self.save_index(inner, &view.index, &mut manifest);
        let saved = saved.inspect_err(|_| self.journal.rewind(mark))?;
        describe(&mut manifest, members);
        let published = self.publish_with_names(inner, manifest);
        let is_lost = published.is_err();
        let concluded = self.conclude(inner, saved, published);
        if is_lost {
            self.journal.rewind(mark);
        }
        concluded
    }
}

fn member_of(segment: &Segment) -> Member {
    Member {
        id: segment.id,
        sealed: true,
        len: segment.tail(),
        footer_at: segment.footer_at,
        base_seq: segment.base_seq,
        live: LiveBytes::default(),
    }
}

/// Which records a rewrite keeps.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Policy {
    /// Those that the index points at; stops at damage.
    Live { keep_tombstones: bool },
    /// All that can be read.
    Readable,
}

/// A segment in the making.
struct Copy {
    file: Arc<dyn StorageFile>,
    origin: Origin,
    name: String,
    salt: u32,
    buffer: Vec<u8>,
    /// Where the buffer begins in the file.
    flushed: u64,
    order: Order,
    moves: Vec<Move>,
    records: u64,
    last_seq: u64,
}

impl Copy {
    fn new(inner: &Inner, id: u32, base_seq: u64) -> Result<Self> {
        let name = file_name(id);
        let file = inner
            .storage
            .open(&name, Access::Create)
            .map_err(|e| Error::io("create", name.as_str(), e))?;
        let origin = Origin {
            store_id: inner.store_id,
            id,
            base_seq,
            tail: 0,
            sealed: true,
            footer_at: 0,
            live: LiveBytes::default(),
        };
        Ok(Self {
            file,
            salt: crate::record::salt(inner.store_id, id),
            name,
            buffer: encode_header(inner.store_id, id, base_seq).to_vec(),
            origin,
            flushed: 0,
            order: Order::new(),
            moves: Vec::new(),
            records: 0,
            last_seq: 0,
        })
    }

    fn run(
        mut self,
        inner: &Inner,
        run: &[Arc<Segment>],
        policy: Policy,
    ) -> Result<Option<Output>> {
        for segment in run {
            let mut walk = Walk::all(segment);
            while let Some(found) = walk.next()? {
                match found {
                    Found::Record(offset, record) => {
                        self.last_seq = self.last_seq.max(record.header.seq);
                        if keeps(inner, segment, offset, &record.header, policy)? {
                            self.push(inner, segment, offset, &record)?;
                        }
                    }
                    Found::Damage(_) if matches!(policy, Policy::Readable) => {}
                    Found::Damage(_) => {
                        segment.flawed.store(true, Ordering::Relaxed);
                        return Ok(None);
                    }
                }
            }
        }
        self.finish(inner).map(Some)
    }

    fn at(&self) -> u64 {
        self.flushed + self.buffer.len() as u64
    }

    fn push(&mut self, inner: &Inner, from: &Segment, offset: u64, record: &Record) -> Result<()> {
        let at = self.at();
        let header = Header {
            synced: START,
            continues: false,
            ..record.header
        };
        let start = self.buffer.len();
        self.buffer.extend_from_slice(record.frame());
        header.encode(&mut self.buffer[start..], self.salt, at);
        order::note(&mut self.order, record.key(), &header, at);
        if header.kind == Kind::Put {
            self.moves.push(Move {
                hash: header.hash,
                old: Place::new(from.id, offset, header.total()),
                new: Place::new(self.origin.id, at, header.total()),
                bytes: header.bytes(),
            });
        }
        self.records += 1;
        let whole = self.at() / BLOCK * BLOCK;
        match whole > self.flushed {
            true => self.flush(inner, whole),
            false => Ok(()),
        }
    }

    /// Writes what lies before `end`.
    fn flush(&mut self, inner: &Inner, end: u64) -> Result<()> {
        let bytes = (end - self.flushed) as usize;
        write_all(&*self.file, &self.buffer[..bytes], self.flushed)
            .map_err(|e| Error::io("write to", self.name.as_str(), e))?;
        add(&inner.counters.written, bytes as u64);
        self.flushed = end;
        self.buffer.drain(..bytes);
        Ok(())
    }

    fn finish(mut self, inner: &Inner) -> Result<Output> {
        let footer_at = self.at();
        let payload = footer::encode(&self.order);
        let start = self.buffer.len();
        let mut header = push_footer(&mut self.buffer, inner.store_id, &payload)?;
        header.seq = self.last_seq + 1;
        header.synced = START;
        header.encode(&mut self.buffer[start..], self.salt, footer_at);
        self.flush(inner, self.at())?;
        if self.records > 0 {
            let make_durable = || -> io::Result<()> {
                self.file.sync()?;
                inner.storage.sync_dir()
            };
            make_durable().map_err(|e| {
                let full = is_full(&e);
                let error = Error::io("sync", self.name.as_str(), e);
                if full { error } else { inner.poison(error) }
            })?;
        }
        let map = inner.map(&*self.file, self.flushed)?;
        let origin = Origin {
            tail: self.flushed,
            footer_at,
            ..self.origin
        };
        let segment = Segment::new(self.file, origin, map);
        Ok(Output {
            segment,
            moves: self.moves,
            records: self.records,
        })
    }
}

fn keeps(
    inner: &Inner,
    segment: &Segment,
    offset: u64,
    header: &Header,
    policy: Policy,
) -> Result<bool> {
    match (policy, header.kind) {
        (_, Kind::Footer) => Ok(false),
        (Policy::Readable, _) => Ok(true),
        (Policy::Live { keep_tombstones }, Kind::Delete) => Ok(keep_tombstones),
        (Policy::Live { .. }, Kind::Put) => {
            let place = Place::new(segment.id, offset, header.total());
            inner.view.load().index.points_at(header.hash, place)
        }
    }
}
