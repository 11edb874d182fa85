//! Recorded sessions of other runtimes: taken in, and given back byte for byte.

use std::io::{self, BufRead, BufReader, Cursor, Read, Write};

use bytes::Bytes;
use mainspring_compressor::{Error as ContextError, Format, Import, Piece, read_sessions};
use serde::{Deserialize, Serialize};

use crate::{Error, Runtime, Session};

/// What is looked at to tell a format, at first and at most.
const HEAD: usize = 1 << 20;
const MOST_HEAD: usize = 64 << 20;
/// Longest line of a log.
const MOST_LINE: u64 = 256 << 20;
const MARK: &[u8] = b"\xef\xbb\xbf";

/// What a [`Runtime::import`] took in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// The sessions, in the order of the source. Exporting the first gives the source back.
    pub sessions: Vec<String>,
    /// The format that was found, by its name.
    pub format: &'static str,
    /// Bytes of the source.
    pub bytes: u64,
    /// Messages and other records.
    pub messages: u64,
    /// Bytes of messages that their session had before, byte for byte; they are kept once.
    pub repeated_bytes: u64,
    /// Bytes of records that no model sees: progress, bookkeeping, what is too large for the window.
    /// Resuming does not read them.
    pub outside_bytes: u64,
    /// Bytes by which the stores grew, whoever else wrote meanwhile.
    pub stored_bytes: u64,
    /// Tokens of the contexts, after compaction.
    pub tokens: usize,
    /// What could not be read; it is kept too, and exported where it was.
    pub quarantined: Vec<Quarantined>,
}

/// A line, or one of several sessions, that is none.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quarantined {
    /// The line where it begins, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub what: String,
}

/// How a document is put together from the messages of its sessions.
#[derive(Debug, Serialize, Deserialize)]
struct Layout {
    sessions: Vec<String>,
    pieces: Vec<Part>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Part {
    Frame(String),
    Message(usize, u64),
    /// A frame that is no text, in hexadecimal.
    Bytes {
        hex: String,
    },
}

impl Runtime {
    /// Takes in a session recorded by another runtime: Claude Code, Codex, SWE-agent, tau-bench,
    /// OpenHands, and messages of the OpenAI, Anthropic and Gemini APIs; the format is told from the
    /// content. A source of several sessions becomes `NAME/1`, `NAME/2` and so on.
    ///
    /// A log of one record a line is read line by line: memory is that of the context, of the longest
    /// line and of a mebibyte. A JSON document is read whole. Cost: linear in the source.
    ///
    /// # Errors
    /// [`Error::SessionExists`], [`Error::Context`] when it is no session, [`Error::Store`], also for
    /// a source that cannot be read: what was taken in until then stays.
    pub fn import(&self, name: &str, source: impl Read) -> Result<Imported, Error> {
        let before = self.stored_bytes();
        let mut source = BufReader::with_capacity(64 << 10, source);
        let (head, format) = head(&mut source)?;
        let mut imported = match format {
            Some(format) => self.import_lines(name, format, Cursor::new(head).chain(source))?,
            None => {
                let mut whole = head;
                source.read_to_end(&mut whole).map_err(unread)?;
                self.import_document(name, whole.into())?
            }
        };
        imported.stored_bytes = self.stored_bytes().saturating_sub(before);
        Ok(imported)
    }

    /// Writes what [`import`](Self::import) read as it was, by the name of its first session; a session that was not
    /// imported as one message a line. Returns the bytes written.
    ///
    /// # Errors
    /// As [`resume`](Self::resume), and [`Error::Store`] for what cannot be written.
    pub fn export(&self, name: &str, to: impl Write) -> Result<u64, Error> {
        self.resume(name)?.export(to)
    }

    fn fresh(&self, name: &str, format: Format) -> Result<Session, Error> {
        match self.inner.log.find(name)? {
            Some(_) => Err(Error::SessionExists(name.to_owned())),
            None => self.session(name, format),
        }
    }

    fn stored_bytes(&self) -> u64 {
        let stores = [self.session_store(), self.snapshot_store()];
        stores.iter().map(|store| store.stats().log_bytes).sum()
    }

