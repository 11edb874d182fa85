//! A file as it is unpacked, bit by bit and within its limits.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use super::{TraceError, TraceLimits, format::Packing};

pub(super) struct Source<'a> {
    path: &'a Path,
    reader: BufReader<Box<dyn Read>>,
    offset: u64,
    limit: u64,
}

impl<'a> Source<'a> {
    const LONGEST_LINE: u64 = 4 << 20;

    pub(super) fn open(
        path: &'a Path,
        packing: Packing,
        limits: &TraceLimits,
    ) -> Result<Self, TraceError> {
        let opened = File::open(path).and_then(|file| packing.unpack(file));
        let reader = opened.map_err(|source| TraceError::Io {
            path: path.to_owned(),
            offset: 0,
            source,
        })?;
        Ok(Self {
            path,
            reader: BufReader::with_capacity(1 << 16, reader),
            offset: 0,
            limit: limits.bytes,
        })
    }

    /// Bytes read so far.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next `N` bytes; nothing at the end.
    pub(super) fn word<const N: usize>(&mut self) -> Result<Option<[u8; N]>, TraceError> {
        let mut word = [0; N];
        let mut filled = 0;
        while filled < N {
            match self.reader.read(&mut word[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => {
                    return Err(self.malformed(self.offset, "the end in the middle of a key"));
                }
                Ok(read) => {
                    filled += read;
                    self.advance(read)?;
                }
                Err(error) => self.survive(error)?,
            }
        }
        Ok(Some(word))
    }

    /// Replaces `line` by the next one; false at the end.
    pub(super) fn line(&mut self, line: &mut Vec<u8>) -> Result<bool, TraceError> {
        line.clear();
        let start = self.offset;
        let mut rest = (&mut self.reader).take(Self::LONGEST_LINE);
        let read = rest.read_until(b'\n', line);
        match read {
            Ok(0) => return Ok(false),
            Ok(read) => self.advance(read)?,
            Err(source) => {
                self.offset += line.len() as u64;
                return Err(self.broken(source));
            }
        }
        if line.len() as u64 == Self::LONGEST_LINE && line.last() != Some(&b'\n') {
            return Err(self.malformed(start, "a line of more than 4 MiB"));
        }
        Ok(true)
    }

    fn advance(&mut self, by: usize) -> Result<(), TraceError> {
        self.offset += by as u64;
        if self.offset > self.limit {
            return Err(self.too_large("bytes"));
        }
        Ok(())
    }

    fn survive(&self, error: std::io::Error) -> Result<(), TraceError> {
        if error.kind() == std::io::ErrorKind::Interrupted {
            return Ok(());
        }
        Err(self.broken(error))
    }

    fn broken(&self, source: std::io::Error) -> TraceError {
        TraceError::Io {
            path: self.path.to_owned(),
            offset: self.offset,
            source,
        }
    }

    pub(super) fn malformed(&self, offset: u64, what: &'static str) -> TraceError {
        TraceError::Malformed {
            path: self.path.to_owned(),
            offset,
            what,
        }
    }

    pub(super) fn too_large(&self, what: &'static str) -> TraceError {
        TraceError::TooLarge {
            path: self.path.to_owned(),
            offset: self.offset,
            what,
        }
    }
}
