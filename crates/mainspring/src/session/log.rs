//! How sessions lie in a session store.

use bytes::Bytes;
use mainspring_compressor::Blob;
use mainspring_delta_snapshot::VersionId;
use mainspring_mmap_store::{Batch, Error as StoreError, Store};

use super::{branch::Branch, mark::Mark, record::Record};
use crate::Error;

/// `v`: the layout's version.
const VERSION_KEY: &[u8] = b"v";
const VERSION: &[u8] = b"mainspring sessions 1";
/// `n`: the number of the next session.
const NEXT: &[u8] = b"n";
/// `s` and the session's name: its number.
const SESSION: u8 = b's';
/// `m`, the session's number, the message's number: the message as it came, or a [`Record`].
const MESSAGE: u8 = b'm';
/// `c` and the session's number: the number of messages it covers, and the saved context.
const CONTEXT: u8 = b'c';
/// `e` and the session's number: the empty context that it began with.
const EMPTY: u8 = b'e';
/// `o`, the session's number, what it covered: an older context that forks begin with.
const OLDER: u8 = b'o';
/// `p`, the session's number, what it covers: forks begin with the present context.
const PINNED: u8 = b'p';
/// `f` and the session's number: the [`Branch`] of a fork.
const FORK: u8 = b'f';
/// `b`, the session's number, the blob's id: a tool output that was moved out of the context.
const BLOB: u8 = b'b';
/// `x`, the session's number, the message's number: bytes of an imported log before that message.
const FRAME: u8 = b'x';
/// `l` and the session's number: how the document that this session came from is put together.
const LAYOUT: u8 = b'l';
/// `k` and the session's number: the [`Mark`] of its newest checkpoint.
const MARKED: u8 = b'k';

/// The records of all sessions in one store.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    store: Store,
}

/// What goes into the log with a message, all or nothing.
#[derive(Debug, Default)]
pub(crate) struct Beside<'a> {
    /// Outputs that left the context.
    pub(crate) blobs: Vec<(&'a str, &'a Bytes)>,
    /// The context after the message, and what the one saved before it covers.
    pub(crate) context: Option<(Vec<u8>, u64)>,
    /// What stands before it in an imported log, where that is not a line feed.
    pub(crate) frame: Option<&'a [u8]>,
}