    fn import_lines(
        &self,
        name: &str,
        format: Format,
        mut source: impl BufRead,
    ) -> Result<Imported, Error> {
        let mut session = self.fresh(name, format)?;
        let mut imported = Imported {
            sessions: vec![name.to_owned()],
            format: format.name(),
            ..Imported::default()
        };
        let (mut line, mut frame, mut number) = (Vec::new(), Vec::new(), 0);
        loop {
            line.clear();
            let read = source.by_ref().take(MOST_LINE).read_until(b'\n', &mut line);
            let read = read.map_err(unread)?;
            if read == 0 {
                break;
            }
            number += 1;
            imported.bytes += read as u64;
            let marked = imported.messages == 0 && number == 1 && line.starts_with(MARK);
            let text = line[if marked { MARK.len() } else { 0 }..].trim_ascii();
            let end = text.as_ptr() as usize - line.as_ptr() as usize + text.len();
            if text.is_empty() {
                frame.extend_from_slice(&line);
                continue;
            }
            let begin = end - text.len();
            frame.extend_from_slice(&line[..begin]);
            let usual: &[u8] = if session.messages() == 0 { b"" } else { b"\n" };
            let beside = (frame != usual).then_some(&*frame);
            match take(
                &mut session,
                &mut imported,
                beside,
                Bytes::copy_from_slice(text),
            )? {
                None => {
                    frame.clear();
                    frame.extend_from_slice(&line[end..]);
                }
                Some(what) => {
                    frame.extend_from_slice(&line[begin..]);
                    imported
                        .quarantined
                        .push(Quarantined { line: number, what });
                }
            }
        }
        if frame != b"\n" {
            let log = &self.inner.log;
            log.end_frame(session.number(), session.messages(), &frame)?;
        }
        imported.finish(session)?;
        Ok(imported)
    }

    fn import_document(&self, name: &str, source: Bytes) -> Result<Imported, Error> {
        let import = read_sessions(source.clone())?;
        let names = names(name, &import);
        let mut imported = Imported {
            format: import.sessions().first().map_or("", |s| s.format().name()),
            bytes: source.len() as u64,
            quarantined: import.quarantined().iter().map(Quarantined::of).collect(),
            ..Imported::default()
        };
        let layout = Layout::of(&import, names.clone());
        for (recorded, name) in import.sessions().iter().zip(names) {
            let mut session = self.fresh(&name, recorded.format())?;
            if imported.sessions.is_empty() {
                let layout = serde_json::to_vec(&layout).unwrap_or_default();
                self.inner.log.set_layout(session.number(), &layout)?;
            }
            imported.sessions.push(name);
            for item in recorded.transcript.items() {
                // A copy of its own: the document need not stay in memory for it.
                let raw = Bytes::copy_from_slice(item.raw());
                if take(&mut session, &mut imported, None, raw.clone())?.is_some() {
                    session.append_outside(None, raw)?;
                    imported.messages += 1;
                }
            }
            imported.finish(session)?;
        }
        Ok(imported)
    }
}

impl Session {
    /// Writes the session as it was imported, or one message a line; the bytes written.
    ///
    /// # Errors
    /// As [`message`](Self::message), and [`Error::Store`] for what cannot be written.
    pub fn export(&self, mut to: impl Write) -> Result<u64, Error> {
        if let Some(layout) = self.runtime().inner.log.layout(self.number())? {
            return self.export_document(&layout, to);
        }
        let mut written = 0;
        let mut put = |bytes: &[u8]| {
            written += bytes.len() as u64;
            to.write_all(bytes).map_err(unwritten)
        };
        let mut frames = self.frames();
        let mut next = frames.next().transpose()?;
        for number in 0..=self.messages() {
            match &next {
                Some((at, frame)) if *at == number => {
                    put(frame)?;
                    if 0 < number && number < self.messages() && !ends_line(frame) {
                        // It ended the import, and something was appended since.
                        put(b"\n")?;
                    }
                    next = frames.next().transpose()?;
                }
                _ if number > 0 => put(b"\n")?,
                _ => {}
            }
            if number < self.messages() {
                put(&self.message(number)?)?;
            }
        }
        Ok(written)
    }

