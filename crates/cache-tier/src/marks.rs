//! The log of invalidations that a directory tier keeps beside its entries.

use crate::error::Error;
use crate::label::Label;
use crate::tier::Marks;
use hashbrown::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

const RECORD: usize = 32;
const MARK: u64 = 1;
const FLOOR: u64 = 2;
/// Records after which the log is written anew with one record per label.
const COMPACT_AT: usize = 65_536;
/// A longer log than this was not written by this program.
const LONGEST: u64 = 4 * (COMPACT_AT * RECORD) as u64;
/// No invalidation has a later time than this: a log that says so was not written by this program.
const LATEST: u64 = 1 << 62;
/// How far ahead the clock is noted, so that it is noted seldom.
const AHEAD: u64 = 4_096;
/// Labels kept then; the older ones are folded into the floor.
const KEPT: usize = 32_768;

/// An append-only file of 32-byte records, integers little-endian: kind (1 mark, 2 floor), label (0 for a
/// floor), epoch, XXH3-64 of the 24 bytes before.
#[derive(Debug)]
pub(crate) struct MarkLog {
    path: PathBuf,
    file: File,
    records: usize,
    sync: bool,
    known: HashMap<Label, u64, foldhash::fast::RandomState>,
    floor: u64,
    latest: u64,
    /// The log was removed, so that the next process drops what this one could not invalidate.
    distrusted: bool,
}

impl MarkLog {
    /// Opens the log. When it is missing or damaged, entries may have been invalidated without our knowing
    /// it: `distrust` removes them, and before it has, the log is left as it is.
    pub(crate) fn open(
        path: &Path,
        sync: bool,
        distrust: impl Fn() -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let mut bytes = Vec::new();
        match File::open(path) {
            Ok(file) => {
                file.take(LONGEST + 1)
                    .read_to_end(&mut bytes)
                    .map_err(|e| Error::io("read the log of invalidations", e))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => distrust()?,
            Err(error) => return Err(Error::io("open the log of invalidations", error)),
        }
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(|e| Error::io("open the log of invalidations", e))?;
        let mut log = Self {
            path: path.to_owned(),
            file,
            records: 0,
            sync,
            known: HashMap::default(),
            floor: 0,
            latest: 0,
            distrusted: false,
        };
        if !log.replay(&bytes) || bytes.len() as u64 > LONGEST {
            distrust()?;
            log.rewrite()?;
        }
        Ok(log)
    }

    /// Takes the records over; false when any byte is not part of a sound one.
    fn replay(&mut self, bytes: &[u8]) -> bool {
        let (records, rest) = bytes.as_chunks::<RECORD>();
        let mut sound = rest.is_empty();
        for record in records {
            let [kind, label, epoch, sum] = fields(record);
            let known = matches!(kind, MARK | FLOOR) && epoch <= LATEST;
            if sum != xxh3_64(&record[..24]) || !known {
                sound = false;
                continue;
            }
            self.records += 1;
            self.latest = self.latest.max(epoch);
            if kind == FLOOR {
                self.floor = self.floor.max(epoch);
            } else {
                let known = self.known.entry(Label::from_u64(label)).or_insert(0);
                *known = (*known).max(epoch);
            }
        }
        sound
    }

    pub(crate) fn append(&mut self, labels: &[Label], epoch: u64) -> Result<(), Error> {
        for labels in labels.chunks(COMPACT_AT) {
            self.append_some(labels, epoch)?;
        }
        Ok(())
    }

    /// Notes that the clock came to this time, so that it does not start below it again: an entry that was born
    /// after an invalidation cannot be told from one that it makes stale.
    pub(crate) fn reach(&mut self, epoch: u64) -> Result<(), Error> {
        if epoch <= self.latest {
            return Ok(());
        }
        self.append(&[Label::from_u64(0)], epoch.saturating_add(AHEAD))
    }

    /// Removes the log: entries without one are dropped when the tier is opened.
    pub(crate) fn distrust(&mut self) -> Result<(), Error> {
        let failed = |error| Error::io("remove the log of invalidations", error);
        self.distrusted = true;
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
            _ if self.sync => sync_folder(&self.path).map_err(failed),
            _ => Ok(()),
        }
    }

