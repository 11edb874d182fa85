//! A session of which a part cannot be read: its context made again from the messages.

use bytes::Bytes;
use mainspring_compressor::{Blob, Context, Error as ContextError, Format, read_sessions};
use mainspring_mmap_store::Error as StoreError;

use super::{
    STUB, Saved, Session, active::Active, branch::Branch, log::damaged, record::Record, tokenizer,
    window,
};
use crate::{Error, Event, Runtime};

/// Where a saved context says its version.
const VERSION_AT: usize = 8;
/// Bytes of the first messages from which the format of an early build's session is told.
const MOST_HEAD: usize = 1 << 20;

/// What was lost to damage when a session was resumed. Everything else is there; see
/// [`Session::mended`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Mended {
    /// Why the saved context could not be read, with the place: it was made again from all messages, as
    /// they would be compacted today, and what was noted as sent is forgotten. `None` when it was read.
    pub context: Option<String>,
    /// Messages that could not be read and that the context is without, where it was made from them.
    pub messages: u64,
    /// The first of those, and why it could not be read.
    pub first: Option<(u64, String)>,
    /// The last of those: what is read again is not counted again.
    last: Option<u64>,
}

impl Mended {
    /// Notes a message that cannot be read; they come in order, from any of them on.
    fn note(&mut self, number: u64, why: impl FnOnce() -> String) {
        if self.last.is_some_and(|last| number <= last) {
            return;
        }
        self.messages += 1;
        self.first.get_or_insert_with(|| (number, why()));
        self.last = Some(number);
    }
}

impl Session {
    /// What was lost to damage when this handle was resumed, or when a refused message made it read its
    /// context again; `None` when nothing was. [`Event::SessionMended`] tells it too. A call without
    /// result, where a message is missing, is what
    /// [`Transcript::mend`](mainspring_compressor::Transcript::mend) answers for.
    #[must_use]
    pub fn mended(&self) -> Option<&Mended> {
        self.mended.as_ref()
    }

    /// Makes the context from the messages alone. One pass over all of them.
    pub(super) fn rebuild(&mut self, cause: String) -> Result<(), Error> {
        // All are read, those too that were noted before.
        self.mended = Some(Mended {
            context: Some(cause),
            ..Mended::default()
        });
        self.unlogged.clear();
        for number in 0..self.messages {
            self.put_back(number)?;
        }
        // The next write saves it; nothing is worth keeping of what is there.
        self.saved.behind = u64::MAX / 2;
        if !self.runtime().inner.config.read_only {
            self.save_rebuilt();
        }
        Ok(())
    }

    fn put_back(&mut self, number: u64) -> Result<(), Error> {
        let Some(raw) = self.readable(number)? else {
            self.context.push(STUB)?;
            return Ok(());
        };
        let mut moved = Vec::new();
        let mut compacted = false;
        match self.compactor.append(&mut self.context, raw.clone()) {
            Ok(appended) => {
                moved.extend(appended.blobs);
                compacted = appended.compaction.is_some();
                moved.extend(appended.compaction.into_iter().flat_map(|done| done.blobs));
            }
            // It was taken when it came.
            Err(_) => drop(self.context.push(raw)?),
        }
        self.active.note(&self.context, self.bounds());
        if !compacted && self.active.is_due() {
            let trimmed = self.trim();
            compacted = trimmed.is_some();
            moved.extend(trimmed.into_iter().flat_map(|done| done.blobs));
        }
        if compacted {
            self.active = Active::of(&self.context);
        }
        for blob in moved {
            self.move_out(blob)?;
        }
        Ok(())
    }

    /// Keeps an output that left the context, unless the log has it.
    fn move_out(&mut self, blob: Blob) -> Result<(), Error> {
        let same = match self.blob(&blob.id) {
            Err(error) if is_damage(&error) => false,
            found => found?.is_some_and(|found| found == blob.bytes),
        };
        if !same {
            self.unlogged.retain(|other| other.id != blob.id);
            self.unlogged.push(blob);
        }
        Ok(())
    }