    fn export_document(&self, layout: &[u8], mut to: impl Write) -> Result<u64, Error> {
        let layout: Layout = serde_json::from_slice(layout)
            .map_err(|_| self.damaged(0, "the layout of its document cannot be read"))?;
        let mut others: Vec<Session> = Vec::new();
        for name in layout.sessions.iter().skip(1) {
            others.push(self.runtime().resume(name)?);
        }
        let mut written = 0;
        for part in layout.pieces {
            let message;
            let bytes = match &part {
                Part::Frame(text) => text.as_bytes(),
                Part::Bytes { hex } => {
                    let read = unhexed(hex);
                    message = read.ok_or_else(|| self.damaged(0, "its layout has no bytes"))?;
                    &message
                }
                Part::Message(0, number) => {
                    message = self.message(*number)?;
                    &message
                }
                Part::Message(session, number) => {
                    let session = others.get(session - 1).unwrap_or(self);
                    message = session.message(*number)?;
                    &message
                }
            };
            written += bytes.len() as u64;
            to.write_all(bytes).map_err(unwritten)?;
        }
        Ok(written)
    }
}

impl Imported {
    fn finish(&mut self, session: Session) -> Result<(), Error> {
        let usage = session.usage();
        self.repeated_bytes += usage.repeated_bytes;
        self.tokens += usage.tokens;
        session.close().map(drop)
    }
}

impl Quarantined {
    fn of(found: &mainspring_compressor::Quarantined) -> Self {
        Self {
            line: found.line as u64,
            what: found.what.clone(),
        }
    }
}

impl Layout {
    fn of(import: &Import, sessions: Vec<String>) -> Self {
        let pieces = import.pieces().into_iter().map(|piece| match piece {
            Piece::Item { session, item } => Part::Message(session, item as u64),
            Piece::Frame(bytes) => match std::str::from_utf8(&bytes) {
                Ok(text) => Part::Frame(text.to_owned()),
                Err(_) => Part::Bytes { hex: hexed(&bytes) },
            },
            _ => Part::Frame(String::new()),
        });
        Self {
            sessions,
            pieces: pieces.collect(),
        }
    }
}

/// Appends one record of a source; says what is wrong with one that is no message at all.
fn take(
    session: &mut Session,
    imported: &mut Imported,
    frame: Option<&[u8]>,
    raw: Bytes,
) -> Result<Option<String>, Error> {
    let length = raw.len() as u64;
    let appended = match session.append_after(frame, raw.clone()) {
        Err(Error::Context(ContextError::DoesNotFit { .. })) => {
            session.append_outside(frame, raw)?
        }
        Err(Error::Context(error)) => return Ok(Some(error.to_string())),
        appended => appended?,
    };
    imported.messages += 1;
    if appended.pushed.index.is_none() {
        imported.outside_bytes += length;
    }
    Ok(None)
}

/// The beginning of a source, and the format if it is a log of one record a line.
fn head(source: &mut impl Read) -> Result<(Vec<u8>, Option<Format>), Error> {
    let (mut head, mut size) = (Vec::new(), HEAD);
    loop {
        let room = (size - head.len()) as u64;
        source.take(room).read_to_end(&mut head).map_err(unread)?;
        let complete = head.len() < size;
        let lines = match (complete, memchr_last_line(&head)) {
            (true, _) => head.len(),
            (false, end) => end,
        };
        let found = if begins_with_a_record(&head[..lines]) {
            read_sessions(head[..lines].to_vec()).ok()
        } else {
            None
        };
        if let Some(import) = found {
            return Ok((head, log_format(&import)));
        }
        if complete || size >= MOST_HEAD || !looks_like_lines(&head) {
            return Ok((head, None));
        }
        size *= 4;
    }
}

/// The end of the last whole line.
fn memchr_last_line(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |at| at + 1)
}

fn first_line(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_prefix(MARK).unwrap_or(bytes);
    let mut lines = bytes.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    lines.find(|line| !line.is_empty()).unwrap_or_default()
}

fn begins_with_a_record(bytes: &[u8]) -> bool {
    serde_json::from_slice::<&serde_json::value::RawValue>(first_line(bytes)).is_ok()
}

/// Whether the first line may be a record of which the end is not there yet.
fn looks_like_lines(head: &[u8]) -> bool {
    let line = first_line(head);
    begins_with_a_record(head) || (line.starts_with(b"{\"") && line.len() >= HEAD - 64)
}

/// Which formats are one record a line, when all that lies between the items is white space.
fn log_format(import: &Import) -> Option<Format> {
    let [session] = import.sessions() else {
        return None;
    };
    let between = import.pieces().into_iter().all(|piece| match piece {
        Piece::Frame(bytes) => {
            let text = bytes.strip_prefix(MARK).unwrap_or(&bytes);
            text.is_empty() || text.contains(&b'\n')
        }
        _ => true,
    });
    (between && session.transcript.items().len() > 1).then(|| session.format())
}

fn names(name: &str, import: &Import) -> Vec<String> {
    match import.sessions().len() {
        1 => vec![name.to_owned()],
        several => (1..=several)
            .map(|number| format!("{name}/{number}"))
            .collect(),
    }
}

fn hexed(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)]));
    digits.map(char::from).collect()
}

fn unhexed(hex: &str) -> Option<Bytes> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, []) = hex.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let bytes = pairs
        .iter()
        .map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?));
    bytes.collect::<Option<Vec<u8>>>().map(Bytes::from)
}

fn unread(source: io::Error) -> Error {
    io_error("read", source)
}

fn unwritten(source: io::Error) -> Error {
    io_error("write", source)
}

fn io_error(action: &'static str, source: io::Error) -> Error {
    Error::Store(mainspring_mmap_store::Error::Io {
        action,
        file: "recorded session".to_owned(),
        source: source.into(),
    })
}

/// Whether what lies between two records leaves the second one a line of its own.
fn ends_line(frame: &[u8]) -> bool {
    let mut lines = frame.rsplit(|&byte| byte == b'\n');
    let last = lines.next().unwrap_or_default();
    lines.next().is_some() && last.trim_ascii().is_empty()
}
