//! Opening a runtime: named steps, of which a failing one ends the start.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use mainspring_cache_tier::{BytesCodec, Effects, Tier, TierSettings, TieredCache};
use mainspring_compressor::{Estimate, Tokenizer};
use mainspring_delta_snapshot::{Retention, Snapshots, Sweeper};
use mainspring_mmap_store::{Durability, Options, Store};
use mainspring_monitor::{Phases, Registry};
use mainspring_pool::BufferPool;
use mainspring_scheduler::Scheduler;

use super::{Inner, Runtime};
use crate::{
    Config, Error, EventBus,
    adapters::{StoreBacking, StoreTier},
    session::{Log, Timers},
};

/// Events that the cache knows.
pub(super) const AGENT_UPDATED: &str = "agent_updated";
pub(super) const CONFIG_CHANGED: &str = "config_changed";

/// Saved contexts, large outputs and the frames of documents from this size on are compressed.
const LEAST_COMPRESSED: usize = 8 << 10;

type Cause = Box<dyn std::error::Error + Send + Sync>;
type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Parts of a runtime that are no plain values. Each has a default.
#[derive(Clone, Default)]
#[must_use = "parts do nothing until a runtime is opened with them"]
pub struct Parts {
    tokenizer: Option<Arc<dyn Tokenizer>>,
    shared: Option<Arc<dyn Tier>>,
    clock: Option<Clock>,
}

impl Parts {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Who counts tokens. Default: the calibrated estimate.
    pub fn tokenizer(mut self, tokenizer: Arc<dyn Tokenizer>) -> Self {
        self.tokenizer = Some(tokenizer);
        self
    }

    /// A tier of the result cache that other machines share, below the one on disk: `RedisTier`, with
    /// the feature `redis`. What they invalidate leaves this runtime's memory as it happens, as long
    /// as the runtime is opened inside tokio. Default none.
    pub fn shared_tier(mut self, tier: Arc<dyn Tier>) -> Self {
        self.shared = Some(tier);
        self
    }

    /// Milliseconds since the Unix epoch, for the ages of checkpoints. Default the system's clock.
    pub fn clock(mut self, clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts")
            .field("tokenizer", &self.tokenizer)
            .field("shared", &self.shared.as_ref().map(|tier| tier.name()))
            .finish_non_exhaustive()
    }
}

/// The steps of one start, and where they happen.
struct Start<'a> {
    phases: Phases,
    config: &'a Config,
}

impl Start<'_> {
    fn step<T>(
        &mut self,
        phase: &'static str,
        path: &Path,
        work: impl FnOnce(&Config) -> Result<T, Cause>,
    ) -> Result<T, Error> {
        let config = self.config;
        let done = self.phases.step(phase, || work(config));
        done.map_err(|source| Error::Start {
            phase,
            path: path.to_owned(),
            source,
        })
    }
}

pub(super) async fn open(dir: &Path, config: Config, parts: Parts) -> Result<Runtime, Error> {
    let registry = Registry::new();
    let mut start = Start {
        phases: Phases::new(&registry),
        config: &config,
    };
    let place = |own: &Option<PathBuf>, name: &str| own.clone().unwrap_or_else(|| dir.join(name));
    let sessions = place(&config.sessions_dir, "sessions");
    let log = start.step("sessions", &sessions, |config| {
        let options = Options::new().compress_above(LEAST_COMPRESSED);
        let store = store(options, &sessions, config, config.durability)?;
        Ok(Log::new(store, config.read_only)?)
    })?;
    let folder = place(&config.snapshots_dir, "snapshots");
    let (backing, snapshots) = start.step("snapshots", &folder, |config| {
        // Versions are compressed as they are.
        let store = store(Options::new(), &folder, config, config.durability)?;
        snapshots(store, config, &parts)
    })?;
    let folder = place(&config.cache_dir, "cache");
    let tier = start.step("cache store", &folder, |config| {
        let store = store(Options::new(), &folder, config, Durability::Os)?;
        let tier = StoreTier::new(store, config.cache_disk_entries, config.cache_disk_bytes)?;
        Ok(Arc::new(tier))
    })?;
    let cache = cache(&config, &folder, &tier, &parts).await;
    let cache = start.step("cache", &folder, |_| cache)?;
    let scheduler = start.step("tools", Path::new(""), |config| {
        Ok(Scheduler::builder().limit(config.tools).build()?)
    })?;
    let tracking = parts.shared.is_some().then(|| track(&cache)).flatten();
    let retention = Retention::new()
        .compress_after(config.compress_after)
        .delete_after(config.delete_after);
    let tokenizer = parts.tokenizer.clone();
    Ok(Runtime {
        inner: Arc::new(Inner {
            phases: start.phases.all().to_vec(),
            log,
            snapshots,
            tokenizer: tokenizer.unwrap_or_else(|| Arc::new(Estimate::new())),
            scheduler,
            cache,
            timers: Timers::new(&registry),
            bus: EventBus::new(config.events),
            registry,
            buffers: BufferPool::new(),
            backing,
            tier,
            open: Mutex::default(),
            sweeper: Mutex::new(Sweeper::new(retention).every(config.sweep_every)),
            calls: tokio::sync::watch::Sender::new(0),
            tracking,
            config,
        }),
    })
}

fn snapshots(
    store: Store,
    config: &Config,
    parts: &Parts,
) -> Result<(Arc<StoreBacking>, Snapshots), Cause> {
    let backing = Arc::new(StoreBacking::new(store)?);
    let options = mainspring_delta_snapshot::Options::new()
        .sync_each_commit(config.durability == Durability::Always);
    let options = match parts.clock.clone() {
        Some(clock) => options.clock(move || clock()),
        None => options,
    };
    let snapshots = Snapshots::open(Arc::clone(&backing), options)?;
    Ok((backing, snapshots))
}

async fn cache(
    config: &Config,
    folder: &Path,
    tier: &Arc<StoreTier>,
    parts: &Parts,
) -> Result<TieredCache<Bytes>, Cause> {
    let mut builder = TieredCache::builder(BytesCodec)
        .memory(config.cache_entries)
        .memory_ttl(config.cache_ttl);
    // The tier on disk belongs to the process that may write to it.
    if !config.read_only {
        let settings = TierSettings::new().ttl(config.cache_disk_ttl);
        builder = builder
            .tier_with(Arc::clone(tier) as _, settings)
            .debts(folder.join("debts"));
        if let Some(shared) = &parts.shared {
            builder = builder.tier(Arc::clone(shared));
        }
    }
    let cache = builder.open().await?;
    cache.on_event(AGENT_UPDATED, |id| {
        Effects::new().scope(format!("agent:{id}"))
    });
    cache.on_event(CONFIG_CHANGED, |key| {
        Effects::new().scope(format!("config:{key}"))
    });
    Ok(cache)
}

/// Keeps memory in step with other machines; outside tokio there is nobody to do it, and memory
/// serves what they changed until its time to live ends.
fn track(cache: &TieredCache<Bytes>) -> Option<tokio::task::AbortHandle> {
    let runtime = tokio::runtime::Handle::try_current().ok()?;
    let cache = cache.clone();
    let tracked = runtime.spawn(async move { cache.track().await });
    Some(tracked.abort_handle())
}

fn store(
    options: Options,
    dir: &Path,
    config: &Config,
    durability: Durability,
) -> Result<Store, Cause> {
    let options = options.durability(durability);
    if config.read_only {
        return Ok(options.read_only(true).open(dir)?);
    }
    std::fs::create_dir_all(dir)?;
    Ok(options.create(true).open(dir)?)
}
