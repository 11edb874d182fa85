//! Reading recorded sessions, whatever their format, without changing a byte.

mod detect;
mod document;
mod lines;

use crate::{
    Error, Format, Transcript,
    json::{Fault, Json},
    transcript::describe,
};
use bytes::Bytes;
use std::ops::Range;

/// One session of an input.
#[derive(Debug, Clone)]
pub struct Session {
    /// What the record calls itself, else its number in the input, from 1.
    pub name: String,
    /// The items.
    pub transcript: Transcript,
}

impl Session {
    /// The format of its items.
    #[must_use]
    pub fn format(&self) -> Format {
        self.transcript.format()
    }
}

/// A line of a log, or one of several sessions, that could not be read; the rest of the input was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Byte offset in the input.
    pub offset: usize,
    /// Number of the line where it begins, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
    /// Its bytes.
    pub raw: Bytes,
}

/// A piece of an input: the bytes around items, or an item.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Piece {
    /// Bytes that belong to no item.
    Frame(Bytes),
    /// An item of a session.
    Item {
        /// Index of the session.
        session: usize,
        /// Index of the item in its transcript.
        item: usize,
    },
}

/// Everything that an input holds.
#[derive(Debug, Clone)]
pub struct Import {
    source: Bytes,
    sessions: Vec<Session>,
    quarantined: Vec<Quarantined>,
    /// Where the items are in the input, by offset.
    places: Vec<(Range<usize>, usize, usize)>,
}

impl Import {
    fn new(source: Bytes) -> Self {
        Self {
            source,
            sessions: Vec::new(),
            quarantined: Vec::new(),
            places: Vec::new(),
        }
    }

    /// The sessions, in the order of the input; at least one.
    #[must_use]
    pub fn sessions(&self) -> &[Session] {
        &self.sessions
    }

    /// The sessions, for those who want to own them.
    #[must_use]
    pub fn into_sessions(self) -> Vec<Session> {
        self.sessions
    }

    /// Lines and sessions that could not be read.
    #[must_use]
    pub fn quarantined(&self) -> &[Quarantined] {
        &self.quarantined
    }

    /// The input as frames and items, in order.
    #[must_use]
    pub fn pieces(&self) -> Vec<Piece> {
        let mut pieces = Vec::with_capacity(self.places.len() * 2 + 1);
        let mut at = 0;
        for (range, session, item) in &self.places {
            if range.start > at {
                pieces.push(Piece::Frame(self.source.slice(at..range.start)));
            }
            pieces.push(Piece::Item {
                session: *session,
                item: *item,
            });
            at = range.end;
        }
        if at < self.source.len() {
            pieces.push(Piece::Frame(self.source.slice(at..)));
        }
        pieces
    }

    /// The input again, put together from its pieces, byte for byte.
    #[must_use]
    pub fn export(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.source.len());
        for piece in self.pieces() {
            match piece {
                Piece::Frame(bytes) => out.extend_from_slice(&bytes),
                Piece::Item { session, item } => {
                    let items = self.sessions[session].transcript.items();
                    out.extend_from_slice(items[item].raw());
                }
            }
        }
        out
    }

    /// Adds a session of the given values, each a part of the source.
    fn add<'a>(
        &mut self,
        name: String,
        format: Format,
        values: impl Iterator<Item = Json<'a>>,
    ) -> Result<(), Error> {
        let session = self.sessions.len();
        let mut transcript = Transcript::new(format);
        for value in values {
            let range = self.range(value);
            let item = transcript.push_checked(self.source.slice(range.clone()))?;
            self.places.push((range, session, item));
        }
        let name = if name.is_empty() {
            (session + 1).to_string()
        } else {
            name
        };
        self.sessions.push(Session { name, transcript });
        Ok(())
    }

    fn range(&self, value: Json<'_>) -> Range<usize> {
        let start = value.text().as_ptr() as usize - self.source.as_ptr() as usize;
        start..start + value.text().len()
    }

    fn finish(mut self) -> Result<Self, Error> {
        let said = |s: &Session| s.transcript.items().iter().any(crate::Item::in_context);
        if !self.sessions.iter().any(said) {
            return Err(Error::UnknownFormat {
                what: "it holds no message".to_owned(),
            });
        }
        self.places.sort_by_key(|(range, ..)| range.start);
        self.quarantined.sort_by_key(|aside| aside.offset);
        Ok(self)
    }
}

/// Bytes of the byte order mark that some editors and shells put before UTF-8.
fn marked(source: &[u8]) -> usize {
    let mark = "\u{feff}".as_bytes();
    if source.starts_with(mark) {
        mark.len()
    } else {
        0
    }
}

/// Reads every session of an input that has been decompressed.
///
/// The format is told from the content. Linear in the input; items share its memory. A line of a
/// log, or one of several sessions, that cannot be read is put aside (see
/// [`Import::quarantined`]) and the rest is read; one without any message, as a run that failed at
/// once leaves it, is passed over.
///
/// # Errors
///
/// [`Error::Malformed`] with offset and line when the input is no JSON, [`Error::UnknownFormat`]
/// when it is no session, [`Error::Limit`] when it is nested or counted beyond bounds.
pub fn read_sessions(input: impl Into<Bytes>) -> Result<Import, Error> {
    let source: Bytes = input.into();
    let import = Import::new(source.clone());
    let text = std::str::from_utf8(&source);
    let whole = text.as_ref().ok().map(|text| {
        let mark = marked(text.as_bytes());
        Json::parse(&text[mark..]).map_err(|fault| Fault {
            offset: mark + fault.offset,
            ..fault
        })
    });
    match whole {
        Some(Ok(value)) => document::read(import, value)?.finish(),
        _ if !lines::plausible(&source) => Err(match (text, whole) {
            (Err(e), _) => Error::malformed(&source, e.valid_up_to(), "not UTF-8"),
            (_, Some(Err(fault))) => describe(&source, &fault),
            _ => Error::UnknownFormat {
                what: "nothing to read".to_owned(),
            },
        }),
        _ => lines::read(import, &source)?.finish(),
    }
}