impl Log {
    /// Takes over a store; writes the layout's version into an empty one.
    pub(crate) fn new(store: Store, read_only: bool) -> Result<Self, Error> {
        match store.get(VERSION_KEY)? {
            Some(version) if version == VERSION => {}
            None if !read_only => store.put(VERSION_KEY, VERSION)?,
            _ => {
                return Err(damaged(
                    "",
                    0,
                    "the store holds no sessions of a version known here",
                ));
            }
        }
        Ok(Self { store })
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// The names of all sessions, sorted, but for those whose entry is damaged.
    pub(crate) fn names(&self) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        for pair in self.store.scan_prefix(&[SESSION])? {
            match pair {
                Ok((key, _)) => names.push(String::from_utf8_lossy(&key[1..]).into_owned()),
                // Its own look-up says so; the others are there.
                Err(StoreError::Damaged { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(names)
    }

    /// The number of a session.
    pub(crate) fn find(&self, name: &str) -> Result<Option<u32>, Error> {
        let Some(value) = self.store.get(&session_key(name))? else {
            return Ok(None);
        };
        let number = value[..].try_into().map(u32::from_le_bytes);
        number
            .map(Some)
            .map_err(|_| damaged(name, 0, "its entry is not of four bytes"))
    }

    /// A new session under the next free number, with its empty context. Callers take turns.
    pub(crate) fn begin(&self, name: &str, context: &[u8]) -> Result<u32, Error> {
        self.add(name, |number, batch| {
            batch.put(
                &numbered(CONTEXT, number),
                &[&0u64.to_le_bytes(), context].concat(),
            );
            batch.put(&numbered(EMPTY, number), context);
        })
    }

    /// A new session that shares what `branch` says with others. Callers take turns.
    pub(crate) fn fork(
        &self,
        name: &str,
        branch: &Branch,
        mark: Option<Mark>,
        empty: &[u8],
    ) -> Result<u32, Error> {
        self.add(name, |number, batch| {
            batch.put(&numbered(EMPTY, number), empty);
            batch.put(&numbered(FORK, number), &branch.encode());
            if let Some(mark) = mark {
                batch.put(&numbered(MARKED, number), &mark.encode());
            }
            if let Some((session, covers)) = branch.context {
                batch.put(&covering(PINNED, session, covers), b"");
            }
        })
    }

    fn add(&self, name: &str, more: impl FnOnce(u32, &mut Batch)) -> Result<u32, Error> {
        let next = self.store.get(NEXT)?;
        let number = next
            .and_then(|bytes| bytes[..].try_into().ok())
            .map_or(0, u32::from_le_bytes);
        let mut batch = Batch::new();
        batch.put(NEXT, &number.saturating_add(1).to_le_bytes());
        batch.put(&session_key(name), &number.to_le_bytes());
        more(number, &mut batch);
        self.store.write(batch)?;
        Ok(number)
    }

    /// What a session shares with others.
    pub(crate) fn branch(&self, name: &str, session: u32) -> Result<Branch, Error> {
        let Some(value) = self.store.get(&numbered(FORK, session))? else {
            return Ok(Branch::default());
        };
        Branch::decode(&value).ok_or_else(|| damaged(name, 0, "its branch is cut short"))
    }

    /// Logs a message with what belongs to it: all or nothing.
    pub(crate) fn append(
        &self,
        session: u32,
        message: u64,
        record: Record<'_>,
        beside: Beside<'_>,
    ) -> Result<(), Error> {
        let key = message_key(MESSAGE, session, message);
        if beside.blobs.is_empty() && beside.context.is_none() && beside.frame.is_none() {
            return Ok(self.store.put(&key, &record.encode())?);
        }
        let mut batch = Batch::new();
        batch.put(&key, &record.encode());
        for (id, bytes) in beside.blobs {
            batch.put_bytes(&blob_key(session, id), Bytes::clone(bytes));
        }
        if let Some(frame) = beside.frame {
            batch.put(&message_key(FRAME, session, message), frame);
        }
        if let Some((context, before)) = beside.context {
            self.supersede(&mut batch, session, before, message + 1, &context)?;
        }
        Ok(self.store.write(batch)?)
    }

    /// Saves the context that covers `messages` in place of the one that covered `before`, with
    /// outputs that left it since.
    pub(crate) fn save(
        &self,
        session: u32,
        before: u64,
        messages: u64,
        context: &[u8],
        blobs: &[Blob],
    ) -> Result<(), Error> {
        let mut batch = Batch::new();
        for blob in blobs {
            batch.put_bytes(&blob_key(session, &blob.id), Bytes::clone(&blob.bytes));
        }
        self.supersede(&mut batch, session, before, messages, context)?;
        Ok(self.store.write(batch)?)
    }

    /// Forks keep the context that they begin with.
    fn supersede(
        &self,
        batch: &mut Batch,
        session: u32,
        before: u64,
        messages: u64,
        context: &[u8],
    ) -> Result<(), Error> {
        let pin = covering(PINNED, session, before);
        if self.store.contains(&pin)? {
            match self.store.get(&numbered(CONTEXT, session)) {
                Ok(Some(old)) => {
                    batch.put_bytes(&covering(OLDER, session, before), old);
                }
                // The forks make theirs again from the messages.
                Ok(None) | Err(StoreError::Damaged { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            batch.delete(&pin);
        }
        let value = [&messages.to_le_bytes(), context].concat();
        batch.put(&numbered(CONTEXT, session), &value);
        Ok(())
    }

    /// What is kept of a message under the session's own number.
    pub(crate) fn stored(&self, session: u32, message: u64) -> Result<Option<Bytes>, Error> {
        Ok(self.store.get(&message_key(MESSAGE, session, message))?)
    }

    /// Messages of a session, which are numbered without a gap, when there are `known` at least.
    ///
    /// It looks for the end from there, in steps that double: what lies before is not touched, and
    /// no key but those is.
    pub(crate) fn count(&self, session: u32, known: u64) -> Result<u64, Error> {
        let exists = |message: u64| self.holds(session, message);
        // What is damaged may say any number.
        let (mut low, mut step) = (known, 1u64);
        while low < u64::MAX && exists(low.saturating_add(step - 1))? {
            low = low.saturating_add(step);
            step = step.saturating_mul(2);
        }
        let mut high = low.saturating_add(step - 1);
        while low < high {
            let middle = low.midpoint(high);
            match exists(middle)? {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        Ok(low)
    }

    /// Messages of a session, `known` at least, when some of them may be damaged.
    pub(crate) fn end(&self, session: u32, known: u64) -> Result<u64, Error> {
        let own = &message_key(MESSAGE, session, 0)[..5];
        let mut last = None;
        for pair in self.store.scan_prefix(own)?.rev() {
            match pair {
                Err(StoreError::Damaged { .. }) => {}
                pair => {
                    last = Some(number(&pair?.0));
                    break;
                }
            }
        }
        let known = last.map_or(known, |last| known.max(last.saturating_add(1)));
        self.count(session, known)
    }

    /// The context that a session began with; early builds did not keep it.
    pub(crate) fn empty(&self, session: u32) -> Result<Option<Bytes>, Error> {
        Ok(self.store.get(&numbered(EMPTY, session))?)
    }

    /// Whether a message lies under the session's own number.
    pub(crate) fn holds(&self, session: u32, message: u64) -> Result<bool, Error> {
        let key = message_key(MESSAGE, session, message);
        match self.store.contains(&key) {
            // It is there, whoever reads it is told.
            Err(StoreError::Damaged { .. }) => Ok(true),
            there => Ok(there?),
        }
    }

    /// The saved context that a session goes on from, and how many messages went into it; the
    /// second answer says whether it is the session's own.
    pub(crate) fn context(
        &self,
        name: &str,
        session: u32,
        branch: &Branch,
    ) -> Result<((u64, Bytes), bool), Error> {
        let own = self.store.get(&numbered(CONTEXT, session))?;
        if let Some(value) = own {
            return covered(name, &value).map(|saved| (saved, true));
        }
        let missing = || damaged(name, 0, "its saved context is missing");
        let (session, covers) = branch.context.ok_or_else(missing)?;
        // The present one first: it becomes an older one, never the other way round.
        if let Some(value) = self.store.get(&numbered(CONTEXT, session))? {
            let saved = covered(name, &value)?;
            if saved.0 == covers {
                return Ok((saved, false));
            }
        }
        let older = self.store.get(&covering(OLDER, session, covers))?;
        covered(name, &older.ok_or_else(missing)?).map(|saved| (saved, false))
    }

    pub(crate) fn blob(&self, session: u32, id: &str) -> Result<Option<Bytes>, Error> {
        Ok(self.store.get(&blob_key(session, id))?)
    }

    pub(crate) fn has_blob(&self, session: u32, id: &str) -> Result<bool, Error> {
        Ok(self.store.contains(&blob_key(session, id))?)
    }

    /// What the log knows of a session's newest checkpoint; nothing where that cannot be read, since
    /// the checkpoint itself says it too.
    pub(crate) fn mark(&self, session: u32) -> Option<Mark> {
        let value = self.store.get(&numbered(MARKED, session)).ok()??;
        Mark::decode(&value)
    }

    pub(crate) fn set_mark(&self, session: u32, mark: Mark) -> Result<(), Error> {
        Ok(self.store.put(&numbered(MARKED, session), &mark.encode())?)
    }

    /// What stands before messages of an imported log, where it is not a line feed, in order.
    pub(crate) fn frames(
        &self,
        session: u32,
    ) -> Result<impl Iterator<Item = Result<(u64, Bytes), Error>>, Error> {
        let frames = self
            .store
            .scan_prefix(&message_key(FRAME, session, 0)[..5])?;
        Ok(frames.map(|pair| {
            let (key, value) = pair?;
            Ok((number(&key), value))
        }))
    }

    /// Keeps what follows the last message of an imported log.
    pub(crate) fn end_frame(&self, session: u32, messages: u64, frame: &[u8]) -> Result<(), Error> {
        Ok(self
            .store
            .put(&message_key(FRAME, session, messages), frame)?)
    }

    pub(crate) fn layout(&self, session: u32) -> Result<Option<Bytes>, Error> {
        Ok(self.store.get(&numbered(LAYOUT, session))?)
    }

    pub(crate) fn set_layout(&self, session: u32, layout: &[u8]) -> Result<(), Error> {
        Ok(self.store.put(&numbered(LAYOUT, session), layout)?)
    }
}

fn covered(name: &str, value: &Bytes) -> Result<(u64, Bytes), Error> {
    let covers = value
        .get(..8)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u64::from_le_bytes);
    match covers {
        Some(covers) => Ok((covers, value.slice(8..))),
        None => Err(damaged(name, 0, "its saved context is cut short")),
    }
}

pub(crate) fn damaged(session: &str, message: u64, what: &'static str) -> Error {
    Error::Damaged {
        session: session.to_owned(),
        message,
        what,
    }
}

fn session_key(name: &str) -> Vec<u8> {
    [&[SESSION], name.as_bytes()].concat()
}

#[expect(
    clippy::big_endian_bytes,
    reason = "the order of keys is the order of messages"
)]
fn message_key(kind: u8, session: u32, message: u64) -> [u8; 13] {
    let mut key = [kind; 13];
    key[1..5].copy_from_slice(&session.to_be_bytes());
    key[5..].copy_from_slice(&message.to_be_bytes());
    key
}

fn number(key: &[u8]) -> u64 {
    key.get(5..13)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u64::from_be_bytes)
}

fn numbered(kind: u8, session: u32) -> [u8; 5] {
    let mut key = [kind; 5];
    key[1..].copy_from_slice(&session.to_le_bytes());
    key
}

fn covering(kind: u8, session: u32, covers: u64) -> [u8; 13] {
    let mut key = [kind; 13];
    key[1..5].copy_from_slice(&session.to_le_bytes());
    key[5..].copy_from_slice(&covers.to_le_bytes());
    key
}

fn blob_key(session: u32, id: &str) -> Vec<u8> {
    [&[BLOB], &session.to_le_bytes()[..], id.as_bytes()].concat()
}

/// A version's name as it is stored.
pub(crate) fn version(bytes: &[u8]) -> Option<VersionId> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}
