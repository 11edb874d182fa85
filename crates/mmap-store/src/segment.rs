//! One file of the log and how a record is read from it.

use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::check::crc32c;
use bytes::{Buf, Bytes};

use crate::error::{Error, Result};
use crate::footer::Directory;
use crate::packing::unpack;
use crate::place::Place;
use crate::record::{self, HEADER, Header, le32, le64};
use crate::stats;
use crate::storage::{StorageFile, read_full};

const MAGIC: &[u8; 8] = b"MSTORSEG";
const VERSION: u32 = 1;
/// Length of the segment's header: where the first record begins.
pub(crate) const START: u64 = 64;

/// Records up to this length are read by way of [`SCRATCH`].
const SMALL: u64 = 4096;
/// Of a mapped record, so much is touched before it is looked at: the processor follows from there.
const AHEAD: usize = 2048;
const LINE: usize = 64;
const CONTENTS: &str = "a record's contents fail their check";

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

pub(crate) fn file_name(id: u32) -> String {
    format!("{id:08}.seg")
}

pub(crate) fn parse_name(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".seg")?;
    let id = digits.parse().ok()?;
    (file_name(id) == name && id > 0).then_some(id)
}

pub(crate) fn encode_header(store_id: u64, id: u32, base_seq: u64) -> [u8; START as usize] {
    let mut bytes = [0; START as usize];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..16].copy_from_slice(&id.to_le_bytes());
    bytes[16..24].copy_from_slice(&store_id.to_le_bytes());
    bytes[24..32].copy_from_slice(&base_seq.to_le_bytes());
    let check = crc32c(&bytes[..60]);
    bytes[60..].copy_from_slice(&check.to_le_bytes());
    bytes
}

/// What a segment's header says: store, segment, first record number.
pub(crate) fn decode_header(file: &dyn StorageFile, name: &str) -> Result<(u64, u32, u64)> {
    let mut bytes = [0; START as usize];
    let read =
        read_full(file, &mut bytes, 0).map_err(|e| Error::io("read the header of", name, e))?;
    if read < bytes.len() {
        return Err(Error::damaged(
            name,
            read as u64,
            "the segment's header is cut short",
        ));
    }
    if crc32c(&bytes[..60]) != le32(&bytes, 60) {
        return Err(Error::damaged(
            name,
            0,
            "the segment's header fails its check",
        ));
    }
    if &bytes[..8] != MAGIC {
        return Err(Error::Unrecognised { file: name.into() });
    }
    match le32(&bytes, 8) {
        VERSION => Ok((le64(&bytes, 16), le32(&bytes, 12), le64(&bytes, 24))),
        found => Err(Error::Newer {
            file: name.into(),
            found,
            supported: VERSION,
        }),
    }
}

#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) file: Arc<dyn StorageFile>,
    pub(crate) salt: u32,
    pub(crate) base_seq: u64,
    /// Everything before this offset may be read.
    tail: AtomicU64,
    pub(crate) sealed: bool,
    /// Where the sorted footer lies in a sealed segment; 0 when it has none.
    pub(crate) footer_at: u64,
    /// What the index points at. Outlives the change from active to sealed.
    pub(crate) live: Arc<Live>,
    /// Some of it was found unreadable.
    pub(crate) flawed: AtomicBool,
    pub(crate) map: Option<Bytes>,
    pub(crate) directory: OnceLock<Option<Arc<Directory>>>,
}

/// What is known about a segment before it is opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) store_id: u64,
    pub(crate) id: u32,
    pub(crate) base_seq: u64,
    pub(crate) tail: u64,
    pub(crate) sealed: bool,
    pub(crate) footer_at: u64,
    pub(crate) live: LiveBytes,
}

/// Bytes of live records, and of the keys and values in them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LiveBytes {
    pub(crate) records: u64,
    pub(crate) payload: u64,
}

/// [`LiveBytes`] as they change.
#[derive(Debug, Default)]
pub(crate) struct Live {
    records: AtomicU64,
    payload: AtomicU64,
}

impl Live {
    pub(crate) fn get(&self) -> LiveBytes {
        LiveBytes {
            records: stats::get(&self.records),
            payload: stats::get(&self.payload),
        }
    }

    pub(crate) fn add(&self, bytes: LiveBytes) {
        stats::add(&self.records, bytes.records);
        stats::add(&self.payload, bytes.payload);
    }

    pub(crate) fn subtract(&self, bytes: LiveBytes) {
        stats::subtract(&self.records, bytes.records);
        stats::subtract(&self.payload, bytes.payload);
    }
}

/// One record that passed its checks.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) header: Header,
    frame: Bytes,
}

impl Record {
    pub(crate) fn new(header: Header, frame: Bytes) -> Self {
        Self { header, frame }
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.frame[HEADER..HEADER + usize::from(self.header.key_len)]
    }

