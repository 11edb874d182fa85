//! How sessions lie in a session store.

use bytes::Bytes;
use mainspring_mmap_store::{Batch, Store};

use crate::Error;

/// `v`: the layout's version.
const VERSION_KEY: &[u8] = b"v";
const VERSION: &[u8] = b"mainspring sessions 1";
/// `n`: the number of the next session.
const NEXT: &[u8] = b"n";
/// `s` and the session's name: its number.
const SESSION: u8 = b's';
/// `m`, the session's number, the message's number: the message as it came.
const MESSAGE: u8 = b'm';
/// `c` and the session's number: the number of messages it covers, and the saved context.
const CONTEXT: u8 = b'c';
/// `b`, the session's number, the blob's id: a tool output that was moved out of the context.
const BLOB: u8 = b'b';

/// The records of all sessions in one store.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    store: Store,
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

    /// The names of all sessions, sorted.
    pub(crate) fn names(&self) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        for pair in self.store.scan_prefix(&[SESSION])? {
            let (key, _) = pair?;
            names.push(String::from_utf8_lossy(&key[1..]).into_owned());
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
        let next = self.store.get(NEXT)?;
        let number = next
            .and_then(|bytes| bytes[..].try_into().ok())
            .map_or(0, u32::from_le_bytes);
        let mut batch = Batch::new();
        batch.put(NEXT, &number.saturating_add(1).to_le_bytes());
        batch.put(&session_key(name), &number.to_le_bytes());
        batch.put(
            &context_key(number),
            &[&0u64.to_le_bytes(), context].concat(),
        );
        self.store.write(batch)?;
        Ok(number)
    }

    /// Logs a message together with the outputs that were moved out of it, and with the context
    /// that now covers it when that was compacted: all or nothing.
    pub(crate) fn append(
        &self,
        session: u32,
        message: u64,
        raw: &[u8],
        blobs: &[(&str, &Bytes)],
        context: Option<&[u8]>,
    ) -> Result<(), Error> {
        if blobs.is_empty() && context.is_none() {
            return Ok(self.store.put(&message_key(session, message), raw)?);
        }
        let mut batch = Batch::new();
        batch.put(&message_key(session, message), raw);
        for (id, bytes) in blobs {
            batch.put_bytes(&blob_key(session, id), Bytes::clone(bytes));
        }
        if let Some(context) = context {
            let covers = (message + 1).to_le_bytes();
            batch.put(&context_key(session), &[&covers, context].concat());
        }
        Ok(self.store.write(batch)?)
    }

    pub(crate) fn message(&self, session: u32, message: u64) -> Result<Option<Bytes>, Error> {
        Ok(self.store.get(&message_key(session, message))?)
    }

    /// Messages of a session, which are numbered from 0 without a gap, from the newest back.
    pub(crate) fn count(&self, session: u32) -> Result<u64, Error> {
        match self
            .store
            .scan_prefix(&message_key(session, 0)[..5])?
            .next_back()
        {
            None => Ok(0),
            Some(pair) => Ok(number(&pair?.0).saturating_add(1)),
        }
    }

    /// The saved context and how many messages went into it.
    pub(crate) fn context(&self, name: &str, session: u32) -> Result<(u64, Bytes), Error> {
        let value = self.store.get(&context_key(session))?.unwrap_or_default();
        match value
            .get(..8)
            .and_then(|bytes| bytes.try_into().ok())
            .map(u64::from_le_bytes)
        {
            Some(covers) => Ok((covers, value.slice(8..))),
            None => Err(damaged(
                name,
                0,
                "its saved context is missing or cut short",
            )),
        }
    }

    pub(crate) fn blob(&self, session: u32, id: &str) -> Result<Option<Bytes>, Error> {
        Ok(self.store.get(&blob_key(session, id))?)
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
fn message_key(session: u32, message: u64) -> [u8; 13] {
    let mut key = [MESSAGE; 13];
    key[1..5].copy_from_slice(&session.to_be_bytes());
    key[5..].copy_from_slice(&message.to_be_bytes());
    key
}

fn number(key: &[u8]) -> u64 {
    key.get(5..13)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u64::from_be_bytes)
}

fn context_key(session: u32) -> [u8; 5] {
    let mut key = [CONTEXT; 5];
    key[1..].copy_from_slice(&session.to_le_bytes());
    key
}

fn blob_key(session: u32, id: &str) -> Vec<u8> {
    [&[BLOB], &session.to_le_bytes()[..], id.as_bytes()].concat()
}