    fn save_rebuilt(&mut self) {
        let context = self.context.save();
        let log = &self.runtime().inner.log;
        let saved = log.save(self.number, 0, self.messages, &context, &self.unlogged);
        // A full disk is no reason to refuse the session.
        if saved.is_ok() {
            self.saved = Saved::new(self.messages, context.len(), true);
            self.unlogged.clear();
        }
    }

    /// A message that a model sees; nothing for another, or one that is damaged, which is noted.
    /// Counts what resuming reads for it.
    pub(super) fn readable(&mut self, number: u64) -> Result<Option<Bytes>, Error> {
        match self.read(number) {
            // One that is not there at all is no damage to a record: nobody knows how many are missing.
            Err(error) if is_damage(&error) && self.is_held(number)? => {
                let mended = self.mended.get_or_insert_default();
                mended.note(number, || error.to_string());
                Ok(None)
            }
            read => {
                let (raw, length) = read?;
                self.saved.behind += length;
                Ok(raw)
            }
        }
    }

    fn is_held(&self, number: u64) -> Result<bool, Error> {
        let holder = self.branch.holder(self.number, number);
        self.runtime().inner.log.holds(holder, number)
    }

    /// A message if a model sees it, and the bytes that resuming reads for it.
    fn read(&self, number: u64) -> Result<(Option<Bytes>, u64), Error> {
        let stored = self.stored(number)?;
        let record = self.decoded(&stored, number)?;
        if let Record::Outside(_) | Record::Noise(..) = record {
            return Ok((None, record.read_by_resuming(stored.len() as u64)));
        }
        let raw = self.message(number)?;
        let length = record.read_by_resuming(raw.len() as u64);
        Ok((Some(raw), length))
    }

    pub(super) fn tell_mended(&self) {
        if let Some(mended) = &self.mended {
            self.bus().tell(|| Event::SessionMended {
                session: self.label.clone(),
                context: mended.context.is_some(),
                messages: mended.messages,
            });
        }
    }
}

/// Whether what cannot be read is damaged: not refused by the system, and not of a newer program.
pub(super) fn is_damage(error: &Error) -> bool {
    match error {
        Error::Context(ContextError::Malformed { offset, .. }) => *offset != VERSION_AT,
        Error::Damaged { .. } | Error::Store(StoreError::Damaged { .. }) => true,
        _ => false,
    }
}

/// The context that a session began with, from which it can be made again.
pub(super) fn begun(
    runtime: &Runtime,
    name: &str,
    number: u32,
    branch: &Branch,
) -> Result<Context, Error> {
    let ancestors = branch.ancestors.iter().map(|&(session, _)| session);
    let shared = branch.context.map(|(session, _)| session);
    let holders = [number].into_iter().chain(shared).chain(ancestors);
    for holder in holders.clone() {
        if let Ok(Some(empty)) = runtime.inner.log.empty(holder) {
            return Ok(Context::resume(empty, tokenizer(runtime))?);
        }
    }
    let format = holders.clone().find_map(|holder| format(runtime, holder));
    let what = "its saved context is damaged, and its messages are of no format known here";
    let format = format.ok_or_else(|| damaged(name, 0, what))?;
    Ok(Context::new(format, window(runtime), tokenizer(runtime)))
}

/// What the first messages of a session look like.
fn format(runtime: &Runtime, session: u32) -> Option<Format> {
    let (mut messages, mut number, mut bytes) = (Vec::new(), 0, 0);
    while bytes < MOST_HEAD
        && let Ok(Some(stored)) = runtime.inner.log.stored(session, number)
    {
        if let Some(Record::Plain(raw) | Record::Outside(raw)) = Record::decode(&stored) {
            bytes += raw.len();
            messages.push(stored.slice_ref(raw.trim_ascii()));
        }
        number += 1;
    }
    // A list first: lines of one may pass for a simpler format.
    let list = [&b"["[..], &messages.join(&b','), b"]"].concat();
    let import = read_sessions(list).or_else(|_| read_sessions(messages.join(&b'\n')));
    import
        .ok()?
        .sessions()
        .first()
        .map(|session| session.format())
}
