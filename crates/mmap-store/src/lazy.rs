//! A record of named fields of which only the touched ones are decoded.

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use crate::check::crc32c;
use bytes::Bytes;

use crate::error::{Error, Result};
use crate::record::le32;
use crate::segment::Segment;

const MAGIC: &[u8; 4] = b"MLR1";
const HEAD: usize = 16;
const ENTRY: usize = 16;
/// Read at once of a record in the store: directories are seldom larger.
const FIRST_READ: usize = 4096;
/// Most fields of a record.
const MAX_FIELDS: usize = 1 << 20;

/// Named fields behind a directory. Each is checked and decoded when it is first touched, the
/// others never: reading 2 of 50 fields costs the directory and these two.
///
/// The bytes come from [`LazyRecordBuilder`] and are usually a value of a [`Store`](crate::Store):
/// [`Store::get_lazy`](crate::Store::get_lazy) reads no more of it than what is touched.
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
    /// The directory and the names, at least.
    head: Bytes,
    rest: Rest,
    /// Sorted by name.
    fields: Vec<Field>,
}

/// Where the bodies are.
enum Rest {
    /// In the same memory as the head.
    Here,
    /// In a segment, where the record begins at this offset.
    Segment(Arc<Segment>, u64),
}

struct Field {
    name: Range<usize>,
    body: Range<usize>,
    check: u32,
    /// Read and checked.
    held: OnceLock<Bytes>,
    decoded: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl fmt::Debug for LazyRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LazyRecord")
            .field("fields", &self.names().collect::<Vec<_>>())
            .finish()
    }
}

/// Length of directory and names, by the head that `bytes` begin with.
fn directory_len(bytes: &[u8]) -> Option<usize> {
    let head = bytes.get(..HEAD)?;
    let count = (le32(head, 4) as usize).min(MAX_FIELDS);
    (HEAD + count * ENTRY).checked_add(le32(head, 8) as usize)
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
        let fields = Self::directory(&bytes, bytes.len())?;
        Ok(Self {
            head: bytes,
            rest: Rest::Here,
            fields,
        })
    }

    /// Of a value of `len` bytes at `at` of a segment.
    pub(crate) fn of_segment(segment: &Arc<Segment>, at: u64, len: usize) -> Result<Self> {
        let mut head = segment.bytes(at, len.min(FIRST_READ) as u64)?;
        if let Some(wanted) = directory_len(&head).filter(|n| *n > head.len() && *n <= len) {
            head = segment.bytes(at, wanted as u64)?;
        }
        let fields = Self::directory(&head, len)?;
        Ok(Self {
            head,
            rest: Rest::Segment(Arc::clone(segment), at),
            fields,
        })
    }

    /// The fields of a record that ends at `end`, of which `bytes` are the first.
    fn directory(bytes: &[u8], end: usize) -> Result<Vec<Field>> {
        if bytes.len() < HEAD || &bytes[..4] != MAGIC {
            return Err(damaged(0, "these are not the bytes of a lazy record"));
        }
        let count = le32(bytes, 4) as usize;
        let names = HEAD + count.min(MAX_FIELDS) * ENTRY;
        let bodies = directory_len(bytes).unwrap_or(usize::MAX);
        if count > MAX_FIELDS || bodies > bytes.len() {
            return Err(damaged(4, "the directory is longer than the record"));
        }
        // The check covers the lengths as well.
        if crc32c(&bytes[HEAD..bodies]) ^ crc32c(&bytes[..12]) != le32(bytes, 12) {
            return Err(damaged(0, "the directory fails its check"));
        }
        let mut fields: Vec<Field> = Vec::with_capacity(count);
        let (mut name, mut body) = (names, bodies);
        for at in (HEAD..names).step_by(ENTRY) {
            let (name_len, len) = (le32(bytes, at) as usize, le32(bytes, at + 4) as usize);
            let field = Field {
                name: name..name.saturating_add(name_len),
                body: body..body.saturating_add(len),
                check: le32(bytes, at + 8),
                held: OnceLock::new(),
                decoded: OnceLock::new(),
            };
            if field.name.end > bodies || field.body.end > end {
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
            true => Ok(fields),
            false => Err(damaged(HEAD, "the directory is out of order")),
        }
    }

    /// The names of the fields, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields
            .iter()
            .map(|f| std::str::from_utf8(&self.head[f.name.clone()]).unwrap_or_default())
    }

    /// The bytes of a field, read and checked on the first touch; shares the record's memory, or
    /// keeps its own once it was read from the store. O(log fields).
    ///
    /// # Errors
    /// [`Error::Damaged`] when they are not what was written; [`Error::Io`].
    pub fn raw(&self, name: &str) -> Result<Option<Bytes>> {
        let Some(field) = self.find(name) else {
            return Ok(None);
        };
        if let Some(held) = field.held.get() {
            return Ok(Some(held.clone()));
        }
        let body = field.body.clone();
        let bytes = match &self.rest {
            Rest::Here => self.head.slice(body.clone()),
            Rest::Segment(segment, at) => {
                segment.bytes(at + body.start as u64, body.len() as u64)?
            }
        };
        if bytes.len() != body.len() || crc32c(&bytes) != field.check {
            return Err(self.bad_field(body.start));
        }
        Ok(Some(field.held.get_or_init(|| bytes).clone()))
    }

    fn bad_field(&self, start: usize) -> Error {
        let what = "a field fails its check";
        match &self.rest {
            Rest::Here => damaged(start, what),
            Rest::Segment(segment, at) => segment.damaged(at + start as u64, what),
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
            .binary_search_by(|f| self.head[f.name.clone()].cmp(name.as_bytes()))
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
