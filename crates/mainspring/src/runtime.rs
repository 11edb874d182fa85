//! The parts of an agent runtime, opened together.

mod panic_hook;
mod start;
mod stop;
mod upkeep;

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use mainspring_cache_tier::TieredCache;
use mainspring_compressor::{Format, Tokenizer};
use mainspring_delta_snapshot::{Snapshots, Sweeper};
use mainspring_mmap_store::Store;
use mainspring_monitor::{Phase, Registry};
use mainspring_pool::BufferPool;
use mainspring_scheduler::{Scheduler, Tool, Toolbox};

use crate::{
    Config, Error, Event, EventBus, Session,
    adapters::{CachedTool, StoreBacking, StoreTier},
    session::{Log, Timers},
};

pub use start::Parts;
pub use stop::Shutdown;
pub use upkeep::Upkeep;

/// Longest name of a session, in bytes: the threads of its versions add eight to it.
const MOST_NAME: usize = 504;
/// Stands between a session's name and what is added to it.
const SEPARATOR: char = '\u{1f}';

/// Everything a session works with: the stores, the cache, the scheduler and the figures.
///
/// Cloning is a reference count. Three stores lie in the folder: `sessions` (the log, saved contexts
/// and blobs), `snapshots` (checkpoints) and `cache` (results); [`Config`] can put each elsewhere. One
/// process at a time may have the folder open for writing; others join it with
/// [`Config::read_only`].
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
    pub(crate) bus: EventBus,
    registry: Registry,
    buffers: BufferPool,
    phases: Vec<Phase>,
    pub(crate) backing: Arc<StoreBacking>,
    tier: Arc<StoreTier>,
    /// Names of the sessions that have a handle.
    open: Mutex<BTreeSet<String>>,
    sweeper: Mutex<Sweeper>,
    /// Calls of tools that have not ended.
    calls: tokio::sync::watch::Sender<usize>,
    /// Listens to what other machines change, while the runtime is open.
    tracking: Option<tokio::task::AbortHandle>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(tracking) = &self.tracking {
            tracking.abort();
        }
    }
}

impl Runtime {
    /// Opens (or begins) a runtime in a folder with a profile's values, or with a [`Config`] of your
    /// own, counting tokens by the calibrated estimate.
    ///
    /// Costs the names of the stored checkpoints; messages and checkpoints are not read.
    ///
    /// # Errors
    /// [`Error::Start`], which names the step that failed; [`Error::is_in_use`] tells whether another
    /// process has the folder open.
    pub async fn open(dir: impl AsRef<Path>, config: impl Into<Config>) -> Result<Self, Error> {
        Self::open_parts(dir, config, Parts::new()).await
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
        Self::open_parts(dir, config, Parts::new().tokenizer(tokenizer)).await
    }

    /// As [`open`](Self::open), with parts of your own.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_parts(
        dir: impl AsRef<Path>,
        config: impl Into<Config>,
        parts: Parts,
    ) -> Result<Self, Error> {
        start::open(dir.as_ref(), config.into(), parts).await
    }

    /// Begins a session, or goes on with one of that name.
    ///
    /// # Errors
    /// [`Error::Name`] for one of no or more than 504 bytes, or with U+001F in it,
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

    /// The names of all sessions, sorted. One whose entry is damaged is left out: its own
    /// [`resume`](Self::resume) says so, and `session_store().verify()` names the place.
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
    /// [`Error::Part`] when two have the same name, or a schema cannot be read.
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
        let (timers, bus) = (self.inner.timers.clone(), self.inner.bus.clone());
        CachedTool::new(tool, self.inner.cache.clone())
            .observe(move |elapsed, _hit| timers.cache_get.record(elapsed))
            .starting(move |context| {
                bus.tell(|| Event::ToolStarted {
                    session: context.session().into(),
                    tool: context.tool().into(),
                });
            })
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
            bus,
            ..
        } = &*self.inner;
        let bus = bus.clone();
        crate::adapters::relief_told(
            registry,
            config.trim_above,
            config.clear_above,
            buffers,
            cache,
            move |stage, freed| bus.tell(|| Event::Pressure { stage, freed }),
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

    /// Tells and hears what happens here.
    #[must_use]
    pub fn events(&self) -> &EventBus {
        &self.inner.bus
    }

    /// Says that the definition of an agent changed: what was cached under the scope `agent:{id}` is
    /// not served any more when this returns, and subscribers are told.
    pub async fn agent_updated(&self, id: &str) {
        self.inner.cache.emit(start::AGENT_UPDATED, id).await;
        self.inner
            .bus
            .tell(|| Event::AgentUpdated { id: id.into() });
    }

    /// Says that a setting changed: what was cached under the scope `config:{key}` is not served any
    /// more when this returns, and subscribers are told.
    pub async fn config_changed(&self, key: &str) {
        self.inner.cache.emit(start::CONFIG_CHANGED, key).await;
        self.inner
            .bus
            .tell(|| Event::ConfigChanged { key: key.into() });
    }

    /// The values it was opened with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Gives a new session its number; one at a time.
    pub(crate) fn begin(&self, add: impl FnOnce(&Log) -> Result<u32, Error>) -> Result<u32, Error> {
        let _one_at_a_time = self.open_sessions();
        add(&self.inner.log)
    }

    /// Notes that so many calls run until the answer is dropped.
    pub(crate) fn calling(&self, calls: usize) -> Calling<'_> {
        self.inner.calls.send_modify(|running| *running += calls);
        Calling(&self.inner.calls, calls)
    }

    fn open_sessions(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.inner
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a session's handle exists.
    pub(crate) fn claim(&self, name: &str) -> Result<Claim, Error> {
        if name.is_empty() || name.len() > MOST_NAME || name.contains(SEPARATOR) {
            return Err(Error::Name(name.to_owned()));
        }
        if !self.open_sessions().insert(name.to_owned()) {
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
        self.runtime.open_sessions().remove(&self.name);
    }
}

/// Calls that run; dropping it says that all of them ended.
#[derive(Debug)]
pub(crate) struct Calling<'a>(&'a tokio::sync::watch::Sender<usize>, usize);

impl Calling<'_> {
    /// One of them ended.
    pub(crate) fn ended(&mut self) {
        let one = self.1.min(1);
        self.1 -= one;
        self.0.send_modify(|running| *running -= one);
    }
}

impl Drop for Calling<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= self.1);
    }
}