    /// Writes the log again, once every entry was dropped.
    pub(crate) fn mend(&mut self) -> Result<(), Error> {
        if self.distrusted {
            self.rewrite()?;
            self.distrusted = false;
        }
        Ok(())
    }

    fn append_some(&mut self, labels: &[Label], epoch: u64) -> Result<(), Error> {
        if self.distrusted {
            return Err(Error::Unavailable {
                what: "an invalidation could not be noted, and the entries were not dropped yet",
            });
        }
        let mut bytes = Vec::with_capacity(labels.len() * RECORD);
        for label in labels {
            bytes.extend_from_slice(&record(MARK, label.to_u64(), epoch));
        }
        self.file
            .write_all(&bytes)
            .map_err(|e| Error::io("note an invalidation", e))?;
        if self.sync {
            self.file
                .sync_data()
                .map_err(|e| Error::io("note an invalidation durably", e))?;
        }
        self.latest = self.latest.max(epoch);
        self.records += labels.len();
        for label in labels {
            let known = self.known.entry(*label).or_insert(0);
            *known = (*known).max(epoch);
        }
        if self.records > COMPACT_AT {
            self.fold();
            self.rewrite()?;
        }
        Ok(())
    }

    /// Forgets the oldest labels for a higher floor, where there are too many.
    fn fold(&mut self) {
        if self.known.len() <= KEPT {
            return;
        }
        let mut epochs: Vec<u64> = self.known.values().copied().collect();
        let drop = epochs.len() - KEPT;
        let cut = *epochs.select_nth_unstable(drop - 1).1;
        self.known.retain(|_, epoch| *epoch > cut);
        self.floor = self.floor.max(cut);
    }

    /// Writes the log anew, one record per label, beside the old one, and puts it in its place.
    fn rewrite(&mut self) -> Result<(), Error> {
        let beside = self.path.with_extension("new");
        let mut bytes = Vec::with_capacity((self.known.len() + 1) * RECORD);
        bytes.extend_from_slice(&record(FLOOR, 0, self.floor));
        for (label, epoch) in &self.known {
            bytes.extend_from_slice(&record(MARK, label.to_u64(), *epoch));
        }
        let write = || {
            let mut file = File::create(&beside)?;
            file.write_all(&bytes)?;
            file.sync_data()?;
            fs::rename(&beside, &self.path)?;
            if self.sync {
                sync_folder(&self.path)?;
            }
            OpenOptions::new().append(true).open(&self.path)
        };
        self.file = write().map_err(|e| Error::io("write the log of invalidations anew", e))?;
        self.records = self.known.len() + 1;
        Ok(())
    }

    pub(crate) fn marks(&self) -> Marks {
        Marks {
            marks: self
                .known
                .iter()
                .map(|(label, epoch)| (*label, *epoch))
                .collect(),
            floor: self.floor,
            latest: self.latest,
        }
    }
}

/// A file that was renamed is found after a power cut once its folder is on the disk.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if cfg!(unix) && !folder.as_os_str().is_empty() => {
            File::open(folder)?.sync_all()
        }
        _ => Ok(()),
    }
}

fn record(kind: u64, label: u64, epoch: u64) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record[..8].copy_from_slice(&kind.to_le_bytes());
    record[8..16].copy_from_slice(&label.to_le_bytes());
    record[16..24].copy_from_slice(&epoch.to_le_bytes());
    let sum = xxh3_64(&record[..24]);
    record[24..].copy_from_slice(&sum.to_le_bytes());
    record
}

fn fields(record: &[u8; RECORD]) -> [u64; 4] {
    let (words, _) = record.as_chunks::<8>();
    [0, 1, 2, 3].map(|index| u64::from_le_bytes(words[index]))
}
