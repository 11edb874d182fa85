//! What a group of entries is invalidated by: tags, hierarchical scopes, resource paths.

use crate::key::Key;
use std::fmt;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The stable 64-bit name of a tag, a scope or a resource, as the epoch table and the tiers know it.
///
/// The hash (XXH3, one seed per kind) is the same in every process and every version. Two names that
/// collide are invalidated together: a needless miss, never a stale hit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label(u64);

// Far apart in both halves: seeds that differ in a few low bits give names of a few bytes the same hashes.
const TAG: u64 = 0x8F1B_BCDC_BFA5_3E0B;
const SCOPE: u64 = 0x2545_F491_4F6C_DD1D;
const BELOW: u64 = 0xD6E8_FEB8_6659_FD93;
const CONTENT: u64 = 0x5851_F42D_4C95_7F2D;
const KEY: u64 = 0xA076_1D64_78BD_642F;
#[cfg(feature = "redis")]
const ORIGIN: u64 = 0xE703_7ED1_A0B4_28DB;

impl Label {
    /// The label of a tag.
    #[must_use]
    pub fn tag(name: &str) -> Self {
        Self(xxh3_64_with_seed(name.as_bytes(), TAG))
    }

    /// The label of one scope, without its ancestors.
    #[must_use]
    pub fn scope(path: &str) -> Self {
        Self(xxh3_64_with_seed(path.as_bytes(), SCOPE))
    }

    fn below(path: &str) -> Self {
        Self(xxh3_64_with_seed(path.as_bytes(), BELOW))
    }

    fn content(path: &str) -> Self {
        Self(xxh3_64_with_seed(path.as_bytes(), CONTENT))
    }

    /// The label of one key of a shared tier: what a write that failed may have left there is stale.
    pub(crate) fn of_key(key: &Key) -> Self {
        Self::of_digest(key.digest())
    }

    /// The label that names a shared store's clock.
    #[cfg(feature = "redis")]
    pub(crate) fn of_origin(origin: u64) -> Self {
        Self(xxh3_64_with_seed(&origin.to_le_bytes(), ORIGIN))
    }

    fn of_digest(digest: u128) -> Self {
        Self(xxh3_64_with_seed(&digest.to_le_bytes(), KEY))
    }

    /// The label as the tiers store it.
    #[must_use]
    pub fn to_u64(self) -> u64 {
        self.0
    }

    /// A label that a tier stored.
    #[must_use]
    pub fn from_u64(raw: u64) -> Self {
        Self(raw)
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Label({:016x})", self.0)
    }
}

/// The labels of one entry: a single one takes no memory of its own, several are shared by all entries that
/// were put with the same options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Labels {
    One([Label; 1]),
    Many(Arc<[Label]>),
}

impl Labels {
    /// `None` for no labels.
    pub(crate) fn new(labels: &[Label]) -> Option<Self> {
        match labels {
            [] => None,
            [label] => Some(Self::One([*label])),
            labels => Some(Self::Many(labels.into())),
        }
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[Label] {
        match self {
            Self::One(label) => label,
            Self::Many(labels) => labels,
        }
    }

    /// These and others.
    pub(crate) fn join(
        labels: Option<Self>,
        more: impl IntoIterator<Item = Label>,
    ) -> Option<Self> {
        let mut all: Vec<Label> = labels.iter().flat_map(Self::as_slice).copied().collect();
        all.extend(more);
        Self::new(&all)
    }
}

/// A place in a hierarchy, segments parted by `:` (`agent:7:tools`). Invalidating a scope invalidates
/// everything below it. The empty scope is the root: every scoped entry lies below it.
///
/// A trailing `:*` is dropped, so `agent:7:*` and `agent:7` are the same scope. Cloning is a reference count.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope(Arc<str>);

impl Scope {
    /// The scope of that path.
    pub fn new(path: impl AsRef<str>) -> Self {
        Self(Arc::from(trimmed(path.as_ref())))
    }

    /// The path, without a trailing `:*`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The labels an entry in this scope carries: the scope and every ancestor, the root included.
    pub(crate) fn labels(&self) -> impl Iterator<Item = Label> {
        prefixes(&self.0, ':').map(Label::scope)
    }
}

fn trimmed(path: &str) -> &str {
    if path == "*" {
        ""
    } else {
        path.strip_suffix(":*").unwrap_or(path)
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scope({})", self.0)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Scope {
    fn from(path: &str) -> Self {
        Self::new(path)
    }
}

impl From<String> for Scope {
    fn from(path: String) -> Self {
        Self::new(path)
    }
}

/// The empty prefix, then every prefix of `path` that ends before a separator, then `path` itself.
fn prefixes(path: &str, separator: char) -> impl Iterator<Item = &str> {
    let inner = path
        .char_indices()
        .filter(move |(at, c)| *c == separator && *at > 0);
    let whole = (!path.is_empty()).then_some(path);
    std::iter::once("")
        .chain(inner.map(|(at, _)| &path[..at]))
        .chain(whole)
}

/// Segments of a resource path that are told apart, so that a path from outside costs a bounded time.
const DEEPEST: usize = 128;

/// A resource path in one spelling: `.` and empty segments gone, `..` resolved by name, no trailing slash.
/// Links are not followed: resolve them before, when the same file has two names.
fn normalised(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let absolute = path.starts_with('/');
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." if kept.last().is_some_and(|last| *last != "..") => {
                kept.pop();
            }
            ".." if absolute => {}
            other => kept.push(other),
        }
    }
    // What lies deeper counts as written to, or read from, the directory at this depth.
    kept.truncate(DEEPEST);
    let joined = kept.join("/");
    if absolute {
        format!("/{joined}")
    } else {
        joined
    }
}

