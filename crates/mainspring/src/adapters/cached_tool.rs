//! A tool whose reads are remembered and whose writes invalidate them.

use std::{
    cell::RefCell,
    future::poll_fn,
    pin::pin,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use bytes::Bytes;
use mainspring_cache_tier::{Effects, EntryOptions, Error, Key, Source, TieredCache};
use mainspring_scheduler::{Access, BoxFuture, Cost, Tool, ToolContext, ToolError, ToolOutput};
use serde_json::Value;

/// What is told about every lookup: how long it took, and whether it was a hit.
type Observer = dyn Fn(Duration, bool) + Send + Sync;

/// What is told when a call begins to run.
type Starting = dyn Fn(&ToolContext) + Send + Sync;

/// Says of a call's arguments whether its result may be cached.
type Predicate = dyn Fn(&Value) -> bool + Send + Sync;

/// Wraps a [`Tool`]: calls that only read are answered from a cache when they can be, and a call
/// that writes invalidates every cached read that it could have changed.
///
/// What a call reads and writes is what the tool's own `access` says. A call without declared reads
/// is never cached; one that is exclusive, or undeclared, invalidates every cached read of any
/// resource. Values are cached under the session of the call, so what one session read is not shown
/// to another. A cached answer costs nothing, and neither does what another call that was running
/// brought: the reservation is refunded.
///
/// Invalidation happens before a write runs and again when it ended, so that a write whose future
/// was dropped half-way leaves nothing stale, as long as writes run alone on their resources (which
/// the scheduler sees to). Errors are not cached.
///
/// A tool that is wrapped twice is cached once: the inner one answers the outer one directly.
pub struct CachedTool {
    tool: Arc<dyn Tool>,
    cache: TieredCache<Bytes>,
    cacheable: Option<Arc<Predicate>>,
    observer: Option<Arc<Observer>>,
    starting: Option<Arc<Starting>>,
}

impl CachedTool {
    /// Wraps `tool` over `cache`.
    #[must_use]
    pub fn new(tool: Arc<dyn Tool>, cache: TieredCache<Bytes>) -> Self {
        Self {
            tool,
            cache,
            cacheable: None,
            observer: None,
            starting: None,
        }
    }

    /// Caches only the reads whose arguments satisfy `cacheable`; the others run each time. Leave
    /// out what depends on more than the resources it declares: a shell command, the time of day.
    #[must_use]
    pub fn when(mut self, cacheable: impl Fn(&Value) -> bool + Send + Sync + 'static) -> Self {
        self.cacheable = Some(Arc::new(cacheable));
        self
    }

    /// Calls `observer` with the time of each lookup (the load excluded) and whether it was a hit.
    #[must_use]
    pub fn observe(mut self, observer: impl Fn(Duration, bool) + Send + Sync + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Calls `starting` when an attempt begins, before the cache is asked.
    #[must_use]
    pub fn starting(mut self, starting: impl Fn(&ToolContext) + Send + Sync + 'static) -> Self {
        self.starting = Some(Arc::new(starting));
        self
    }

    async fn cached(
        &self,
        args: &Value,
        context: &ToolContext,
        access: &Access,
    ) -> Result<ToolOutput, ToolError> {
        let scope = format!("session:{}", context.session());
        let name = format!("{} {args}", self.tool.name());
        let own = format!("{scope} {name}");
        if is_loading(&own) {
            return self.tool.call(args, context).await;
        }
        let key = Key::new(scope, name);
        let options = access
            .reads
            .iter()
            .fold(EntryOptions::new(), |options, resource| {
                options.reads(resource.as_str())
            });
        let started = Instant::now();
        let (began, cost) = (OnceLock::new(), OnceLock::new());
        let load = || {
            let _ = began.set(());
            self.observed(started, false);
            async {
                let output = loading(&own, self.tool.call(args, context)).await?;
                let _ = cost.set(output.usage);
                Ok::<_, ToolError>(Bytes::from(output.content.to_string()))
            }
        };
        let fetched = self
            .cache
            .get_or_try_load(&key, &options, load)
            .await
            .map_err(|error| ToolError {
                // Whoever waited for another one's call does not pay for it.
                usage: began.get().and(unwrapped(&error).usage),
                ..unwrapped(&error)
            })?;
        if fetched.source != Source::Loaded {
            self.observed(started, true);
        }
        let usage = cost.get().copied().unwrap_or(Some(Cost::default()));
        let content = serde_json::from_slice(&fetched.value).map_err(|error| {
            ToolError::permanent(format!("a cached answer is damaged: {error}"))
        })?;
        Ok(ToolOutput {
            usage,
            ..ToolOutput::json(content)
        })
    }

    fn observed(&self, started: Instant, hit: bool) {
        if let Some(observer) = &self.observer {
            observer(started.elapsed(), hit);
        }
    }
}

impl Tool for CachedTool {
    fn name(&self) -> &str {
        self.tool.name()
    }

    fn schema(&self) -> Option<Value> {
        self.tool.schema()
    }

    fn output_schema(&self) -> Option<Value> {
        self.tool.output_schema()
    }

    fn access(&self, args: &Value) -> Access {
        self.tool.access(args)
    }

    fn endpoint(&self, args: &Value) -> Option<String> {
        self.tool.endpoint(args)
    }

    fn cost(&self, args: &Value) -> Cost {
        self.tool.cost(args)
    }

    fn timeout(&self) -> Option<Duration> {
        self.tool.timeout()
    }

    fn call<'a>(
        &'a self,
        args: &'a Value,
        context: &'a ToolContext,
    ) -> BoxFuture<'a, Result<ToolOutput, ToolError>> {
        Box::pin(async move {
            if let Some(starting) = &self.starting {
                starting(context);
            }
            let access = self.tool.access(args);
            let effects = effects(&access);
            if effects.is_empty() {
                let cacheable = self
                    .cacheable
                    .as_ref()
                    .is_none_or(|cacheable| cacheable(args));
                return match cacheable && !access.reads.is_empty() {
                    true => self.cached(args, context, &access).await,
                    false => self.tool.call(args, context).await,
                };
            }
            self.cache.invalidate_writes(&effects).await;
            let outcome = self.tool.call(args, context).await;
            self.cache.invalidate_writes(&effects).await;
            outcome
        })
    }
}

