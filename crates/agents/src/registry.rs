use std::{
    collections::BTreeMap,
    error::Error as StdError,
    fmt,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::sync::Mutex as FlightMutex;

use crate::error::Error;

/// A boxed future that another thread may poll.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why a loader failed.
pub type LoadError = Box<dyn StdError + Send + Sync>;

/// Time passed since any fixed moment; it never goes back.
pub type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

type Loader<T> = Box<dyn Fn() -> BoxFuture<'static, Result<T, LoadError>> + Send + Sync>;

/// Components that are made when they are first needed.
///
/// Each is loaded at most once at a time however many ask for it (single-flight): the others wait for
/// the load that is under way and share its outcome. A failed load is told to those who waited for it
/// and tried again by the next who asks; a caller that is cancelled in the middle of a load hands over
/// to the next waiting one. A loader that panics has failed. Components of the critical set can be
/// loaded beforehand without any failure stopping the others.
///
/// ```
/// use mainspring_agents::LazyRegistry;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), mainspring_agents::Error> {
/// let registry = LazyRegistry::builder()
///     .critical("tokenizer", || async { Ok("a large table".to_owned()) })
///     .component("browser", || async { Err("no display".into()) })
///     .build();
///
/// let report = registry.preload().await;            // or spawn it in the background
/// assert!(report.iter().all(|load| load.error.is_none()));
/// assert_eq!(*registry.get("tokenizer").await?, "a large table");
/// assert!(registry.get("browser").await.is_err());  // and the next use tries again
/// # Ok(()) }
/// ```
pub struct LazyRegistry<T> {
    components: BTreeMap<String, Component<T>>,
    clock: Clock,
}

struct Component<T> {
    loader: Loader<T>,
    critical: bool,
    /// Held while a load is under way.
    flight: FlightMutex<()>,
    state: Mutex<ComponentState<T>>,
}

struct ComponentState<T> {
    value: Option<Arc<T>>,
    uses: u64,
    loads: u64,
    failures: u64,
    load_time: Option<Duration>,
    error: Option<Arc<dyn StdError + Send + Sync>>,
}

impl<T> Default for ComponentState<T> {
    fn default() -> Self {
        Self {
            value: None,
            uses: 0,
            loads: 0,
            failures: 0,
            load_time: None,
            error: None,
        }
    }
}

/// What is recorded of a component.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ComponentStats {
    /// Its name.
    pub name: String,
    /// Whether it is in the critical set.
    pub critical: bool,
    /// Whether it is there now.
    pub loaded: bool,
    /// How often it was asked for; preloading does not count.
    pub uses: u64,
    /// Loads that were finished.
    pub loads: u64,
    /// Those of them that failed.
    pub failures: u64,
    /// How long the last finished load took.
    pub load_time: Option<Duration>,
    /// Why the last load failed, if it did.
    pub error: Option<String>,
}

/// Components and their loaders, for [`LazyRegistry::builder`].
#[must_use = "components are registered by `build`"]
pub struct LazyRegistryBuilder<T> {
    components: BTreeMap<String, Component<T>>,
    clock: Clock,
}

impl<T: Send + Sync + 'static> LazyRegistryBuilder<T> {
    /// A component and how to load it. A second one of the same name takes the place of the first.
    pub fn component<F, L>(self, name: impl Into<String>, loader: F) -> Self
    where
        F: Fn() -> L + Send + Sync + 'static,
        L: Future<Output = Result<T, LoadError>> + Send + 'static,
    {
        self.add(name.into(), false, loader)
    }

    /// As [`component`](Self::component), in the critical set that [`LazyRegistry::preload`] loads.
    pub fn critical<F, L>(self, name: impl Into<String>, loader: F) -> Self
    where
        F: Fn() -> L + Send + Sync + 'static,
        L: Future<Output = Result<T, LoadError>> + Send + 'static,
    {
        self.add(name.into(), true, loader)
    }

    /// The clock that load times are taken with. Default the monotonic clock of the system.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The registry; nothing is loaded yet.
    #[must_use]
    pub fn build(self) -> LazyRegistry<T> {
        LazyRegistry {
            components: self.components,
            clock: self.clock,
        }
    }

    fn add<F, L>(mut self, name: String, critical: bool, loader: F) -> Self
    where
        F: Fn() -> L + Send + Sync + 'static,
        L: Future<Output = Result<T, LoadError>> + Send + 'static,
    {
        let loader: Loader<T> = Box::new(move || Box::pin(loader()));
        let component = Component {
            loader,
            critical,
            flight: FlightMutex::new(()),
            state: Mutex::default(),
        };
        self.components.insert(name, component);
        self
    }
}

