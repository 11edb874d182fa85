//! Whether a file is still what was read, told from one `stat`.
//!
//! The content decides, by its hash. A `stat` may stand for it only where it cannot lie: size, inode,
//! modification and change time must be the recorded ones, **and** the file must have been at rest
//! for longer than the clock of the file system is coarse when it was read. A file that was read
//! within that window of its last change could be written once more within the same tick, at the
//! same size, and its `stat` would not tell (git calls such entries racily clean); so its signature
//! is not trusted, and the next look-up reads the file again and compares the hash.

#[cfg(any(not(target_os = "linux"), test))]
use std::fs::Metadata;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

/// What one `stat` says about a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Signature {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) size: u64,
    /// Nanoseconds since 1970.
    pub(crate) modified: i64,
    /// Nanoseconds since 1970; unlike the modification time nobody can set it at will.
    pub(crate) changed: i64,
}

#[cfg(any(not(target_os = "linux"), test))]
impl Signature {
    #[cfg(unix)]
    pub(crate) fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        let nanos =
            |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: nanos(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanos(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    #[cfg(not(unix))]
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let since_epoch =
            |time: std::time::SystemTime| time.duration_since(std::time::UNIX_EPOCH).ok();
        let modified = metadata
            .modified()
            .ok()
            .and_then(since_epoch)
            .map_or(0, nanos_of);
        Self {
            size: metadata.len(),
            modified,
            changed: modified,
            ..Self::default()
        }
    }
}

/// A duration as nanoseconds, saturating.
pub(crate) fn nanos_of(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// What is known of a file's content, and when it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) signature: Signature,
    /// Hash of the content.
    pub(crate) content: u64,
    /// The clock before the file was read, nanoseconds since 1970.
    pub(crate) observed: i64,
}

impl Known {
    /// Whether `now` proves that the content is unchanged.
    pub(crate) fn proves(&self, now: &Signature, racy_window: i64) -> bool {
        let newest = self.signature.modified.max(self.signature.changed);
        *now == self.signature && newest.saturating_add(racy_window) < self.observed
    }
}

/// The hash that stands for a content.
pub(crate) fn content_hash(content: &[u8]) -> u64 {
    xxh3_64(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn a_stat_proves_only_what_was_at_rest_when_it_was_read() {
        let signature = Signature {
            size: 3,
            modified: 10 * SECOND,
            changed: 10 * SECOND,
            ..Signature::default()
        };
        let read_at = |observed| Known {
            signature,
            content: 0,
            observed,
        };
        assert!(read_at(13 * SECOND).proves(&signature, 2 * SECOND));
        assert!(
            !read_at(12 * SECOND).proves(&signature, 2 * SECOND),
            "still inside the window"
        );
        assert!(
            !read_at(9 * SECOND).proves(&signature, 2 * SECOND),
            "a time stamp from the future proves nothing"
        );
        let changes = [
            Signature {
                size: 4,
                ..signature
            },
            Signature {
                inode: 1,
                ..signature
            },
            Signature {
                device: 1,
                ..signature
            },
            Signature {
                modified: 11 * SECOND,
                ..signature
            },
            Signature {
                changed: 11 * SECOND,
                ..signature
            },
        ];
        assert!(
            changes
                .iter()
                .all(|changed| !read_at(99 * SECOND).proves(changed, 2 * SECOND))
        );
        let limit = Signature {
            modified: i64::MAX,
            ..signature
        };
        assert!(
            !Known {
                signature: limit,
                content: 0,
                observed: i64::MAX
            }
            .proves(&limit, i64::MAX)
        );
    }
}
