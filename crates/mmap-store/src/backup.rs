//! Copies of a store while it runs.

use std::path::Path;
use std::sync::Arc;

use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::manifest::{Manifest, Member, Roots};
use crate::queue::lock;
use crate::segment::{LiveBytes, Segment, file_name};
use crate::storage::{Access, Storage, StorageFile, write_all};
use crate::store::Store;

const CHUNK: u64 = 1 << 20;

impl Store {
    /// Copies the store, as it is at one instant, into an empty (or new) directory. Readers and
    /// writers go on; O(bytes of log). The copy is durable when this returns.
    ///
    /// # Errors
    /// [`Error::Io`], of kind `AlreadyExists` when there is a store in `dest`. A damaged place is
    /// copied as it is.
    pub fn backup(&self, dest: impl AsRef<Path>) -> Result<()> {
        self.backup_to(&Directory::new(dest))
    }

    /// As [`backup`](Self::backup), into any [`Storage`].
    ///
    /// # Errors
    /// As [`backup`](Self::backup).
    pub fn backup_to(&self, dest: &dyn Storage) -> Result<()> {
        let guard = dest
            .lock(true)
            .map_err(|e| Error::io("lock", "the backup's directory", e))?
            .ok_or(Error::Locked)?;
        let names = dest
            .list()
            .map_err(|e| Error::io("list", "the backup's directory", e))?;
        if names.iter().any(|n| n != "LOCK") {
            let exists = std::io::ErrorKind::AlreadyExists.into();
            return Err(Error::io(
                "back up into",
                "a directory that is not empty",
                exists,
            ));
        }
        let (segments, mut manifest) = self.instant();
        for (segment, tail) in &segments {
            copy(segment, *tail, dest, &file_name(segment.id))?;
            manifest.members.push(Member {
                id: segment.id,
                sealed: segment.sealed,
                len: *tail,
                footer_at: segment.footer_at,
                base_seq: segment.base_seq,
                live: LiveBytes::default(),
            });
        }
        dest.sync_dir()
            .map_err(|e| Error::io("sync", "the backup's directory", e))?;
        manifest.publish(dest).map_err(|(e, _)| e)?;
        drop(guard);
        Ok(())
    }

    fn instant(&self) -> (Vec<(Arc<Segment>, u64)>, Manifest) {
        let writer = lock(&self.inner.writer);
        let members = self.inner.view.load().members.clone();
        let segments = members
            .into_iter()
            .map(|s| (Arc::clone(&s), s.tail()))
            .collect();
        let manifest = Manifest {
            store_id: self.inner.store_id,
            generation: 1,
            next_seq: writer.next_seq,
            next_segment: writer.manifest.next_segment,
            roots: Roots::default(),
            members: Vec::new(),
        };
        (segments, manifest)
    }
}

/// Copies the first `tail` bytes of a segment into a file of `dest`, durably but for its name.
pub(crate) fn copy(segment: &Segment, tail: u64, dest: &dyn Storage, name: &str) -> Result<()> {
    let io = |e| Error::io("copy", name, e);
    let file: Arc<dyn StorageFile> = dest.open(name, Access::Create).map_err(io)?;
    let mut at = 0;
    while at < tail {
        let bytes = segment.bytes(at, CHUNK.min(tail - at))?;
        if bytes.is_empty() {
            break;
        }
        write_all(&*file, &bytes, at).map_err(io)?;
        at += bytes.len() as u64;
    }
    file.sync().map_err(io)
}
