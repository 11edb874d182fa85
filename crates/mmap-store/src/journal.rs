//! What the index owes the disk: the changes since its last file, and the files that make it up.

use crate::checkpoint::{self, IndexFile, Title, file_name};
use crate::error::{Error, Result};
use crate::index::Index;
use crate::manifest::{Manifest, Roots};
use crate::segment::LiveBytes;
use crate::storage::Storage;
use crate::table::Change;

/// A file of at least this size is built upon; a smaller one is replaced by the next.
const FIRM: u64 = 256 << 10;
/// Files are merged once there are more.
const MANY: usize = 48;
/// Files are merged once the newer ones have half the size of the oldest, and this.
const SLACK: u64 = 1 << 20;

/// A file of the index.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    /// What the next file calls its predecessor.
    pub(crate) number: u32,
    /// The number in the file's own name.
    pub(crate) file: u32,
    pub(crate) bytes: u64,
}

/// A file that was written and that no manifest names yet.
#[derive(Debug)]
pub(crate) struct Saved {
    file: Known,
    whole: bool,
    /// The changes that are in it.
    changes: usize,
}

#[derive(Debug)]
pub(crate) struct Journal {
    /// Since the last of `files`; `None` when they are not known, so that the next file must be whole.
    changes: Option<Vec<Change>>,
    /// Oldest first.
    pub(crate) files: Vec<Known>,
    /// A small newest file, which the next replaces, and how many of `changes` it holds.
    loose: Option<(u32, usize)>,
    /// The file that is being written beside the writers. It holds the first of `changes`.
    pending: Option<u32>,
    next: u32,
}

/// A file of the index that is still to be written, as of one moment.
#[derive(Debug)]
pub(crate) struct Draft {
    title: Title,
    changes: Vec<Change>,
}

impl Journal {
    /// For an index made of these files, or of none if it is `known` to be empty.
    pub(crate) fn new(files: &[IndexFile], roots: Roots, known: bool) -> Self {
        let stands_for = |number| match number == roots.base {
            true => roots.base_of,
            false => number,
        };
        let files = files.iter().map(|file| Known {
            number: stands_for(file.title.number),
            file: file.title.number,
            bytes: file.len,
        });
        Self {
            changes: known.then(Vec::new),
            files: files.collect(),
            loose: None,
            pending: None,
            next: roots.newest.max(roots.base).saturating_add(1),
        }
    }

    /// True if the index's files hold everything but what was noted since.
    pub(crate) fn is_known(&self) -> bool {
        self.changes.is_some()
    }

    /// From here on nobody knows what changed.
    pub(crate) fn forget(&mut self) {
        self.changes = None;
        self.pending = None;
    }

    pub(crate) fn note(&mut self, change: Change) {
        if let Some(changes) = &mut self.changes {
            changes.push(change);
        }
    }

    /// True if the newest file holds everything.
    pub(crate) fn is_saved(&self) -> bool {
        let saved = self.loose.map_or(0, |(_, count)| count);
        self.changes.as_ref().is_some_and(|c| c.len() == saved)
    }

    /// How many changes were noted, to come back to with [`rewind`](Self::rewind).
    pub(crate) fn mark(&self) -> usize {
        self.changes.as_ref().map_or(0, Vec::len)
    }

    pub(crate) fn rewind(&mut self, mark: usize) {
        if let Some(changes) = &mut self.changes {
            changes.truncate(mark);
        }
    }

    /// Names of all files in use.
    pub(crate) fn names(&self) -> Vec<String> {
        let files = self.files.iter().map(|f| f.file);
        let all = files.chain(self.loose.map(|(number, _)| number));
        all.map(file_name).collect()
    }

    pub(crate) fn number(&mut self) -> Result<u32> {
        let number = self.next;
        self.next = number.checked_add(1).ok_or(Error::TooLarge {
            what: "number of an index file",
            len: u64::from(u32::MAX),
            limit: u64::from(u32::MAX) - 1,
        })?;
        Ok(number)
    }

    /// Writes a file with what changed (or the whole of `index`), durably but for its name.
    pub(crate) fn save(
        &mut self,
        storage: &dyn Storage,
        store_id: u64,
        index: &Index,
    ) -> Result<Saved> {
        self.take_resolved(index)?;
        let (encoder, previous) = match &self.changes {
            Some(changes) => {
                let previous = self.files.last().map_or(0, |f| f.number);
                (checkpoint::partial(changes), previous)
            }
            None => {
                index.load_all()?;
                (checkpoint::whole(index), 0)
            }
        };
        let number = self.number()?;
        let title = Title {
            number,
            previous,
            store_id,
            keys: index.len(),
        };
        let written = encoder.write(storage, title);
        let bytes = written.inspect_err(|_| drop(storage.remove(&file_name(number))))?;
        Ok(Saved {
            file: Known {
                number,
                file: number,
                bytes,
            },
            whole: self.changes.is_none(),
            changes: self.mark(),
        })
    }

    /// What [`save`](Self::save) would write now, to be written while others go on; `None` when that
    /// would be the whole index.
    pub(crate) fn draft(&mut self, store_id: u64, index: &Index) -> Result<Option<Draft>> {
        self.take_resolved(index)?;
        let Some(changes) = self.changes.clone() else {
            return Ok(None);
        };
        let number = self.number()?;
        self.pending = Some(number);
        let title = Title {
            number,
            previous: self.files.last().map_or(0, |f| f.number),
            store_id,
            keys: index.len(),
        };
        Ok(Some(Draft { title, changes }))
    }