impl<T: Send + Sync + 'static> LazyRegistry<T> {
    /// An empty set of components.
    pub fn builder() -> LazyRegistryBuilder<T> {
        let start = Instant::now();
        LazyRegistryBuilder {
            components: BTreeMap::new(),
            clock: Arc::new(move || start.elapsed()),
        }
    }

    /// The component, loaded now if it is not there. Once it is there this takes one short lock.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a name that nobody registered, [`Error::Load`] when loading failed.
    pub async fn get(&self, name: &str) -> Result<Arc<T>, Error> {
        let component = self.component(name)?;
        component.state().uses += 1;
        self.loaded(name, component).await
    }

    /// The component if it is there already.
    #[must_use]
    pub fn peek(&self, name: &str) -> Option<Arc<T>> {
        self.components.get(name)?.state().value.clone()
    }

    /// Loads the critical set, all at once. A failure stops nothing: it stands in the report, and the
    /// next use of that component tries again.
    pub async fn preload(&self) -> Vec<ComponentStats> {
        let critical = self
            .components
            .iter()
            .filter(|(_, component)| component.critical);
        self.load_all(critical.map(|(name, _)| name.as_str()).collect())
            .await
    }

    /// As [`preload`](Self::preload) for these components; unknown names are passed over.
    pub async fn preload_list(&self, names: &[&str]) -> Vec<ComponentStats> {
        self.load_all(names.to_vec()).await
    }

    /// The components asked for most often, most often first; equal ones by name.
    #[must_use]
    pub fn most_used(&self, limit: usize) -> Vec<String> {
        let uses = self
            .components
            .iter()
            .map(|(name, component)| (component.state().uses, name));
        let mut used: Vec<_> = uses.filter(|&(uses, _)| uses > 0).collect();
        used.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
        used.into_iter()
            .take(limit)
            .map(|(_, name)| name.clone())
            .collect()
    }

    /// Forgets the component, so that its next use loads it anew. Those who hold it keep it.
    pub fn unload(&self, name: &str) -> bool {
        self.components
            .get(name)
            .is_some_and(|component| component.state().value.take().is_some())
    }

    /// What is recorded of each component, by name.
    #[must_use]
    pub fn stats(&self) -> Vec<ComponentStats> {
        self.components
            .iter()
            .map(|(name, component)| component.stats(name))
            .collect()
    }

    fn component(&self, name: &str) -> Result<&Component<T>, Error> {
        let missing = || Error::NotFound {
            kind: "component",
            name: name.to_owned(),
        };
        self.components.get(name).ok_or_else(missing)
    }

    async fn loaded(&self, name: &str, component: &Component<T>) -> Result<Arc<T>, Error> {
        let loads_before = match component.state() {
            state if state.value.is_some() => return state.outcome(name),
            state => state.loads,
        };
        let _flight = component.flight.lock().await;
        {
            let state = component.state();
            // A load that ended while this caller waited is its load too, whatever came of it.
            let failed_meanwhile = state.loads != loads_before && state.error.is_some();
            if state.value.is_some() || failed_meanwhile {
                return state.outcome(name);
            }
        }
        let start = (self.clock)();
        let result = guarded(&component.loader).await;
        let mut state = component.state();
        state.record(result, (self.clock)().saturating_sub(start));
        state.outcome(name)
    }

    async fn load_all(&self, names: Vec<&str>) -> Vec<ComponentStats> {
        let known = names
            .into_iter()
            .filter_map(|name| Some((name, self.components.get(name)?)));
        let known: Vec<_> = known.collect();
        let loads = known.iter().map(|&(name, component)| -> BoxFuture<'_, ()> {
            Box::pin(async move { drop(self.loaded(name, component).await) })
        });
        all(loads.collect()).await;
        known
            .into_iter()
            .map(|(name, component)| component.stats(name))
            .collect()
    }
}

impl<T> Component<T> {
    fn state(&self) -> MutexGuard<'_, ComponentState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stats(&self, name: &str) -> ComponentStats {
        let state = self.state();
        ComponentStats {
            name: name.to_owned(),
            critical: self.critical,
            loaded: state.value.is_some(),
            uses: state.uses,
            loads: state.loads,
            failures: state.failures,
            load_time: state.load_time,
            error: state.error.as_ref().map(ToString::to_string),
        }
    }
}

impl<T> ComponentState<T> {
    fn record(&mut self, result: Result<T, LoadError>, took: Duration) {
        self.loads += 1;
        self.load_time = Some(took);
        match result {
            Ok(value) => {
                self.value = Some(Arc::new(value));
                self.error = None;
            }
            Err(error) => {
                self.failures += 1;
                self.error = Some(error.into());
            }
        }
    }

    /// The value, or why there is none.
    fn outcome(&self, name: &str) -> Result<Arc<T>, Error> {
        match (&self.value, &self.error) {
            (Some(value), _) => Ok(Arc::clone(value)),
            (None, Some(source)) => Err(Error::Load {
                component: name.to_owned(),
                source: Arc::clone(source),
            }),
            (None, None) => Err(Error::NotFound {
                kind: "component",
                name: name.to_owned(),
            }),
        }
    }
}

/// Runs a loader; a panic is a failure like any other.
async fn guarded<T>(loader: &Loader<T>) -> Result<T, LoadError> {
    let mut future = match catch_unwind(AssertUnwindSafe(loader)) {
        Ok(future) => future,
        Err(panic) => return Err(panic_text(&*panic).into()),
    };
    poll_fn(|context: &mut Context<'_>| {
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(poll) => poll,
            Err(panic) => Poll::Ready(Err(panic_text(&*panic).into())),
        }
    })
    .await
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the loader panicked: {}", text.unwrap_or("without a text"))
}

/// Waits for all of a few futures, side by side.
async fn all(mut futures: Vec<BoxFuture<'_, ()>>) {
    poll_fn(|context| {
        futures.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if futures.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

impl<T> fmt::Debug for LazyRegistry<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LazyRegistry")
            .field("components", &self.components.keys())
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for LazyRegistryBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LazyRegistryBuilder")
            .field("components", &self.components.keys())
            .finish_non_exhaustive()
    }
}
