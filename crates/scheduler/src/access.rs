//! What a call reads and writes.

use crate::ResourceKey;

/// What a call will read and write. Two calls conflict when one writes what the other touches;
/// conflicting calls run one after the other, in the order in which they were issued.
///
/// ```
/// use mainspring_scheduler::Access;
/// let edit = Access::write("repo/src/lib.rs");
/// assert!(edit.conflicts_with(&Access::read("repo/src")));
/// assert!(!edit.conflicts_with(&Access::write("repo/README.md")));
/// assert!(Access::exclusive().conflicts_with(&edit));
/// assert!(!Access::exclusive().conflicts_with(&Access::none()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// Resources read; a key covers everything below it.
    pub reads: Vec<ResourceKey>,
    /// Resources written (or read and written).
    pub writes: Vec<ResourceKey>,
    /// Conflicts with every call that touches any resource at all. What a tool that declares nothing gets.
    pub exclusive: bool,
}

impl Access {
    /// Touches no shared resource: conflicts with nothing.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// May touch anything: conflicts with everything but [`none`](Self::none).
    #[must_use]
    pub fn exclusive() -> Self {
        Self {
            exclusive: true,
            ..Self::default()
        }
    }

    /// Reads `key` and what lies below it.
    #[must_use]
    pub fn read(key: impl Into<ResourceKey>) -> Self {
        Self::none().and_read(key)
    }

    /// Writes `key` or what lies below it.
    #[must_use]
    pub fn write(key: impl Into<ResourceKey>) -> Self {
        Self::none().and_write(key)
    }

    /// Reads everything: shares with readers, waits for writers.
    #[must_use]
    pub fn read_all() -> Self {
        Self::read(ResourceKey::root())
    }

    /// Adds a resource that is read.
    #[must_use]
    pub fn and_read(mut self, key: impl Into<ResourceKey>) -> Self {
        self.reads.push(key.into());
        self
    }

    /// Adds a resource that is written.
    #[must_use]
    pub fn and_write(mut self, key: impl Into<ResourceKey>) -> Self {
        self.writes.push(key.into());
        self
    }

    /// The access of a tool known only by its MCP annotations. Annotations are hints from the tool's author:
    /// unless `trusted`, they count for nothing and the tool is exclusive. Trusted and read-only reads everything.
    #[must_use]
    pub fn from_annotations(annotations: Annotations, trusted: bool) -> Self {
        if trusted && annotations.read_only {
            Self::read_all()
        } else {
            Self::exclusive()
        }
    }

    /// Whether the call touches no shared resource.
    #[must_use]
    pub fn is_none(&self) -> bool {
        !self.exclusive && self.reads.is_empty() && self.writes.is_empty()
    }

    /// Whether the two may not run side by side. O(keys × keys).
    #[must_use]
    pub fn conflicts_with(&self, other: &Self) -> bool {
        if self.exclusive {
            return !other.is_none();
        }
        if other.exclusive {
            return !self.is_none();
        }
        let hits = |writes: &[ResourceKey], keys: &[ResourceKey]| {
            writes.iter().any(|w| keys.iter().any(|k| w.overlaps(k)))
        };
        hits(&self.writes, &other.writes)
            || hits(&self.writes, &other.reads)
            || hits(&self.reads, &other.writes)
    }
}

/// The behaviour hints of an MCP tool (`readOnlyHint`, `destructiveHint`, `idempotentHint`, `openWorldHint`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Annotations {
    /// Changes nothing. Default false.
    pub read_only: bool,
    /// May destroy what exists. Default true.
    pub destructive: bool,
    /// The same call twice does no more than once. Default false.
    pub idempotent: bool,
    /// Talks to an open world. Default true.
    pub open_world: bool,
}

impl Default for Annotations {
    fn default() -> Self {
        Self {
            read_only: false,
            destructive: true,
            idempotent: false,
            open_world: true,
        }
    }
}

impl Annotations {
    /// Reads the `annotations` object of an MCP tool; what is missing or of another type keeps its default.
    #[must_use]
    pub fn from_json(value: &serde_json::Value) -> Self {
        let default = Self::default();
        let hint = |name: &str, or: bool| value.get(name).and_then(|v| v.as_bool()).unwrap_or(or);
        Self {
            read_only: hint("readOnlyHint", default.read_only),
            destructive: hint("destructiveHint", default.destructive),
            idempotent: hint("idempotentHint", default.idempotent),
            open_world: hint("openWorldHint", default.open_world),
        }
    }
}
