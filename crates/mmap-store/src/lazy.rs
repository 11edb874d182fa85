//! A record of named fields of which only the touched ones are decoded.

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use crc32c::crc32c;

use crate::error::{Error, Result};
use crate::record::le32;

const MAGIC: &[u8; 4] = b"MLR1";
const HEAD: usize = 16;
const ENTRY: usize = 16;
/// Most fields of a record.
const MAX_FIELDS: usize = 1 << 20;

/// Named fields behind a directory. Each is checked and decoded when it is first touched, the
/// others never: reading 2 of 50 fields costs the directory and these two.
///
/// The bytes come from [`LazyRecordBuilder`] and are usually a value of a [`Store`](crate::Store).
///
/// ```
/// use mainspring_mmap_store::{Error, LazyRecord, LazyRecordBuilder};
///
/// # fn main() -> Result<(), Error> {
/// let bytes = LazyRecordBuilder::new()
///     .field("title", b"refactor".to_vec())?
///     .field("messages", vec![b'x'; 1 << 20])?
///     .finish();
/// let record = LazyRecord::parse(bytes)?;
/// let title = record.decode("title", |b| Ok::<_, Error>(String::from_utf8_lossy(b).into_owned()))?;
/// assert_eq!(title.unwrap().as_str(), "refactor");
/// # Ok(()) }
/// ```
pub struct LazyRecord {
    bytes: Bytes,
    /// Sorted by name.
    fields: Vec<Field>,
}

struct Field {
    name: Range<usize>,
    body: Range<usize>,
    check: u32,
    checked: OnceLock<bool>,
    decoded: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl fmt::Debug for LazyRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LazyRecord")
            .field("fields", &self.names().collect::<Vec<_>>())
            .finish()
    }
}

fn damaged(offset: usize, what: &'static str) -> Error {
    Error::damaged("a lazy record", offset as u64, what)
}

impl LazyRecord {
    /// Reads and checks the directory, no field. O(fields).
    ///
    /// # Errors
    /// [`Error::Damaged`], with the offset inside `bytes`.
    pub fn parse(bytes: Bytes) -> Result<Self> {
        if bytes.len() < HEAD || &bytes[..4] != MAGIC {
            return Err(damaged(0, "these are not the bytes of a lazy record"));
        }
        let (count, names_len) = (le32(&bytes, 4) as usize, le32(&bytes, 8) as usize);
        let names = HEAD + count.min(MAX_FIELDS) * ENTRY;
        let bodies = names.saturating_add(names_len);
        if count > MAX_FIELDS || bodies > bytes.len() {
            return Err(damaged(4, "the directory is longer than the record"));
        }
        // The check covers the lengths as well.
        if crc32c(&bytes[HEAD..bodies]) ^ crc32c(&bytes[..12]) != le32(&bytes, 12) {
            return Err(damaged(0, "the directory fails its check"));
        }
        let mut fields: Vec<Field> = Vec::with_capacity(count);
        let (mut name, mut body) = (names, bodies);
        for at in (HEAD..names).step_by(ENTRY) {
            let (name_len, len) = (le32(&bytes, at) as usize, le32(&bytes, at + 4) as usize);
            let field = Field {
                name: name..name.saturating_add(name_len),
                body: body..body.saturating_add(len),
                check: le32(&bytes, at + 8),
                checked: OnceLock::new(),
                decoded: OnceLock::new(),
            };
            if field.name.end > bodies || field.body.end > bytes.len() {
                return Err(damaged(at, "a field runs past the end"));
            }
            (name, body) = (field.name.end, field.body.end);
            fields.push(field);
        }
        let sorted = fields.is_sorted_by(|a, b| bytes[a.name.clone()] < bytes[b.name.clone()]);
        let utf8 = fields
            .iter()
            .all(|f| std::str::from_utf8(&bytes[f.name.clone()]).is_ok());
        match sorted && utf8 {
            true => Ok(Self { bytes, fields }),
            false => Err(damaged(HEAD, "the directory is out of order")),
        }
    }

