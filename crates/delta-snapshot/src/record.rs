//! One record: a length, a body that a cipher may have sealed, a checksum over both and over where it belongs.

use bytes::Bytes;

use crate::cipher::Cipher;
use crate::error::{Error, Result};
use crate::prefix::Prefixes;
use crate::wire::{Reader, put_bytes};

/// Seals, frames and checks records.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Framing<'a> {
    pub(crate) key: &'a str,
    pub(crate) cipher: Option<&'a dyn Cipher>,
}

impl Framing<'_> {
    fn context(&self, number: u64) -> String {
        format!("{}#{number}", self.key)
    }

    fn sum(&self, number: u64, framed: &[u8]) -> u32 {
        let start = crc32c::crc32c(self.key.as_bytes());
        let start = crc32c::crc32c_append(start, &number.to_le_bytes());
        crc32c::crc32c_append(start, framed)
    }

    pub(crate) fn put(&self, number: u64, body: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        match self.cipher {
            None => put_bytes(out, body),
            Some(cipher) => {
                let sealed = cipher
                    .seal(&self.context(number), body)
                    .map_err(|what| self.refused(what))?;
                put_bytes(out, &sealed);
            }
        }
        let sum = self.sum(number, &out[start..]);
        out.extend_from_slice(&sum.to_le_bytes());
        Ok(())
    }

    fn refused(&self, what: String) -> Error {
        Error::Cipher {
            key: self.key.to_owned(),
            what,
        }
    }

    /// The record at `at`: where its body lies and where the next one begins.
    pub(crate) fn find(
        &self,
        number: u64,
        bytes: &[u8],
        at: usize,
    ) -> Result<(std::ops::Range<usize>, usize), &'static str> {
        let mut reader = Reader::new(self.key, at, &bytes[at..]);
        let len = reader
            .varint()
            .map_err(|_| "the record's length is cut off")?;
        let start = at + reader.at();
        let room = (bytes.len() - start) as u64;
        if room < 4 || len > room - 4 {
            return Err("the record is cut off");
        }
        let end = start + len as usize;
        let mut stored = [0; 4];
        stored.copy_from_slice(&bytes[end..end + 4]);
        if self.sum(number, &bytes[at..end]) != u32::from_le_bytes(stored) {
            return Err("the record's checksum does not fit");
        }
        Ok((start..end, end + 4))
    }

    /// Which of these numbers the record at `at` has. Cost: about the same whatever length stands there.
    pub(crate) fn find_any(
        &self,
        mut numbers: std::ops::Range<u64>,
        bytes: &[u8],
        at: usize,
        prefixes: &Prefixes<'_>,
    ) -> Option<(u64, std::ops::Range<usize>)> {
        let mut reader = Reader::new(self.key, at, &bytes[at..]);
        let len = reader.varint().ok()?;
        let start = at + reader.at();
        let room = (bytes.len() - start) as u64;
        if room < 4 || len > room - 4 {
            return None;
        }
        let end = start + len as usize;
        let mut stored = [0; 4];
        stored.copy_from_slice(&bytes[end..end + 4]);
        let stored = u32::from_le_bytes(stored);
        let key = crc32c::crc32c(self.key.as_bytes());
        let found = numbers.find(|number| {
            let before = crc32c::crc32c_append(key, &number.to_le_bytes());
            prefixes.append(before, at..end) == stored
        })?;
        Some((found, start..end))
    }

    /// A value that is one record from `at` to its end.
    pub(crate) fn only(&self, bytes: &Bytes, at: usize) -> Result<(Bytes, usize)> {
        let (body, end) = self
            .find(0, bytes, at)
            .map_err(|what| Error::damaged(self.key, at, what))?;
        if end != bytes.len() {
            return Err(Error::damaged(
                self.key,
                end,
                "there are bytes behind the record",
            ));
        }
        let start = body.start;
        Ok((self.open(0, bytes.slice(body))?, start))
    }

    pub(crate) fn open(&self, number: u64, body: Bytes) -> Result<Bytes> {
        match self.cipher {
            None => Ok(body),
            Some(cipher) => cipher
                .open(&self.context(number), &body)
                .map(Bytes::from)
                .map_err(|what| self.refused(what)),
        }
    }
}
