//! The parts of an agent runtime, opened together.

use std::{
    collections::HashSet,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use mainspring_cache_tier::{BytesCodec, TierSettings, TieredCache};
use mainspring_compressor::{Format, Tokenizer};
use mainspring_delta_snapshot::Snapshots;
use mainspring_mmap_store::{Durability, Options, Store};
use mainspring_monitor::{Phase, Phases, Registry};
use mainspring_pool::BufferPool;
use mainspring_scheduler::{Scheduler, Tool, Toolbox};

use crate::{
    Config, Error, Session,
    adapters::{CachedTool, StoreBacking, StoreTier},
    session::{Log, Timers},
};

/// Everything a session works with: the stores, the cache, the scheduler and the figures.
///
/// Cloning is a reference count. Three stores lie in the folder: `sessions` (the log, saved contexts
/// and blobs), `snapshots` (checkpoints) and `cache` (results). One process at a time may have the
/// folder open.
///
/// ```
/// use mainspring::{Profile, Runtime, compressor::Format};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let runtime = Runtime::open(dir.path(), Profile::Laptop).await?;
/// let mut session = runtime.session("first", Format::OpenAiChat)?;
/// session.append(r#"{"role":"user","content":"hello"}"#)?;
/// let version = session.checkpoint(r#"{"step":1}"#)?;
/// drop(session);
/// runtime.close().await?;
///
/// let runtime = Runtime::open(dir.path(), Profile::Laptop).await?;
/// let session = runtime.resume("first")?;
/// assert_eq!(session.messages(), 1);
/// assert_eq!(
///     session.restore(version)?,
///     br#"{"header":{"step":1},"messages":[{"role":"user","content":"hello"}]}"#[..]
/// );
/// # Ok(()) })
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Runtime {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) log: Log,
    pub(crate) snapshots: Snapshots,
    pub(crate) tokenizer: Arc<dyn Tokenizer>,
    pub(crate) scheduler: Scheduler,
    pub(crate) cache: TieredCache<Bytes>,
    pub(crate) timers: Timers,
    registry: Registry,
    buffers: BufferPool,
    phases: Vec<Phase>,
    backing: Arc<StoreBacking>,
    tier: Arc<StoreTier>,
    open: Mutex<HashSet<String>>,
}

impl Runtime {
    /// Opens (or begins) a runtime in a folder with a profile's values, or with a [`Config`] of your
    /// own, counting tokens by the calibrated estimate.
    ///
    /// Costs one pass over the stored checkpoints; messages are not read.
    ///
    /// # Errors
    /// [`Error::Folder`], [`Error::Open`] (also when another process has the folder open),
    /// [`Error::Store`], [`Error::Snapshot`], [`Error::Cache`].
    pub async fn open(dir: impl AsRef<Path>, config: impl Into<Config>) -> Result<Self, Error> {
        let estimate = mainspring_compressor::Estimate::new();
        Self::open_with(dir, config, Arc::new(estimate)).await
    }