    /// The names of the fields, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields
            .iter()
            .map(|f| std::str::from_utf8(&self.bytes[f.name.clone()]).unwrap_or_default())
    }

    /// The bytes of a field, checked on the first touch; shares the record's memory. O(log fields).
    ///
    /// # Errors
    /// [`Error::Damaged`] when they are not what was written.
    pub fn raw(&self, name: &str) -> Result<Option<Bytes>> {
        let Some(field) = self.find(name) else {
            return Ok(None);
        };
        let good = field
            .checked
            .get_or_init(|| crc32c(&self.bytes[field.body.clone()]) == field.check);
        match good {
            true => Ok(Some(self.bytes.slice(field.body.clone()))),
            false => Err(damaged(field.body.start, "a field fails its check")),
        }
    }

    /// The decoded field. `decode` runs on the first touch; its result is kept and shared as long
    /// as the record lives. Asked for as another type, the field is decoded again and not kept.
    ///
    /// # Errors
    /// [`Error::Damaged`], and what `decode` returns (which is not kept).
    pub fn decode<T, E>(
        &self,
        name: &str,
        decode: impl FnOnce(&[u8]) -> Result<T, E>,
    ) -> Result<Option<Arc<T>>, E>
    where
        T: Send + Sync + 'static,
        E: From<Error>,
    {
        let Some(field) = self.find(name) else {
            return Ok(None);
        };
        if let Some(known) = field.decoded.get()
            && let Ok(known) = Arc::clone(known).downcast::<T>()
        {
            return Ok(Some(known));
        }
        let Some(raw) = self.raw(name)? else {
            return Ok(None);
        };
        let decoded = Arc::new(decode(&raw)?);
        // Somebody else may have been quicker; both decoded the same bytes.
        let _ = field
            .decoded
            .set(Arc::clone(&decoded) as Arc<dyn Any + Send + Sync>);
        Ok(Some(decoded))
    }

    fn find(&self, name: &str) -> Option<&Field> {
        let at = self
            .fields
            .binary_search_by(|f| self.bytes[f.name.clone()].cmp(name.as_bytes()))
            .ok()?;
        Some(&self.fields[at])
    }
}

/// Makes the bytes of a [`LazyRecord`].
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct LazyRecordBuilder {
    fields: std::collections::BTreeMap<Box<str>, Bytes>,
    bytes: u64,
}

impl LazyRecordBuilder {
    /// A record without fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a field; one of the same name is replaced.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when the record would pass 4 GiB − 1 or 1,048,576 fields.
    pub fn field(mut self, name: &str, body: impl Into<Bytes>) -> Result<Self> {
        let body = body.into();
        self.bytes += (ENTRY + name.len() + body.len()) as u64;
        let limit = u64::from(u32::MAX) - HEAD as u64;
        if self.bytes > limit || self.fields.len() >= MAX_FIELDS {
            return Err(Error::TooLarge {
                what: "lazy record",
                len: self.bytes,
                limit,
            });
        }
        self.fields.insert(name.into(), body);
        Ok(self)
    }

    /// The record's bytes.
    #[must_use]
    pub fn finish(&self) -> Bytes {
        let names: usize = self.fields.keys().map(|n| n.len()).sum();
        let mut out = Vec::with_capacity(HEAD + self.bytes as usize);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&(self.fields.len() as u32).to_le_bytes());
        out.extend_from_slice(&(names as u32).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        for (name, body) in &self.fields {
            for word in [name.len() as u32, body.len() as u32, crc32c(body), 0] {
                out.extend_from_slice(&word.to_le_bytes());
            }
        }
        for name in self.fields.keys() {
            out.extend_from_slice(name.as_bytes());
        }
        let check = crc32c(&out[HEAD..]) ^ crc32c(&out[..12]);
        out[12..16].copy_from_slice(&check.to_le_bytes());
        for body in self.fields.values() {
            out.extend_from_slice(body);
        }
        out.into()
    }
}
