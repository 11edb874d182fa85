//! The checkpoints of a session, and the records that no model sees.

use std::time::Instant;

use bytes::Bytes;
use mainspring_delta_snapshot::{CommitOptions, Error as SnapshotError, Thread, VersionId};

use super::{Session, log::damaged};
use crate::{Error, Event};

/// The namespace of the versions that hold records which no model sees.
const RECORDS: &str = "records";
/// Retention leaves versions with a label alone.
const KEPT: &str = "kept with the session";

impl Session {
    /// Makes a version of `{"header":HEADER,"messages":[…]}`; `header` is any JSON value.
    ///
    /// Cost: the header and the messages appended since the last checkpoint; with the first one of a
    /// handle, reading the checkpoint before.
    ///
    /// # Errors
    /// [`Error::Snapshot`] when the header is no JSON value or the store refused, [`Error::Store`].
    pub fn checkpoint(&mut self, header: &str) -> Result<VersionId, Error> {
        self.usable()?;
        let started = Instant::now();
        let committed = self.commit(header);
        match committed {
            Ok(version) => {
                self.checkpointed = Some((version, self.messages));
                self.bus().tell(|| Event::SessionCheckpointed {
                    session: self.label.clone(),
                    version,
                });
            }
            // What did not get into a version must not get into the next one twice.
            Err(_) => self.checkpoints()?.rollback(),
        }
        self.runtime()
            .inner
            .timers
            .checkpoint
            .record(started.elapsed());
        committed
    }

    fn commit(&self, header: &str) -> Result<VersionId, Error> {
        let thread = self.checkpoints()?;
        let done = match (self.checkpointed, thread.head()) {
            (_, None) => 0,
            (Some((version, done)), Some(head)) if version == head => done,
            (_, Some(head)) => self.messages_in(head)?,
        };
        let fresh: Vec<Bytes> = (done..self.messages)
            .map(|number| self.message(number))
            .collect::<Result<_, _>>()?;
        if thread.is_changed() {
            thread.rollback();
        }
        if thread.head().is_none() {
            thread.set("", format!("{{\"header\":{header},\"messages\":[]}}"))?;
        } else {
            thread.set("/header", header)?;
        }
        thread.append("/messages", &fresh)?;
        Ok(thread.commit(CommitOptions::new())?)
    }

    /// The bytes of a checkpoint, exactly as they were; of this session or of any other.
    ///
    /// # Errors
    /// [`Error::Snapshot`].
    pub fn restore(&self, version: VersionId) -> Result<Bytes, Error> {
        let inner = &self.runtime().inner;
        Ok(inner
            .timers
            .restore
            .time(|| inner.snapshots.restore(version))?)
    }

    /// The checkpoints of the session, for listing, labels, differences and going back: after a
    /// `checkout` the next checkpoint follows the older one. Changes of the state that were not
    /// committed are dropped by [`checkpoint`](Self::checkpoint).
    ///
    /// They are opened when they are first needed.
    ///
    /// # Errors
    /// [`Error::Snapshot`].
    pub fn checkpoints(&self) -> Result<&Thread, Error> {
        if let Some(thread) = self.thread.get() {
            return Ok(thread);
        }
        let snapshots = &self.runtime().inner.snapshots;
        let mut thread = snapshots.thread(self.name())?;
        if let (None, Some(head)) = (thread.head(), self.branch.head) {
            thread = match snapshots.fork(head, self.name()) {
                // What the fork was made from is gone; it begins anew.
                Err(SnapshotError::NotFound { .. }) => thread,
                forked => forked?,
            };
        }
        Ok(self.thread.get_or_init(|| thread))
    }

    /// Keeps a record that no model sees as a version: what it repeats of the one before costs
    /// nothing.
    pub(super) fn keep(&self, raw: &[u8]) -> Result<VersionId, Error> {
        let thread = match self.records.get() {
            Some(thread) => thread,
            None => {
                let snapshots = &self.runtime().inner.snapshots;
                let thread = snapshots.thread_in(self.name(), RECORDS)?;
                self.records.get_or_init(|| thread)
            }
        };
        Ok(thread.commit_full(raw, CommitOptions::new().label(KEPT))?)
    }

    /// How many messages a checkpoint has.
    fn messages_in(&self, version: VersionId) -> Result<u64, Error> {
        #[derive(serde::Deserialize)]
        struct State<'a> {
            #[serde(borrow)]
            messages: Vec<&'a serde_json::value::RawValue>,
        }
        let state = self.runtime().inner.snapshots.restore(version)?;
        let read: Result<State<'_>, _> = serde_json::from_slice(&state);
        let state = read.map_err(|_| damaged(self.name(), 0, "its checkpoint is no session's"))?;
        Ok(state.messages.len() as u64)
    }
}
