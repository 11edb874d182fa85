//! How a session grows: a message into context and log, or nothing of it.

use bytes::Bytes;
use mainspring_compressor::{Appended, Blob, Error as ContextError, Pushed};
use xxhash_rust::xxh3::xxh3_128;

use super::{
    LEAST_SAVED, STUB, Saved, Session, active::Active, log::Beside, record::Record, usage::Counts,
};
use crate::{Error, Event};

/// Shorter messages are not looked for among earlier ones, nor kept as versions.
const LEAST_REPEATED: usize = 256;
const LEAST_KEPT: usize = 4_096;
/// Messages that are remembered for that, at 32 bytes each.
const REMEMBERED: usize = 4_096;
/// The least that is appended before the context is saved although nothing was compacted.
const LEAST_UNSAVED: u64 = 1 << 20;

impl Session {
    /// Appends a message: one JSON value in the session's format, kept byte for byte.
    ///
    /// When it would take the context past its trigger, the context is compacted first. Message,
    /// compacted context and the outputs that were moved out of it are logged together or not at
    /// all. Cost: the message; a compaction now and then.
    ///
    /// # Errors
    /// [`Error::Context`] when it is no JSON value or cannot be made to fit the window: nothing was
    /// appended. [`Error::Store`] when the log refused: this handle is then done for, resume the
    /// session.
    pub fn append(&mut self, raw: impl Into<Bytes>) -> Result<Appended, Error> {
        self.append_after(None, raw.into())
    }

    /// As [`append`](Self::append), with what stands before the message in an imported log.
    pub(crate) fn append_after(
        &mut self,
        frame: Option<&[u8]>,
        raw: Bytes,
    ) -> Result<Appended, Error> {
        self.usable()?;
        let runtime = self.runtime().clone();
        let timers = &runtime.inner.timers;
        let compacting = timers.compact.start();
        let mut appended = match self.compactor.append(&mut self.context, raw.clone()) {
            Err(error) => {
                compacting.discard();
                return Err(self.refused(error));
            }
            Ok(appended) => appended,
        };
        if appended.pushed.index.is_some() {
            self.active.note(&self.context, self.bounds());
        }
        if appended.compaction.is_none() && self.active.is_due() {
            appended.compaction = self.trim();
        }
        if let Some(compaction) = &appended.compaction {
            self.active = Active::of(&self.context);
            drop(compacting);
            self.bus().tell(|| Event::SessionCompacted {
                session: self.label.clone(),
                before: compaction.before,
                after: compaction.after,
            });
        } else {
            compacting.discard();
        }
        let logging = timers.append.start();
        match self.log(frame, &raw, &appended) {
            Ok(()) => drop(logging),
            Err(error) => {
                logging.discard();
                return Err(error);
            }
        }
        Ok(appended)
    }

    /// What was tried to make room for a message is not logged, so it must leave no trace here.
    fn refused(&mut self, error: ContextError) -> Error {
        match error {
            ContextError::Malformed { .. } | ContextError::Limit { .. } => error.into(),
            _ => {
                self.refusals = true;
                self.reload().err().unwrap_or(error.into())
            }
        }
    }

    /// Logs a record that is too large for the window, or of no kind known here, outside the context.
    pub(crate) fn append_outside(
        &mut self,
        frame: Option<&[u8]>,
        raw: Bytes,
    ) -> Result<Appended, Error> {
        self.usable()?;
        let pushed = self.context.push(STUB)?;
        let appended = Appended {
            pushed: Pushed {
                index: None,
                ..pushed
            },
            compaction: None,
            blobs: Vec::new(),
        };
        self.log(frame, &raw, &appended)?;
        Ok(appended)
    }

    /// Compacts a context that is larger than what stays active; one that cannot be stays as it is.
    pub(super) fn trim(&mut self) -> Option<mainspring_compressor::Compaction> {
        let plan = self.compactor.plan(&self.context).ok()?;
        self.compactor.commit(&mut self.context, plan).ok()
    }

    /// Writes the message that the context has taken in, with what belongs to it.
    fn log(&mut self, frame: Option<&[u8]>, raw: &Bytes, appended: &Appended) -> Result<(), Error> {
        // Until it is written, context and log do not agree.
        self.failed = true;
        let hash = (raw.len() >= LEAST_REPEATED).then(|| xxh3_128(raw));
        let record = self.record(raw, hash, appended.pushed.index.is_none())?;
        let compacted = appended.compaction.as_ref();
        let moved: &[Blob] = compacted.map_or(&[], |compaction| &compaction.blobs);
        let behind = self.saved.behind + record.read_by_resuming(raw.len() as u64);
        // Each refusal reads again what was not saved.
        let most = match self.refusals {
            true => LEAST_SAVED,
            false => self.most_unsaved(),
        };
        let due = compacted.is_some() || behind > most || !self.unlogged.is_empty();
        let context = due.then(|| (self.context.save(), self.saved.covers));
        let size = context.as_ref().map(|(context, _)| context.len());
        let beside = Beside {
            blobs: appended
                .blobs
                .iter()
                .chain(moved)
                .chain(&self.unlogged)
                .map(|blob| (&*blob.id, &blob.bytes))
                .collect(),
            context,
            frame,
        };
        let log = &self.claim.runtime().inner.log;
        log.append(self.number, self.messages, record, beside)?;
        self.failed = false;
        self.remember(raw, hash, record);
        self.recent.push(raw, hash);
        self.messages += 1;
        self.saved.behind = behind;
        if let Some(size) = size {
            self.saved = Saved::new(self.messages, size, true);
            self.unlogged.clear();
            (self.sent, self.refusals) = (false, false);
        }
        self.bus().tell(|| Event::SessionAppended {
            session: self.label.clone(),
            message: self.messages - 1,
        });
        Ok(())
    }

    /// How a message is kept.
    fn record<'a>(
        &mut self,
        raw: &'a Bytes,
        hash: Option<u128>,
        outside: bool,
    ) -> Result<Record<'a>, Error> {
        if !outside
            && let Some(&number) = hash.and_then(|hash| self.seen.get(&hash))
            // One that cannot be read any more is no reason to refuse this one.
            && self.message(number).is_ok_and(|earlier| earlier == *raw)
        {
            return Ok(Record::Same(number));
        }
        Ok(match outside {
            false => Record::Plain(raw),
            true if raw.len() < LEAST_KEPT => Record::Outside(raw),
            true => Record::Noise(self.keep(raw)?, Some(xxh3_128(raw))),
        })
    }

    fn remember(&mut self, raw: &Bytes, hash: Option<u128>, record: Record<'_>) {
        let length = raw.len() as u64;
        Counts::add(&self.counts.appended, length);
        match record {
            Record::Same(_) => Counts::add(&self.counts.repeated, length),
            Record::Plain(_) => {
                if self.seen.len() >= REMEMBERED {
                    self.seen.clear();
                }
                self.seen.extend(hash.map(|hash| (hash, self.messages)));
            }
            Record::Outside(_) | Record::Noise(..) => {}
        }
    }

    /// Bytes after which the context is saved although nothing was compacted.
    fn most_unsaved(&self) -> u64 {
        let most = match self.runtime().inner.config.active_bytes {
            0 => u64::MAX,
            bytes => bytes,
        };
        (2 * self.saved.bytes).max(LEAST_UNSAVED).min(most)
    }
}
