//! The checkpoints of a session, and the records that no model sees.

use bytes::Bytes;
use mainspring_delta_snapshot::{
    CommitOptions, Error as SnapshotError, Thread, Version, VersionId,
};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::{
    Divergence, Session,
    log::damaged,
    mark::{self, Mark},
};
use crate::{Error, Event};

/// Retention leaves versions with a label alone.
const KEPT: &str = "kept with the session";
/// Bytes of records after which the next ones go to a thread of their own, so that reading one of them
/// reads no more than that.
const MOST_RECORDS: u64 = 64 << 20;
/// Numbers in the names of those threads; what comes after the last one shares the first one's.
const RECORDS: u64 = 1 << 24;

/// Where the records go that no model sees.
#[derive(Debug)]
pub(super) struct Records {
    thread: Thread,
    bytes: u64,
}

impl Session {
    /// Makes a version of `{"header":HEADER,"messages":[…]}`; `header` is any JSON value.
    ///
    /// Cost: the header and the messages appended since the last checkpoint. When the newest version is
    /// another one than was made here last (after a `checkout`, or a power cut), it is read, and what
    /// it has that the log has not is left out.
    ///
    /// # Errors
    /// [`Error::Snapshot`] when the header is no JSON value or the store refused, [`Error::Store`].
    pub fn checkpoint(&mut self, header: &str) -> Result<VersionId, Error> {
        self.usable()?;
        let runtime = self.runtime().clone();
        let _timing = runtime.inner.timers.checkpoint.start();
        let committed = self.commit(header);
        match committed {
            Ok(version) => {
                self.bus().tell(|| Event::SessionCheckpointed {
                    session: self.label.clone(),
                    version,
                });
            }
            // What did not get into a version must not get into the next one twice.
            Err(_) => self.checkpoints()?.rollback(),
        }
        committed
    }

    fn commit(&mut self, header: &str) -> Result<VersionId, Error> {
        let thread = self.checkpoints()?.clone();
        let head = thread.head();
        let (there, agreed) = match head {
            None => (0, 0),
            Some(head) => match self.marked(&thread, head) {
                Some(mark) => (mark.messages, mark.messages),
                None => self.compared(head)?,
            },
        };
        let (fresh, check) = self.fresh(agreed, header)?;
        if thread.is_changed() {
            thread.rollback();
        }
        match head {
            None => thread.set("", format!("{{\"header\":{header},\"messages\":[]}}"))?,
            Some(_) => thread.set("/header", header)?,
        }
        if there > agreed {
            let lost = agreed as usize..there as usize;
            thread.splice::<&[u8]>("/messages", lost, &[])?;
        }
        thread.append("/messages", &fresh)?;
        let version = thread.commit(CommitOptions::new().checkpoint(&mark::id(check)))?;
        (self.marked, self.divergence) = (true, None);
        self.recent.clear();
        self.set_mark(Mark {
            version,
            messages: self.messages,
            check,
            stored: 0,
        })?;
        Ok(version)
    }

    /// The messages from `agreed` on, and what distinguishes a checkpoint that adds them from every
    /// other one that may ever have its name.
    fn fresh(&self, agreed: u64, header: &str) -> Result<(Vec<Bytes>, u64), Error> {
        let count = (self.messages - agreed) as usize;
        let mut fresh = Vec::with_capacity(count);
        let mut told = Vec::with_capacity(16 + header.len() + 16 * count);
        told.extend_from_slice(&self.mark.map_or(0, |mark| mark.check).to_le_bytes());
        told.extend_from_slice(&self.messages.to_le_bytes());
        told.extend_from_slice(header.as_bytes());
        for number in agreed..self.messages {
            let (message, hash) = match self.recent.get(self.messages - 1 - number) {
                Some((message, hash)) => (message.clone(), *hash),
                None => (self.message(number)?, None),
            };
            let hash = hash.unwrap_or_else(|| xxh3_128(&message));
            told.extend_from_slice(&hash.to_le_bytes());
            fresh.push(message);
        }
        Ok((fresh, xxh3_64(&told)))
    }

    /// Tells the log of a checkpoint.
    fn set_mark(&mut self, mark: Mark) -> Result<(), Error> {
        let stored = self.stored_versions();
        let mark = Mark { stored, ..mark };
        self.mark = Some(mark);
        self.runtime().inner.log.set_mark(self.number, mark)
    }

    /// Bytes of the session's own versions. Reads nothing.
    fn stored_versions(&self) -> u64 {
        self.runtime().inner.backing.bytes_below(&self.versions)
    }

    /// Whether a version is one of the session's own thread.
    fn is_own(&self, version: VersionId) -> bool {
        version.to_string().starts_with(&versions_of(self.name()))
    }

    /// What the log says of the newest version, if it speaks of that one.
    fn marked(&mut self, thread: &Thread, head: VersionId) -> Option<Mark> {
        // One of messages that the log has no more says nothing.
        let told = |mark: &Mark| mark.version == head && mark.messages <= self.messages;
        let mark = self.mark.filter(told)?;
        if !self.marked {
            let own = self.is_own(head);
            let found = match own {
                true => thread.version(&mark::id(mark.check)).ok(),
                false => self.elsewhere(mark),
            };
            self.marked = found.is_some_and(|found| found.id == head);
        }
        self.marked.then_some(mark)
    }