/// The labels of a cached read of `resource`: stale once it, anything above it, or (for a directory)
/// anything inside it is written.
pub(crate) fn read_labels(resource: &str) -> Vec<Label> {
    let path = normalised(resource);
    let above = prefixes(&path, '/').map(Label::below);
    above.chain([Label::content(&path)]).collect()
}

/// The labels that a write to `resource` invalidates: reads at or below it, and reads of every directory
/// that contains it.
fn write_labels(resource: &str) -> Vec<Label> {
    let path = normalised(resource);
    let root = path.starts_with('/').then_some("/");
    let above = prefixes(&path, '/').chain(root).map(Label::content);
    above
        .chain([Label::below(if path == "/" { "" } else { &path })])
        .collect()
}

/// What a tool call wrote: hand it to `invalidate_writes` and every cached read that the writes could
/// have changed is gone.
///
/// A directory covers its files: writing `/src` invalidates a cached read of `/src/a.rs`, and writing
/// `/src/a.rs` invalidates a cached listing of `/src`. Paths are compared by name after `.`, `..` and
/// doubled slashes are resolved; below 128 segments a path counts as its directory there. Keys that are no
/// paths (`db/users/7`) work the same way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    labels: Vec<Label>,
}

impl Effects {
    /// No effects yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a written resource.
    #[must_use]
    pub fn write(mut self, resource: impl AsRef<str>) -> Self {
        self.labels.extend(write_labels(resource.as_ref()));
        self
    }

    /// Adds the effect of a call about which nothing is known: every cached read of any resource is stale.
    #[must_use]
    pub fn write_anything(mut self) -> Self {
        self.labels.push(Label::below(""));
        self
    }

    /// Adds a tag to invalidate.
    #[must_use]
    pub fn tag(mut self, name: &str) -> Self {
        self.labels.push(Label::tag(name));
        self
    }

    /// Adds a scope to invalidate, with everything below it.
    #[must_use]
    pub fn scope(mut self, scope: impl Into<Scope>) -> Self {
        self.labels.push(Label::scope(scope.into().as_str()));
        self
    }

    /// True when nothing is to be invalidated.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The labels whose epochs the effects raise.
    #[must_use]
    pub fn labels(&self) -> &[Label] {
        &self.labels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stale(read: &str, write: &str) -> bool {
        let read = read_labels(read);
        write_labels(write).iter().any(|label| read.contains(label))
    }

    #[test]
    fn a_directory_covers_its_files_both_ways() {
        assert!(stale("/src/a.rs", "/src/a.rs"));
        assert!(stale("/src/a.rs", "/src"));
        assert!(stale("/src/a.rs", "/"));
        assert!(stale("/src", "/src/deep/a.rs"));
        assert!(stale("/", "/src/a.rs"));
        assert!(stale("./src//a.rs", "src/x/../a.rs"));
        assert!(stale(".", "src/a.rs"));
        assert!(!stale("/src/a.rs", "/src/b.rs"));
        assert!(!stale("/src/a.rs", "/sr"));
        assert!(!stale("/src", "/srcs/a.rs"));
        assert!(!stale("src/a.rs", "/src/b.rs"));
    }

    #[test]
    fn a_path_of_any_depth_costs_a_bounded_number_of_labels() {
        let deep = "d/".repeat(20_000);
        let (read, write) = (format!("{deep}a.rs"), format!("{deep}x"));
        assert!(read_labels(&read).len() <= DEEPEST + 2);
        assert!(write_labels(&read).len() <= DEEPEST + 3);
        assert!(stale(&read, &read) && stale(&read, &deep) && stale(&read, "d"));
        assert!(stale(&deep, &write), "a listing of the directory");
        assert!(!stale(&read, "elsewhere/x"));
    }

    #[test]
    fn short_names_of_different_kinds_are_different_labels() {
        let letters: Vec<String> = (b'a'..=b'z').map(|c| char::from(c).to_string()).collect();
        let pairs = letters
            .iter()
            .flat_map(|a| letters.iter().map(move |b| format!("{a}{b}")));
        let names: Vec<String> = letters.iter().cloned().chain(pairs).collect();
        let kinds = [Label::tag, Label::scope, Label::below, Label::content];
        let all: std::collections::BTreeSet<Label> = names
            .iter()
            .flat_map(|name| kinds.map(|kind| kind(name)))
            .collect();
        assert_eq!(all.len(), 4 * names.len());
    }

    #[test]
    fn a_scope_carries_its_ancestors() {
        let names: Vec<_> = prefixes("agent:7:tools", ':').collect();
        assert_eq!(names, ["", "agent", "agent:7", "agent:7:tools"]);
        assert_eq!(Scope::new("agent:7:*"), Scope::new("agent:7"));
        assert_eq!(Scope::new("*").as_str(), "");
    }
}
