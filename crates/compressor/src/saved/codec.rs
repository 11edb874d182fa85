//! Fixed-width numbers, texts and lists, bounded by what is there.

use crate::Error;
use bytes::Bytes;

pub(super) fn damaged(offset: usize, what: &str) -> Error {
    Error::Malformed {
        offset,
        line: 1,
        what: what.to_owned(),
    }
}

#[derive(Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Counts and lengths are bounded well below 4 Gi by the transcript.
    pub(super) fn count(&mut self, count: usize) {
        self.u32(u32::try_from(count).unwrap_or(u32::MAX));
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

pub(super) struct Reader {
    bytes: Bytes,
    at: usize,
    /// Offset of the first byte in the file.
    base: usize,
}

impl Reader {
    pub(super) fn new(bytes: Bytes, base: usize) -> Self {
        Self { bytes, at: 0, base }
    }

    pub(super) fn damaged(&self, what: &str) -> Error {
        damaged(self.base + self.at, what)
    }

    fn take(&mut self, len: usize) -> Result<Bytes, Error> {
        if len > self.bytes.len() - self.at {
            return Err(self.damaged("the saved context ends too soon"));
        }
        let from = self.at;
        self.at += len;
        Ok(self.bytes.slice(from..self.at))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let taken = self.take(N)?;
        let mut out = [0; N];
        out.copy_from_slice(&taken);
        Ok(out)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Error> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u32(&mut self) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Error> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn size(&mut self) -> Result<usize, Error> {
        let value = self.u64()?;
        usize::try_from(value).map_err(|_| self.damaged("a size beyond this machine"))
    }

    /// A count of elements that take at least `least` bytes each.
    pub(super) fn count(&mut self, least: usize) -> Result<usize, Error> {
        let count = self.u32()? as usize;
        if count.saturating_mul(least) > self.bytes.len() - self.at {
            return Err(self.damaged("a count beyond the end of the saved context"));
        }
        Ok(count)
    }

    pub(super) fn bytes(&mut self) -> Result<Bytes, Error> {
        let len = self.u32()? as usize;
        self.take(len)
    }

    pub(super) fn text(&mut self) -> Result<String, Error> {
        let bytes = self.bytes()?;
        String::from_utf8(bytes.to_vec()).map_err(|_| self.damaged("a text that is not UTF-8"))
    }

    pub(super) fn end(&self) -> Result<(), Error> {
        if self.at == self.bytes.len() {
            Ok(())
        } else {
            Err(self.damaged("more bytes than the saved context has"))
        }
    }
}