    /// The version of a mark that a fork took over: its first checkpoint follows one of another thread,
    /// which may have given out the name again since.
    fn elsewhere(&self, mark: Mark) -> Option<Version> {
        let inner = &self.runtime().inner;
        let names = inner.log.names().ok()?;
        let version = mark.version.to_string();
        let made = |name: &String| version.starts_with(&versions_of(name));
        let thread = inner
            .snapshots
            .thread(names.iter().find(|name| made(name))?);
        thread.ok()?.version(&mark::id(mark.check)).ok()
    }

    /// Finds out whether the newest checkpoint and the log have come apart: nothing is read unless
    /// the versions are others than when the log was told of the last one.
    pub(super) fn compare(&mut self) {
        let inner = &self.runtime().inner;
        if inner.config.read_only {
            // Log and versions of a writer that goes on meanwhile are not of one moment.
            return;
        }
        self.mark = inner.log.mark(self.number);
        let known = self.mark.map_or(0, |mark| mark.stored);
        let missing = self.mark.is_some_and(|mark| mark.messages > self.messages);
        if let Some(mark) = self.mark.as_mut().filter(|_| missing) {
            // However many there will be, they are not those.
            mark.messages = u64::MAX;
        }
        let others = || self.stored_versions() != known;
        // What cannot be compared now is compared when the next checkpoint is made.
        if (missing || others()) && self.apart().is_ok() {
            let (session, divergence) = (self.label.clone(), self.divergence);
            if let Some(divergence) = divergence {
                self.bus().tell(|| Event::SessionDiverged {
                    session,
                    divergence,
                });
            }
        }
    }

    fn apart(&mut self) -> Result<(), Error> {
        let thread = self.checkpoints()?.clone();
        let gone = |mark: &Mark| {
            let there = thread.version(&mark.version.to_string());
            self.is_own(mark.version) && !there.is_ok_and(|there| check_of(&there) == mark.check)
        };
        let lost = self.mark.filter(gone).map(|mark| Divergence::Lost {
            version: mark.version,
        });
        let Some(head) = thread.head() else {
            self.divergence = lost;
            return Ok(());
        };
        if let Some(mark) = self.marked(&thread, head) {
            return self.set_mark(mark);
        }
        let (messages, agreed) = self.compared(head)?;
        if agreed < messages {
            self.divergence = Some(Divergence::Ahead {
                version: head,
                messages,
                agreed,
            });
            return Ok(());
        }
        self.divergence = lost;
        if lost.is_some() {
            return Ok(());
        }
        // The process ended before the log was told.
        let version = thread.version(&head.to_string())?;
        self.set_mark(Mark {
            version: head,
            messages,
            check: check_of(&version),
            stored: 0,
        })
    }

    /// Whether a power cut has taken from the log, or from the checkpoints, what the other still has.
    /// Found out when the session is resumed or begun, and told as [`Event::SessionDiverged`] then; it holds
    /// until the next checkpoint, which is of the log as it is.
    #[must_use]
    pub fn divergence(&self) -> Option<Divergence> {
        self.divergence
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
    pub(super) fn keep(&mut self, raw: &[u8]) -> Result<VersionId, Error> {
        let full = |records: &Records| records.bytes > MOST_RECORDS;
        if self.records.as_ref().is_none_or(full) {
            // Another one for each handle: nobody reads what came before to add to it.
            let name = format!("r{:x}", self.messages % RECORDS);
            let thread = self
                .runtime()
                .inner
                .snapshots
                .thread_in(self.name(), &name)?;
            self.records = Some(Records { thread, bytes: 0 });
        }
        let missing = || damaged(self.claim.name(), self.messages, "no thread for records");
        let records = self.records.as_mut().ok_or_else(missing)?;
        records.bytes += raw.len() as u64;
        let options = CommitOptions::new().label(KEPT);
        Ok(records.thread.commit_full(raw, options)?)
    }

    /// How many messages a checkpoint has, and how many of the first ones are the log's.
    fn compared(&self, version: VersionId) -> Result<(u64, u64), Error> {
        #[derive(serde::Deserialize)]
        struct State<'a> {
            #[serde(borrow)]
            messages: Vec<&'a serde_json::value::RawValue>,
        }
        let state = self.runtime().inner.snapshots.restore(version)?;
        let read: Result<State<'_>, _> = serde_json::from_slice(&state);
        let state = read.map_err(|_| damaged(self.name(), 0, "its checkpoint is no session's"))?;
        let same = |number: u64, raw: &str| {
            // A message that cannot be read is none that differs.
            let message = self.message(number);
            number < self.messages
                && message.map_or(true, |message| message.trim_ascii() == raw.as_bytes())
        };
        let pairs = (0..).zip(&state.messages);
        let agreed = pairs.take_while(|(number, raw)| same(*number, raw.get()));
        let agreed = agreed.count() as u64;
        Ok((state.messages.len() as u64, agreed))
    }
}

/// How the names begin under which a session's own versions are stored.
pub(super) fn stored_below(name: &str) -> String {
    format!("s/{}/", versions_of(name))
}

/// How the names of a session's versions begin.
fn versions_of(name: &str) -> String {
    format!("{:016x}", xxh3_64(name.as_bytes()))
}

/// The check that a version carries; 0 for one that a session did not make, or an early build.
fn check_of(version: &Version) -> u64 {
    let id = version.checkpoint.as_deref().unwrap_or_default();
    u64::from_str_radix(id, 16).unwrap_or_default()
}
