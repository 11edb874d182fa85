//! Hierarchical, canonical names of the things that tools touch.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// Deeper keys stand for their ancestor at this depth: coarser, hence still safe.
const MAX_DEPTH: usize = 64;
/// Symbolic links followed for one path, as many as Linux follows.
const MAX_LINKS: usize = 40;
/// No system follows a longer path, so nothing behind it can be a link.
const MAX_PATH: usize = 4_096;

/// The canonical name of a resource: segments separated by `/`, where a key covers everything below it.
///
/// `./a`, `a/` and `b/../a` are all `a`; a key at depth 65 or more stands for its ancestor at depth 64.
/// The empty key is the root: it covers every resource. Cloning costs a reference count.
///
/// ```
/// use mainspring_scheduler::ResourceKey;
/// let directory = ResourceKey::new("repo/src");
/// assert_eq!(directory, ResourceKey::new("./repo//docs/../src/"));
/// assert!(directory.covers(&ResourceKey::new("repo/src/lib.rs")));
/// assert!(!directory.covers(&ResourceKey::new("repo/src-old/lib.rs")));
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceKey(Arc<str>);

impl ResourceKey {
    /// Canonicalises by spelling alone: empty and `.` segments go, `..` drops the segment before it
    /// (never above the root). O(length), no I/O. For files prefer [`file`](Self::file), which sees links.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut segments: Vec<&str> = Vec::new();
        for segment in name.split('/') {
            match segment {
                "" | "." => {}
                ".." => {
                    segments.pop();
                }
                other => segments.push(other),
            }
        }
        segments.truncate(MAX_DEPTH);
        Self(segments.join("/").into())
    }

    /// The root, which covers every resource.
    #[must_use]
    pub fn root() -> Self {
        Self("".into())
    }

    /// The key of a file or directory: made absolute from the current directory, symbolic links resolved as
    /// far as the path exists, so that two spellings of one file are one key. One `lstat` per path component.
    ///
    /// A hard link is a different name for the same bytes and stays a different key.
    #[must_use]
    pub fn file(path: impl AsRef<Path>) -> Self {
        let base = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        Self::file_in(base, path)
    }

    /// As [`file`](Self::file), with a relative `path` taken from `base`.
    #[must_use]
    pub fn file_in(base: impl AsRef<Path>, path: impl AsRef<Path>) -> Self {
        let resolved = resolve(&base.as_ref().join(path));
        let name = format!("file:/{}", resolved.to_string_lossy());
        Self::new(&name)
    }

    /// Whether `other` is this key or lies below it. O(length).
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match other.0.strip_prefix(&*self.0) {
            Some(rest) => self.0.is_empty() || rest.is_empty() || rest.starts_with('/'),
            None => false,
        }
    }

    /// Whether one of the two covers the other.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// The canonical spelling, `""` for the root.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|segment| !segment.is_empty())
    }
}

impl fmt::Debug for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResourceKey({})", self.0)
    }
}

impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for ResourceKey {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<String> for ResourceKey {
    fn from(name: String) -> Self {
        Self::new(&name)
    }
}

/// `realpath` for paths whose tail need not exist.
fn resolve(path: &Path) -> PathBuf {
    let mut todo: VecDeque<OsString> = path.components().map(owned).collect();
    let mut done = PathBuf::new();
    let mut links = 0;
    while let Some(part) = todo.pop_front() {
        if part == ".." {
            done.pop();
            continue;
        }
        // In place, so that a long path costs its length and not its square.
        done.push(&part);
        if links == MAX_LINKS || done.as_os_str().len() > MAX_PATH {
            continue;
        }
        if let Ok(target) = std::fs::read_link(&done) {
            links += 1;
            if target.is_absolute() {
                done = PathBuf::new();
            } else {
                done.pop();
            }
            for part in target.components().rev() {
                if part != Component::CurDir {
                    todo.push_front(owned(part));
                }
            }
        }
    }
    done
}

fn owned(part: Component<'_>) -> OsString {
    part.as_os_str().to_owned()
}