    /// True, once, if the file still follows what the index's files hold.
    pub(crate) fn fits(&mut self, saved: &Saved) -> bool {
        self.pending.take() == Some(saved.file.number)
    }

    /// What records that waited for their shards changed comes before what was noted since.
    pub(crate) fn take_resolved(&mut self, index: &Index) -> Result<()> {
        index.settle()?;
        let mut resolved = index.take_resolved();
        if index.is_broken() {
            self.forget();
        }
        if let Some(changes) = &mut self.changes
            && !resolved.is_empty()
        {
            resolved.append(changes);
            *changes = resolved;
            // The loose file holds none of them; its count would no longer be that of a prefix.
            self.pending = None;
            self.loose = self.loose.map(|(number, _)| (number, 0));
        }
        Ok(())
    }

    /// The manifest names the file: the names of those that it replaced.
    pub(crate) fn published(&mut self, saved: Saved, index: &Index) -> Vec<String> {
        self.pending = None;
        let mut replaced: Vec<u32> = self
            .loose
            .take()
            .map(|(number, _)| number)
            .into_iter()
            .collect();
        if saved.whole {
            replaced.extend(self.files.drain(..).map(|f| f.file));
            self.files.push(saved.file);
            self.changes = Some(Vec::new());
            index.is_whole_again();
        } else if saved.file.bytes >= FIRM {
            self.files.push(saved.file);
            if let Some(changes) = &mut self.changes {
                changes.drain(..saved.changes.min(changes.len()));
            }
        } else {
            // Folded as it is in the file: a few keys, written over and over, stay a few changes.
            let mut count = saved.changes;
            if let Some(changes) = &mut self.changes {
                let since = changes.split_off(count.min(changes.len()));
                *changes = checkpoint::fold(changes);
                count = changes.len();
                changes.extend(since);
            }
            self.loose = Some((saved.file.number, count));
        }
        replaced.into_iter().map(file_name).collect()
    }

    /// Merging the files pays.
    pub(crate) fn is_long(&self) -> bool {
        let Some((oldest, newer)) = self.files.split_first() else {
            return false;
        };
        let bytes: u64 = newer.iter().map(|f| f.bytes).sum();
        newer.len() > MANY || bytes >= oldest.bytes / 2 + SLACK
    }
}

impl Draft {
    /// Writes the file, durably but for its name.
    pub(crate) fn write(&self, storage: &dyn Storage) -> Result<Saved> {
        let number = self.title.number;
        let written = checkpoint::partial(&self.changes).write(storage, self.title);
        let bytes = written.inspect_err(|_| drop(storage.remove(&file_name(number))))?;
        Ok(Saved {
            file: Known {
                number,
                file: number,
                bytes,
            },
            whole: false,
            changes: self.changes.len(),
        })
    }
}

impl Saved {
    pub(crate) fn bytes(&self) -> u64 {
        self.file.bytes
    }

    pub(crate) fn name(&self) -> String {
        file_name(self.file.file)
    }

    /// How the manifest names it.
    pub(crate) fn roots(&self, before: Roots) -> Roots {
        let newest = self.file.number;
        match self.whole {
            true => Roots {
                newest,
                base: newest,
                base_of: newest,
            },
            false => Roots { newest, ..before },
        }
    }
}

/// Writes down for each member how far it is known, and what is alive in it.
pub(crate) fn describe(
    manifest: &mut Manifest,
    members: &[std::sync::Arc<crate::segment::Segment>],
) {
    for (member, segment) in manifest.members.iter_mut().zip(members) {
        // A sealed one keeps the length it had, even if it lost its end.
        if !segment.sealed {
            member.len = segment.tail();
        }
        // After damage the count is an estimate, which must not contradict the length.
        let live = segment.live.get();
        member.live = LiveBytes {
            records: live.records.min(member.len),
            payload: live.payload.min(member.len),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Place;

    /// However often they are written: what is kept for the next small file is one change a key.
    #[test]
    fn changes_of_few_keys_stay_few() {
        let mut journal = Journal::new(&[], Roots::default(), true);
        let index = Index::new(Vec::new(), std::sync::Arc::default());
        let place = |n: u64| Place::new(1, n * 8, 64);
        let mut old = [None; 10];
        for round in 1..500_u64 {
            for (hash, old) in old.iter_mut().enumerate() {
                let new = (round % 7 != 0).then(|| place(round * 10 + hash as u64));
                let change = Change {
                    hash: hash as u32,
                    old: *old,
                    new,
                };
                journal.note(change);
                *old = new;
            }
            let file = Known {
                number: round as u32,
                file: round as u32,
                bytes: 3000,
            };
            let saved = Saved {
                file,
                whole: false,
                changes: journal.mark(),
            };
            let _ = journal.published(saved, &index);
            assert!(journal.is_saved() && journal.mark() <= 10, "{round}");
        }
        let kept = journal.changes.unwrap();
        let kept: Vec<_> = kept.iter().map(|c| (c.hash as usize, c.new)).collect();
        assert_eq!(kept, old.into_iter().enumerate().collect::<Vec<_>>());
    }
}