    pub(crate) fn frame(&self) -> &[u8] {
        &self.frame
    }

    /// The bytes of the value as they lie there; they keep the record's memory.
    fn into_stored(mut self) -> Bytes {
        let start = HEADER + usize::from(self.header.key_len);
        self.frame.truncate(start + self.header.value_len as usize);
        self.frame.advance(start);
        self.frame
    }
}

impl Segment {
    pub(crate) fn new(file: Arc<dyn StorageFile>, origin: Origin, map: Option<Bytes>) -> Self {
        Self {
            id: origin.id,
            name: file_name(origin.id),
            file,
            salt: record::salt(origin.store_id, origin.id),
            base_seq: origin.base_seq,
            tail: AtomicU64::new(origin.tail),
            sealed: origin.sealed,
            footer_at: origin.footer_at,
            live: Arc::new(Live {
                records: AtomicU64::new(origin.live.records),
                payload: AtomicU64::new(origin.live.payload),
            }),
            flawed: AtomicBool::new(false),
            map,
            directory: OnceLock::new(),
        }
    }

    /// The same file after its last record: `footer_at` is where its footer was written.
    pub(crate) fn seal(&self, footer_at: u64, tail: u64, map: Option<Bytes>) -> Self {
        Self {
            id: self.id,
            name: self.name.clone(),
            file: Arc::clone(&self.file),
            salt: self.salt,
            base_seq: self.base_seq,
            tail: AtomicU64::new(tail),
            sealed: true,
            footer_at,
            live: Arc::clone(&self.live),
            flawed: AtomicBool::new(self.flawed.load(Ordering::Relaxed)),
            map,
            directory: OnceLock::new(),
        }
    }

    pub(crate) fn tail(&self) -> u64 {
        self.tail.load(Ordering::Acquire)
    }

    pub(crate) fn set_tail(&self, tail: u64) {
        self.tail.store(tail, Ordering::Release);
    }

    /// Where the records end: at the footer, or at the tail.
    pub(crate) fn records_end(&self) -> u64 {
        match self.footer_at {
            0 => self.tail(),
            at => at,
        }
    }

    /// The index points at this record no more; without its header, by the bound of its length.
    pub(crate) fn forget(&self, place: Place, header: Option<&Header>) {
        let bytes = header.map(Header::bytes).unwrap_or(LiveBytes {
            records: place.length_bound(),
            payload: 0,
        });
        self.live.subtract(bytes);
    }

    pub(crate) fn damaged(&self, offset: u64, what: &'static str) -> Error {
        Error::damaged(self.name.as_str(), offset, what)
    }

    /// Up to `len` bytes at `offset`: fewer only where the file ends.
    pub(crate) fn bytes(&self, offset: u64, len: u64) -> Result<Bytes> {
        if let Some(map) = &self.map {
            let end = (offset + len).min(map.len() as u64);
            return Ok(map.slice(offset.min(end) as usize..end as usize));
        }
        let mut buffer = Vec::with_capacity(len as usize);
        let read = self.file.read_to(&mut buffer, len as usize, offset);
        read.map_err(|e| Error::io("read", self.name.as_str(), e))?;
        Ok(Bytes::from(buffer))
    }

    /// The record at `place`, checked: one read of the file, none when it is mapped.
    pub(crate) fn read(&self, place: Place) -> Result<Record> {
        let (offset, tail) = (place.offset(), self.tail());
        let frame = self.bytes(offset, self.room(place, tail)?)?;
        self.check(offset, frame, tail)
    }

    /// How much of the file the record at `place` takes at most.
    fn room(&self, place: Place, tail: u64) -> Result<u64> {
        let offset = place.offset();
        match offset + HEADER as u64 > tail {
            true => Err(self.damaged(offset, "the file ends before this record")),
            false => Ok(place.length_bound().min(tail - offset)),
        }
    }

    /// The header that `frame` begins with.
    fn header(&self, frame: &[u8], offset: u64, tail: u64) -> Result<Header> {
        let header = Header::decode(frame, self.salt, offset)
            .ok_or_else(|| self.damaged(offset, "a record's header fails its check"))?;
        match header.total() > tail - offset {
            true => Err(self.damaged(offset, "a record runs past the end of the file")),
            false => Ok(header),
        }
    }

    /// The value of the record at `place`, which is checked; `None` when it is of another key.
    pub(crate) fn find(&self, place: Place, key: &[u8]) -> Result<Option<Bytes>> {
        match &self.map {
            Some(map) => self.find_mapped(map, place, key),
            None if place.length_bound() <= SMALL => self.find_small(place, key),
            None => self.find_large(place, key),
        }
    }

