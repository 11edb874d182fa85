use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// The wall clock, as the file system's time stamps are compared with it.
pub type WallClock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Settings of an [`AgentCatalog`](crate::AgentCatalog).
#[derive(Clone)]
#[must_use = "settings do nothing until a catalog is opened with them"]
pub struct CatalogOptions {
    pub(crate) roots: Vec<PathBuf>,
    pub(crate) cache_file: Option<PathBuf>,
    pub(crate) max_depth: usize,
    pub(crate) max_files: usize,
    pub(crate) max_file_bytes: u64,
    pub(crate) max_total_bytes: usize,
    pub(crate) racy_window: Duration,
    pub(crate) clock: WallClock,
}

impl CatalogOptions {
    /// Definitions under these directories. Where two give the same id, the earlier directory wins.
    /// A directory that does not exist holds no definitions.
    pub fn new(roots: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        Self {
            roots: roots.into_iter().map(Into::into).collect(),
            cache_file: None,
            max_depth: 8,
            max_files: 10_000,
            max_file_bytes: 1 << 20,
            max_total_bytes: 64 << 20,
            racy_window: Duration::from_secs(2),
            clock: Arc::new(SystemTime::now),
        }
    }

    /// Keeps parsed definitions and use counts in this file. Default none. A file that is damaged or of
    /// another version is written anew.
    pub fn cache_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.cache_file = Some(path.into());
        self
    }

    /// Levels of directories below a root. Default 8.
    pub const fn max_depth(mut self, levels: usize) -> Self {
        self.max_depth = levels;
        self
    }

    /// Most Markdown files looked at over all roots. Default 10,000.
    pub const fn max_files(mut self, files: usize) -> Self {
        self.max_files = files;
        self
    }

    /// Largest definition in bytes. Default 1 MiB; a larger file is reported and left out.
    pub const fn max_file_bytes(mut self, bytes: u64) -> Self {
        self.max_file_bytes = bytes;
        self
    }

    /// Most memory for the definitions' texts, in bytes. Default 64 MiB; what comes after is reported and
    /// left out.
    pub const fn max_total_bytes(mut self, bytes: usize) -> Self {
        self.max_total_bytes = bytes;
        self
    }

    /// How long a file must have been at rest when it was read for its `stat` to prove its content later.
    /// Default 2 s, the coarsest time stamp of common file systems. A file younger than that costs a
    /// read per look-up until it has come to rest.
    pub const fn racy_window(mut self, window: Duration) -> Self {
        self.racy_window = window;
        self
    }

    /// The clock. Default the system's.
    pub fn clock(mut self, clock: WallClock) -> Self {
        self.clock = clock;
        self
    }
}

impl fmt::Debug for CatalogOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CatalogOptions")
            .field("roots", &self.roots)
            .field("cache_file", &self.cache_file)
            .field("max_depth", &self.max_depth)
            .field("max_files", &self.max_files)
            .field("max_file_bytes", &self.max_file_bytes)
            .field("max_total_bytes", &self.max_total_bytes)
            .field("racy_window", &self.racy_window)
            .finish_non_exhaustive()
    }
}
