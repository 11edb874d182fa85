//! The end of one segment and the beginning of the next.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::{Error, Result, is_full};
use crate::footer::{self, Order};
use crate::journal::describe;
use crate::manifest::{Manifest, Member};
use crate::order;
use crate::place::Place;
use crate::queue::lock;
use crate::record::push_footer;
use crate::segment::{LiveBytes, Origin, START, Segment, encode_header, file_name};
use crate::stats::add;
use crate::storage::{Access, write_all};
use crate::store::Inner;
use crate::view::View;
use crate::writer::Writer;

/// Segments after which they get twice as large: each is an open file.
const STEP: usize = 64;
/// What an offset in the index can tell is twice this.
const MAX_SIZE: u64 = 16 << 30;

impl Writer {
    /// Seals the active segment, if there is one, and begins the next.
    pub(crate) fn rotate(&mut self, inner: &Inner) -> Result<Arc<Segment>> {
        let active = inner.view.load().active().cloned();
        let rotated = self.try_rotate(inner);
        if let (Err(e), Some(active)) = (&rotated, &active)
            && e.is_full()
            && inner.poison.get().is_none()
        {
            // The footer gives way to records again.
            self.take_back(inner, active, active.tail())?;
        }
        rotated
    }

    fn try_rotate(&mut self, inner: &Inner) -> Result<Arc<Segment>> {
        let view = inner.view.load_full();
        let mut members = view.members.clone();
        let mut manifest = self.manifest.clone();
        let mut saved = None;
        if let Some(active) = view.active() {
            let sealed = self.seal(inner, active)?;
            if let Some(member) = manifest.members.last_mut() {
                member.sealed = true;
                member.len = sealed.tail();
                member.footer_at = sealed.footer_at;
            }
            members.pop();
            members.push(Arc::new(sealed));
            // The manifest says that the index's files know all of it.
            saved = Some(self.save_index(inner, &view.index, &mut manifest)?);
            describe(&mut manifest, &members);
        }
        let created = self.create_segment(inner, &mut manifest);
        let next = created.and_then(|next| self.publish(inner, manifest).map(|()| Arc::new(next)));
        if let Some(saved) = saved {
            let published = next.as_ref().map(drop).map_err(Clone::clone);
            self.conclude(inner, saved, published)?;
        }
        let next = next?;
        members.push(Arc::clone(&next));
        {
            let mut order = lock(&inner.order);
            inner
                .view
                .store(Arc::new(View::new(Arc::clone(&view.index), members)));
            *order = Some(Order::new());
        }
        self.synced = START;
        self.reserved = START;
        inner.counters.reserved.store(START, Ordering::Relaxed);
        Ok(next)
    }

    /// Writes the footer. A segment in which something is damaged goes without: what its index
    /// entries say cannot be told from its keys any more, so that it must be walked.
    fn seal(&mut self, inner: &Inner, active: &Arc<Segment>) -> Result<Segment> {
        let tail = active.tail();
        let payload = {
            let mut order = lock(&inner.order);
            let order = match order.take() {
                Some(known) => order.insert(known),
                None => order.insert(order::build(active)?.0),
            };
            footer::encode(order)
        };
        let mut frame = Vec::new();
        let flawed = active.flawed.load(Ordering::Relaxed);
        if !flawed {
            frame = self.footer_frame(inner, active, &payload)?;
        }
        if let Err(e) = write_all(&*active.file, &frame, tail) {
            return Err(self.failed(inner, active, tail, e));
        }
        add(&inner.counters.written, frame.len() as u64);
        let end = tail + frame.len() as u64;
        let cut = active.file.set_len(end);
        cut.map_err(|e| inner.poison(Error::io("seal", active.name.as_str(), e)))?;
        inner.sync_segment("seal", active)?;
        self.reserved = end;
        let map = inner.map(&*active.file, end)?;
        Ok(active.seal(if flawed { 0 } else { tail }, end, map))
    }

    fn footer_frame(&mut self, inner: &Inner, active: &Segment, payload: &[u8]) -> Result<Vec<u8>> {
        let mut frame = Vec::new();
        let mut header = push_footer(&mut frame, inner.store_id, payload)?;
        header.seq = self.next_seq;
        header.synced = self.synced;
        self.next_seq += 1;
        header.encode(&mut frame, active.salt, active.tail());
        Ok(frame)
    }

    /// A new, empty, durable segment that `manifest` lists.
    pub(crate) fn create_segment(
        &mut self,
        inner: &Inner,
        manifest: &mut Manifest,
    ) -> Result<Segment> {
        let id = manifest.next_segment;
        check_number(id)?;
        let name = file_name(id);
        let header = encode_header(inner.store_id, id, self.next_seq);
        let create = || {
            let file = inner.storage.open(&name, Access::Create)?;
            write_all(&*file, &header, 0)?;
            file.sync()?;
            // The name must be durable before the manifest mentions it.
            inner.storage.sync_dir()?;
            Ok(file)
        };
        let file = create().map_err(|e: io::Error| {
            let full = is_full(&e);
            let error = Error::io("create", name.as_str(), e);
            let _ = inner.storage.remove(&name);
            if full { error } else { inner.poison(error) }
        })?;
        add(&inner.counters.written, START);
        manifest.next_segment += 1;
        manifest.members.push(Member {
            id,
            sealed: false,
            len: START,
            footer_at: 0,
            base_seq: self.next_seq,
            live: LiveBytes::default(),
        });
        let origin = Origin {
            store_id: inner.store_id,
            id,
            base_seq: self.next_seq,
            tail: START,
            sealed: false,
            footer_at: 0,
            live: LiveBytes::default(),
        };
        Ok(Segment::new(file, origin, None))
    }
}

impl Inner {
    /// Bytes after which a segment is sealed: twice as many for each [`STEP`] segments.
    pub(crate) fn segment_size(&self) -> u64 {
        let doublings = (self.view.load().members.len() / STEP).min(32);
        self.options
            .segment_size
            .saturating_mul(1 << doublings)
            .min(MAX_SIZE)
    }
}

/// An index entry has no room for more.
pub(crate) fn check_number(segment: u32) -> Result<()> {
    match segment > Place::MAX_SEGMENT {
        true => Err(Error::TooLarge {
            what: "segment number",
            len: u64::from(segment),
            limit: u64::from(Place::MAX_SEGMENT),
        }),
        false => Ok(()),
    }
}