    fn find_large(&self, place: Place, key: &[u8]) -> Result<Option<Bytes>> {
        let record = self.read(place)?;
        match record.key() == key {
            true => self.value_of(record, place.offset()).map(Some),
            false => Ok(None),
        }
    }

    fn find_mapped(&self, map: &Bytes, place: Place, key: &[u8]) -> Result<Option<Bytes>> {
        let (offset, tail) = (place.offset(), self.tail());
        let start = offset.min(map.len() as u64) as usize;
        let end = (offset + self.room(place, tail)?).min(map.len() as u64) as usize;
        let frame = &map[start..end.max(start)];
        touch(frame);
        let own = |value: Range<usize>| map.slice(start + value.start..start + value.end);
        self.find_in(frame, place, tail, key, own)
    }

    /// As [`find`](Self::find), by way of memory that the thread keeps: what the caller is given
    /// then is the value alone, which allocators serve sooner.
    fn find_small(&self, place: Place, key: &[u8]) -> Result<Option<Bytes>> {
        // Where the thread is ending, it is gone.
        let mut scratch = SCRATCH.try_with(Cell::take).unwrap_or_default();
        scratch.resize(SMALL as usize, 0);
        let found = self.find_by(&mut scratch, place, key);
        let _ = SCRATCH.try_with(|kept| kept.set(scratch));
        found
    }

    fn find_by(&self, scratch: &mut [u8], place: Place, key: &[u8]) -> Result<Option<Bytes>> {
        let (offset, tail) = (place.offset(), self.tail());
        let frame = &mut scratch[..self.room(place, tail)? as usize];
        let read = read_full(&*self.file, frame, offset);
        let read = read.map_err(|e| Error::io("read", self.name.as_str(), e))?;
        let frame = &frame[..read];
        let own = |value: Range<usize>| Bytes::copy_from_slice(&frame[value]);
        self.find_in(frame, place, tail, key, own)
    }

    /// As [`find`](Self::find), in the bytes at `place`, of which `own` makes some the caller's.
    fn find_in(
        &self,
        frame: &[u8],
        place: Place,
        tail: u64,
        key: &[u8],
        own: impl FnOnce(Range<usize>) -> Bytes,
    ) -> Result<Option<Bytes>> {
        let offset = place.offset();
        let header = self.header(frame, offset, tail)?;
        if header.total() > frame.len() as u64 {
            // The place understated it, which only damage brings about.
            return self.find_large(place, key);
        }
        if !header.body_is_good(frame) {
            return Err(self.damaged(offset, CONTENTS));
        }
        let start = HEADER + usize::from(header.key_len);
        let value = start..start + header.value_len as usize;
        match (&frame[HEADER..start] == key, header.packed) {
            (false, _) => Ok(None),
            (true, true) => unpack(&frame[value], |what| self.damaged(offset, what)).map(Some),
            (true, false) => Ok(Some(own(value))),
        }
    }

    /// The value of a record of this segment.
    pub(crate) fn value_of(&self, record: Record, offset: u64) -> Result<Bytes> {
        match record.header.packed {
            true => unpack(&record.into_stored(), |what| self.damaged(offset, what)),
            false => Ok(record.into_stored()),
        }
    }

    /// The key and the value of a record of this segment.
    pub(crate) fn pair_of(&self, record: Record, offset: u64) -> Result<(Bytes, Bytes)> {
        let end = HEADER + usize::from(record.header.key_len);
        let key = record.frame.slice(HEADER..end);
        Ok((key, self.value_of(record, offset)?))
    }

    /// The header of the record at `place` (`None` when it fails its check) and the `len` bytes
    /// behind it, which are not checked.
    pub(crate) fn read_head(&self, place: Place, len: usize) -> Result<Option<(Header, Bytes)>> {
        let bytes = self.bytes(place.offset(), (HEADER + len) as u64)?;
        let header = Header::decode(&bytes, self.salt, place.offset());
        Ok(header.map(|h| (h, bytes.slice(HEADER..))))
    }

    pub(crate) fn check(&self, offset: u64, frame: Bytes, tail: u64) -> Result<Record> {
        let header = self.header(&frame, offset, tail)?;
        let total = header.total();
        let mut frame = frame;
        match frame.len() as u64 >= total {
            true => frame.truncate(total as usize),
            false => frame = self.bytes(offset, total)?,
        }
        match header.body_is_good(&frame) {
            true => Ok(Record::new(header, frame)),
            false => Err(self.damaged(offset, CONTENTS)),
        }
    }
}

/// Has the memory of a record come closer, all lines of it at once: one after the other, its header,
/// whose length the rest waits for, and its contents would each cost such a wait.
fn touch(frame: &[u8]) {
    let lines = frame[..frame.len().min(AHEAD)].iter().step_by(LINE);
    std::hint::black_box(lines.fold(0, |all, byte| all ^ byte));
}
