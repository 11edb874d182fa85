use bytes::Bytes;

use crate::error::{Error, Result};
use crate::packing::Packing;
use crate::record::{self, HEADER, Header, Kind, hash_key};

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
    /// As they will lie in the log, but for what only the store can say.
    frames: Vec<u8>,
    headers: Vec<Header>,
    /// What a key or value was refused for.
    refused: Option<Error>,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key with its value, copied. A later change of the same key in this batch wins.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> &mut Self {
        self.push(Kind::Put, key, value)
    }

    /// As [`put`](Self::put), for a value that is at hand as [`Bytes`].
    pub fn put_bytes(&mut self, key: &[u8], value: Bytes) -> &mut Self {
        self.push(Kind::Put, key, &value)
    }

    /// Adds the removal of a key. It need not exist.
    pub fn delete(&mut self, key: &[u8]) -> &mut Self {
        self.push(Kind::Delete, key, &[])
    }

    fn push(&mut self, kind: Kind, key: &[u8], value: &[u8]) -> &mut Self {
        match record::push_frame(&mut self.frames, kind, key, value) {
            Ok(header) => self.headers.push(header),
            Err(error) => {
                self.refused.get_or_insert(error);
            }
        }
        self
    }

    /// Number of changes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.headers.len() + usize::from(self.refused.is_some())
    }

    /// True if there is no change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn request(self, packing: Packing) -> Result<Request> {
        if let Some(refused) = self.refused {
            return Err(refused);
        }
        let mut request = Request {
            condition: Condition::Always,
            frames: self.frames,
            headers: self.headers,
        };
        if request.parts().any(|(.., value)| packing.applies(value)) {
            return request.packed(packing);
        }
        request.complete(packing.store_id);
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
        let mut header = record::push_frame(&mut self.frames, kind, key, stored)?;
        header.packed = packed.is_some();
        header.hash = hash_key(packing.store_id, key);
        if let Some(last) = self.headers.last_mut() {
            last.continues = true;
        }
        self.headers.push(header);
        Ok(())
    }

    /// The same with its large values compressed.
    fn packed(&self, packing: Packing) -> Result<Self> {
        let mut packed = Self::new(Condition::Always);
        for (_, header, key, value) in self.parts() {
            packed.push(packing, header.kind, key, value)?;
        }
        Ok(packed)
    }

    /// Fills in what [`push`](Self::push) would have known.
    fn complete(&mut self, store_id: u64) {
        let mut at = HEADER;
        let last = self.headers.len().saturating_sub(1);
        for (i, header) in self.headers.iter_mut().enumerate() {
            let key = &self.frames[at..at + usize::from(header.key_len)];
            header.hash = hash_key(store_id, key);
            header.continues = i != last;
            at += header.total() as usize;
        }
    }

    /// Bytes of keys and values, as they will lie in the log.
    pub(crate) fn bytes(&self) -> u64 {
        self.headers.iter().map(|h| h.bytes().payload).sum()
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
