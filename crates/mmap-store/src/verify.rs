//! Reading every byte of a store and saying what is wrong.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::chain;
use crate::checkpoint;
use crate::error::{Error, Result};
use crate::footer::Directory;
use crate::index::SHARDS;
use crate::manifest::{self, Manifest, Roots};
use crate::queue::lock;
use crate::record::HEADER;
use crate::segment::{START, Segment, decode_header};
use crate::store::Store;
use crate::telemetry::span;
use crate::walk::{Found, Gap, Walk};

/// One damaged place.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The file inside the store's directory.
    pub file: String,
    /// Where it begins, in bytes from the start of the file.
    pub offset: u64,
    /// How many bytes are affected, as far as that is known.
    pub len: u64,
    /// What is wrong.
    pub what: &'static str,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage {
            file,
            offset,
            len,
            what,
        } = self;
        write!(f, "{file}: {what}, at byte {offset} ({len} bytes)")
    }
}

impl From<Damage> for Error {
    fn from(damage: Damage) -> Self {
        Error::damaged(damage.file, damage.offset, damage.what)
    }
}

impl Damage {
    pub(crate) fn new(file: &str, offset: u64, len: u64, what: &'static str) -> Self {
        let file = file.to_owned();
        Self {
            file,
            offset,
            len,
            what,
        }
    }

    pub(crate) fn in_segment(segment: &Segment, gap: &Gap) -> Self {
        Self::new(&segment.name, gap.offset, gap.len, gap.what)
    }

    /// What an error says about `file`.
    pub(crate) fn from_error(file: &str, error: &Error) -> Self {
        match error {
            Error::Damaged { file, offset, what } => Self::new(file, *offset, 1, what),
            Error::Newer { .. } => Self::new(file, 8, 4, "the version is not one of this store"),
            Error::Unrecognised { .. } => Self::new(file, 0, 8, "the file is not of this store"),
            _ => Self::new(file, 0, 0, "the file cannot be read"),
        }
    }
}

/// What [`Store::verify`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Segments read.
    pub segments: u64,
    /// Good records, the dead ones and tombstones included.
    pub records: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Every damaged place, by file and offset.
    pub damage: Vec<Damage>,
}

impl VerifyReport {
    /// True if nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.damage.is_empty()
    }
}

impl Store {
    /// Reads every byte of the store as it lies on disk and lists every damaged place. Runs beside
    /// readers and writers; O(bytes on disk).
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be read at all. Damage is no error.
    pub fn verify(&self) -> Result<VerifyReport> {
        span!("mmap_store.verify");
        let mut report = VerifyReport::default();
        let inner = &self.inner;
        let (members, roots) = {
            // The writer neither seals nor compacts while the small files are looked at.
            let writer = lock(&inner.writer);
            // A reader's own may be older than what the writer left of the files.
            let mut roots = writer.manifest.roots;
            match Manifest::load(&*inner.storage) {
                Ok(Some(manifest)) => roots = manifest.roots,
                Ok(None) => report.damage.push(missing_manifest()),
                Err(e) => report.damage.push(Damage::from_error(manifest::NAME, &e)),
            }
            (self.expected(&writer.manifest), roots)
        };
        if roots.newest != 0 {
            self.verify_index(roots, &mut report);
        }
        for (segment, len) in &members {
            report.segments += 1;
            verify_segment(inner.store_id, segment, *len, &mut report)?;
        }
        report
            .damage
            .sort_by(|a, b| (&a.file, a.offset).cmp(&(&b.file, b.offset)));
        report.damage.dedup();
        Ok(report)
    }

    /// The segments with the length that each must have at least.
    fn expected(&self, manifest: &Manifest) -> Vec<(Arc<Segment>, u64)> {
        let known: HashMap<u32, u64> = manifest.members.iter().map(|m| (m.id, m.len)).collect();
        let members = self.inner.view.load().members.clone();
        members
            .into_iter()
            .map(|s| {
                (
                    Arc::clone(&s),
                    s.tail().max(known.get(&s.id).copied().unwrap_or(0)),
                )
            })
            .collect()
    }

    fn verify_index(&self, roots: Roots, report: &mut VerifyReport) {
        let inner = &self.inner;
        let mut found = Vec::new();
        match chain::open_files(&*inner.storage, roots, inner.store_id) {
            Err(e) => found.push(Damage::from_error(&checkpoint::file_name(roots.newest), &e)),
            Ok(files) => {
                for file in &files {
                    report.bytes += file.len;
                    let parts = (0..SHARDS).map(|shard| file.check(shard));
                    let bad = parts.filter_map(Result::err);
                    found.extend(bad.map(|e| Damage::from_error(file.name(), &e)));
                }
            }
        }
        // Files that were replaced meanwhile are no damage.
        let now = match Manifest::load(&*inner.storage) {
            Ok(Some(manifest)) => manifest.roots,
            _ => lock(&inner.writer).manifest.roots,
        };
        if now == roots {
            report.damage.extend(found);
        }
    }
}

fn missing_manifest() -> Damage {
    Damage::new(manifest::NAME, 0, 0, "the manifest is missing")
}

fn verify_segment(
    store_id: u64,
    segment: &Arc<Segment>,
    tail: u64,
    report: &mut VerifyReport,
) -> Result<()> {
    let size = segment
        .file
        .size()
        .map_err(|e| Error::io("measure", segment.name.as_str(), e))?;
    let damage = &mut report.damage;
    match decode_header(&*segment.file, &segment.name) {
        Ok(head) if head == (store_id, segment.id, segment.base_seq) => {}
        Ok(_) => damage.push(Damage::new(
            &segment.name,
            0,
            START,
            "the header names another segment",
        )),
        Err(e @ Error::Io { .. }) => return Err(e),
        Err(e) => damage.push(Damage::from_error(&segment.name, &e)),
    }
    if size < tail {
        damage.push(Damage::new(
            &segment.name,
            size,
            tail - size,
            "the file ends too early",
        ));
    } else if segment.sealed && size > tail {
        damage.push(Damage::new(
            &segment.name,
            tail,
            size - tail,
            "bytes behind the end",
        ));
    }
    let end = segment.records_end().min(size);
    let mut walk = Walk::new(segment, START, end, end);
    while let Some(found) = walk.next()? {
        match found {
            Found::Record(..) => report.records += 1,
            Found::Damage(gap) => report.damage.push(Damage::in_segment(segment, &gap)),
        }
    }
    report.bytes += tail.min(size);
    verify_footer(segment, report)
}

fn verify_footer(segment: &Segment, report: &mut VerifyReport) -> Result<()> {
    let at = segment.footer_at;
    if at == 0 {
        return Ok(());
    }
    let before = report.damage.len();
    match Directory::load(segment)? {
        Some(directory) => {
            for block in 0..directory.blocks() {
                match directory.read(segment, block) {
                    Err(e @ Error::Io { .. }) => return Err(e),
                    Err(e) => report.damage.push(Damage::from_error(&segment.name, &e)),
                    Ok(_) => {}
                }
            }
        }
        None => {
            let len = segment.tail() - at;
            report.damage.push(Damage::new(
                &segment.name,
                at,
                len,
                "the footer fails its check",
            ));
        }
    }
    if report.damage.len() > before {
        return Ok(());
    }
    // The check over the whole footer also sees what no block covers.
    let frame = segment.bytes(at, (segment.tail() - at).max(HEADER as u64))?;
    if let Err(e) = segment.check(at, frame, segment.tail()) {
        report.damage.push(Damage::from_error(&segment.name, &e));
    }
    Ok(())
}