    /// As [`open`](Self::open), counting tokens with a tokenizer of your choice.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_with(
        dir: impl AsRef<Path>,
        config: impl Into<Config>,
        tokenizer: Arc<dyn Tokenizer>,
    ) -> Result<Self, Error> {
        let (dir, config) = (dir.as_ref(), config.into());
        let registry = Registry::new();
        let mut phases = Phases::new(&registry);
        let durability = config.durability;
        let log = phases.step("sessions", || {
            Log::new(store(&dir.join("sessions"), durability)?, false)
        })?;
        let backing = phases.step("snapshots", || {
            let backing = StoreBacking::new(store(&dir.join("snapshots"), durability)?);
            backing.map(Arc::new).map_err(|source| Error::Folder {
                path: dir.join("snapshots"),
                source,
            })
        })?;
        let options = mainspring_delta_snapshot::Options::new()
            .sync_each_commit(durability == Durability::Always);
        let snapshots = Snapshots::open(Arc::clone(&backing), options)?;
        let tier = phases.step("cache", || {
            let store = store(&dir.join("cache"), Durability::Os)?;
            let tier = StoreTier::new(store, config.cache_disk_entries, config.cache_disk_bytes);
            tier.map(Arc::new)
                .map_err(|error| Error::Cache(error.into()))
        })?;
        let cache = TieredCache::builder(BytesCodec)
            .memory(config.cache_entries)
            .memory_ttl(config.cache_ttl)
            .tier_with(
                Arc::clone(&tier) as _,
                TierSettings::new().ttl(config.cache_disk_ttl),
            )
            .open()
            .await
            .map_err(|error| Error::Cache(error.into()))?;
        let scheduler = Scheduler::builder()
            .limit(config.tools)
            .build()
            .map_err(Error::Tools)?;
        let timers = Timers::new(&registry);
        let phases = phases.all().to_vec();
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                log,
                snapshots,
                tokenizer,
                scheduler,
                cache,
                timers,
                registry,
                buffers: BufferPool::new(),
                phases,
                backing,
                tier,
                open: Mutex::default(),
            }),
        })
    }

    /// Begins a session, or goes on with one of that name.
    ///
    /// # Errors
    /// [`Error::SessionOpen`] while another handle of it is open, and as [`resume`](Self::resume).
    pub fn session(&self, name: &str, format: Format) -> Result<Session, Error> {
        match self.inner.log.find(name)? {
            Some(_) => self.resume(name),
            None => Session::begin(self, name, format),
        }
    }

    /// Goes on with a session: reads its last saved context and what was appended after it.
    ///
    /// # Errors
    /// [`Error::NoSession`], [`Error::SessionOpen`], [`Error::Damaged`], [`Error::Store`],
    /// [`Error::Context`].
    pub fn resume(&self, name: &str) -> Result<Session, Error> {
        Session::resume(self, name)
    }

    /// The names of all sessions, sorted.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn sessions(&self) -> Result<Vec<String>, Error> {
        self.inner.log.names()
    }

    /// Wraps tools so that their reads are cached here, their writes invalidate what was cached, and
    /// the time of each lookup is measured.
    ///
    /// # Errors
    /// [`Error::Tools`] when two have the same name, or a schema cannot be read.
    pub fn toolbox(
        &self,
        tools: impl IntoIterator<Item = Arc<dyn Tool>>,
    ) -> Result<Toolbox, Error> {
        let mut toolbox = Toolbox::new();
        for tool in tools {
            toolbox.add(self.cached(tool))?;
        }
        Ok(toolbox)
    }

    /// Wraps one tool as [`toolbox`](Self::toolbox) does; say more of it with [`CachedTool::when`].
    #[must_use]
    pub fn cached(&self, tool: Arc<dyn Tool>) -> CachedTool {
        let timers = self.inner.timers.clone();
        CachedTool::new(tool, self.inner.cache.clone())
            .observe(move |elapsed, _hit| timers.cache_get.record(elapsed))
    }

    /// The figures of everything here; also what Prometheus may scrape.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    /// The scheduler that all sessions share.
    #[must_use]
    pub fn scheduler(&self) -> &Scheduler {
        &self.inner.scheduler
    }

    /// The cache of tool results that all sessions share.
    #[must_use]
    pub fn cache(&self) -> &TieredCache<Bytes> {
        &self.inner.cache
    }

    /// Buffers to read into.
    #[must_use]
    pub fn buffers(&self) -> &BufferPool {
        &self.inner.buffers
    }

    /// What gives memory back when it gets short: hand it to
    /// [`Watch::pressure`](mainspring_monitor::Watch::pressure).
    #[must_use]
    pub fn pressure(&self) -> mainspring_monitor::Pressure {
        let Inner {
            config,
            registry,
            buffers,
            cache,
            ..
        } = &*self.inner;
        crate::adapters::relief(
            registry,
            config.trim_above,
            config.clear_above,
            buffers,
            cache,
        )
    }

    /// The checkpoints of all sessions; a session's thread has its name.
    #[must_use]
    pub fn snapshots(&self) -> &Snapshots {
        &self.inner.snapshots
    }

    /// The store of the sessions, for its figures and `verify`.
    #[must_use]
    pub fn session_store(&self) -> &Store {
        self.inner.log.store()
    }

    /// The store of the checkpoints, for its figures and `verify`.
    #[must_use]
    pub fn snapshot_store(&self) -> &Store {
        self.inner.backing.store()
    }

    /// The store of the cached results, for its figures and `verify`.
    #[must_use]
    pub fn cache_store(&self) -> &Store {
        self.inner.tier.store()
    }

    /// The steps of opening, with their times.
    #[must_use]
    pub fn phases(&self) -> &[Phase] {
        &self.inner.phases
    }

    /// Makes everything durable and lets go of the folder. Handles that are still around get
    /// errors from then on.
    ///
    /// # Errors
    /// The first error of the stores; the others are closed all the same.
    pub async fn close(self) -> Result<(), Error> {
        self.inner.scheduler.close();
        let cached = self
            .inner
            .cache
            .close()
            .await
            .map_err(|error| Error::Cache(error.into()));
        let synced = self.inner.snapshots.sync().map_err(Error::from);
        let stores = [
            self.session_store(),
            self.snapshot_store(),
            self.cache_store(),
        ];
        let closed: Vec<_> = stores
            .into_iter()
            .map(|store| store.clone().close())
            .collect();
        cached.and(synced).and(
            closed
                .into_iter()
                .collect::<Result<(), _>>()
                .map_err(Error::from),
        )
    }

    /// Gives a new session its number.
    pub(crate) fn begin(&self, name: &str, context: &[u8]) -> Result<u32, Error> {
        let _one_at_a_time = self
            .inner
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.inner.log.begin(name, context)
    }

    /// Notes that a session's handle exists.
    pub(crate) fn claim(&self, name: &str) -> Result<Claim, Error> {
        let mut open = self
            .inner
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !open.insert(name.to_owned()) {
            return Err(Error::SessionOpen(name.to_owned()));
        }
        Ok(Claim {
            runtime: self.clone(),
            name: name.to_owned(),
        })
    }
}

/// The right to a session's name, given back on drop.
#[derive(Debug)]
pub(crate) struct Claim {
    runtime: Runtime,
    name: String,
}

impl Claim {
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut open = self
            .runtime
            .inner
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        open.remove(&self.name);
    }
}

fn store(dir: &Path, durability: Durability) -> Result<Store, Error> {
    let path = || dir.to_owned();
    std::fs::create_dir_all(dir).map_err(|source| Error::Folder {
        path: path(),
        source,
    })?;
    let options = Options::new().create(true).durability(durability);
    options.open(dir).map_err(|source| Error::Open {
        path: path(),
        source,
    })
}
