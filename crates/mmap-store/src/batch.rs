use bytes::Bytes;

use crate::error::{Error, Result};
use crate::packing::Packing;
use crate::record::{self, HEADER, Header, Kind};

/// Changes that take effect together or not at all, also across a crash.
///
/// ```
/// # use mainspring_mmap_store::{Batch, Options};
/// # fn main() -> mainspring_mmap_store::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = Options::new().create(true).open(dir.path())?;
/// let mut batch = Batch::new();
/// batch.put(b"a", b"1").put(b"b", b"2").delete(b"c");
/// store.write(batch)?;
/// assert!(store.contains(b"b")?);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Batch {
    ops: Vec<Op>,
    bytes: usize,
}

#[derive(Debug, Clone)]
struct Op {
    kind: Kind,
    key: Box<[u8]>,
    value: Bytes,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key with its value. A later change of the same key in this batch wins.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> &mut Self {
        self.put_bytes(key, Bytes::copy_from_slice(value))
    }

    /// As [`put`](Self::put), without copying the value here.
    pub fn put_bytes(&mut self, key: &[u8], value: Bytes) -> &mut Self {
        self.push(Kind::Put, key, value)
    }

    /// Adds the removal of a key. It need not exist.
    pub fn delete(&mut self, key: &[u8]) -> &mut Self {
        self.push(Kind::Delete, key, Bytes::new())
    }

    fn push(&mut self, kind: Kind, key: &[u8], value: Bytes) -> &mut Self {
        self.bytes += key.len() + value.len();
        self.ops.push(Op {
            kind,
            key: key.into(),
            value,
        });
        self
    }

    /// Number of changes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// True if there is no change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    pub(crate) fn request(&self, packing: Packing) -> Result<Request> {
        let mut request = Request::new(Condition::Always);
        request
            .frames
            .reserve(self.bytes + self.ops.len() * (HEADER + 8));
        for op in &self.ops {
            request.push(packing, op.kind, &op.key, &op.value)?;
        }
        Ok(request)
    }
}

/// When a request takes effect.
#[derive(Debug)]
pub(crate) enum Condition {
    Always,
    /// The key of the first frame exists.
    Present,
    /// The key has this value (or, for `None`, does not exist).
    Equals(Box<[u8]>, Option<Bytes>),
}

/// Encoded changes on their way to the log.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) condition: Condition,
    pub(crate) frames: Vec<u8>,
    pub(crate) headers: Vec<Header>,
}

impl Request {
    pub(crate) fn new(condition: Condition) -> Self {
        Self {
            condition,
            frames: Vec::new(),
            headers: Vec::new(),
        }
    }

    pub(crate) fn push(
        &mut self,
        packing: Packing,
        kind: Kind,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), Error> {
        let packed = packing.pack(value);
        let stored = packed.as_deref().unwrap_or(value);
        let store_id = packing.store_id;
        let mut header = record::push_frame(&mut self.frames, store_id, kind, key, stored)?;
        header.packed = packed.is_some();
        if let Some(last) = self.headers.last_mut() {
            last.continues = true;
        }
        self.headers.push(header);
        Ok(())
    }

    /// Offset of each frame, its header, its key and its value.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (usize, &Header, &[u8], &[u8])> {
        let mut at = 0;
        self.headers.iter().map(move |header| {
            let start = at;
            at += header.total() as usize;
            let key = start + HEADER;
            let value = key + usize::from(header.key_len);
            let end = value + header.value_len as usize;
            (
                start,
                header,
                &self.frames[key..value],
                &self.frames[value..end],
            )
        })
    }
}