impl std::fmt::Debug for CachedTool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CachedTool")
            .field("name", &self.tool.name())
            .finish_non_exhaustive()
    }
}

thread_local! {
    /// What is being loaded by the futures that this thread is polling, outermost first.
    static LOADING: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Whether somebody further out loads this already, and would wait for himself.
fn is_loading(key: &str) -> bool {
    LOADING.with_borrow(|all| all.iter().any(|outer| outer == key))
}

/// Runs `load`, telling what it calls that `key` is being loaded.
async fn loading<T>(key: &str, load: impl Future<Output = T>) -> T {
    /// Taken back when a poll ends, by a panic too.
    struct Inside;
    impl Drop for Inside {
        fn drop(&mut self) {
            LOADING.with_borrow_mut(|all| drop(all.pop()));
        }
    }
    let mut load = pin!(load);
    poll_fn(|context| {
        LOADING.with_borrow_mut(|all| all.push(key.to_owned()));
        let _inside = Inside;
        load.as_mut().poll(context)
    })
    .await
}

fn effects(access: &Access) -> Effects {
    if access.exclusive {
        return Effects::new().write_anything();
    }
    access
        .writes
        .iter()
        .fold(Effects::new(), |effects, written| {
            effects.write(written.as_str())
        })
}

/// The tool's own error, out of the cache's.
fn unwrapped(error: &Error) -> ToolError {
    match error {
        Error::Load(cause) => match cause.downcast_ref::<ToolError>() {
            Some(own) => own.clone(),
            None => ToolError::transient(error.to_string()),
        },
        _ => ToolError::transient(error.to_string()),
    }
}
