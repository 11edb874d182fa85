//! The handle of a keyed pool.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use super::manager::{ForKey, KeyedManager};
use super::total::Total;
use crate::error::{BuildError, Error};
use crate::pressure::{Pressure, Reclaimed};
use crate::resource::{
    Event, Hooks, Lane, OwnedPooled, Policy, Quota, ResourcePool, ResourceStats, Runtime, Shared,
    policy_setters,
};
use crate::telemetry::Telemetry;

/// A resource on loan from a [`KeyedPool`].
pub type KeyedPooled<K, M> = OwnedPooled<ForKey<K, M>>;

type Lanes<K, M> = HashMap<K, ResourcePool<ForKey<K, M>>>;
type Observer<K> = Arc<dyn Fn(&K, &Event) + Send + Sync>;

/// Pools of the same kind of resource for different keys, `host:port` for instance, under a common
/// limit. Clones share it.
///
/// Each key has a [`ResourcePool`] of its own, with all its properties. When the common limit is
/// reached, a key that needs a resource takes the place of the least recently used idle one of
/// another key. When none is idle, a key that has none at all gets the next that is returned anywhere,
/// in the order of waiting; a key that has some waits for a return of its own, because each move from
/// key to key costs a connect. Keys are bounded too: a new one replaces one that is not in use.
///
/// A [`KeyedManager`] connects by key. `TcpManager` (feature `tokio`) is one for TCP.
pub struct KeyedPool<K, M>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    M: KeyedManager<K>,
{
    hub: Arc<Hub<K, M>>,
}

struct Hub<K, M>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    M: KeyedManager<K>,
{
    lanes: RwLock<Lanes<K, M>>,
    total: Arc<Total>,
    manager: Arc<M>,
    runtime: Arc<dyn Runtime>,
    policy: Policy,
    max_keys: usize,
    observer: Option<Observer<K>>,
    telemetry: Telemetry,
    next_lane: AtomicU64,
}

/// Settings of a [`KeyedPool`]. Without other say: the defaults for network connections.
#[must_use]
pub struct KeyedPoolBuilder<K, M> {
    manager: M,
    policy: Policy,
    total: usize,
    max_keys: usize,
    observer: Option<Observer<K>>,
    telemetry: Telemetry,
}

impl<K, M> KeyedPoolBuilder<K, M>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    M: KeyedManager<K>,
{
    /// The most resources of one key. Default 10.
    pub fn per_key(mut self, max: usize) -> Self {
        self.policy.max = max;
        self
    }

    /// The most resources of all keys together. Default 50.
    pub fn total(mut self, max: usize) -> Self {
        self.total = max;
        self
    }

    /// The most keys. Default 20; one more replaces a key not in use, or is refused with
    /// [`Error::TooManyKeys`].
    pub fn max_keys(mut self, max: usize) -> Self {
        self.max_keys = max;
        self
    }

    policy_setters!();

    /// The name under which the pool reports, for all keys together; see
    /// [`ResourcePoolBuilder::name`](crate::ResourcePoolBuilder::name).
    pub fn name(mut self, name: &str) -> Self {
        self.telemetry = Telemetry::named(name);
        self
    }

    /// Is told what happens at which key, without any lock held.
    pub fn on_event(mut self, observer: impl Fn(&K, &Event) + Send + Sync + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Builds the pool on the current tokio runtime. Nothing is connected yet.
    ///
    /// # Errors
    /// [`BuildError`] for settings that make no sense, or outside of a runtime.
    #[cfg(feature = "tokio")]
    pub fn build(self) -> Result<KeyedPool<K, M>, BuildError> {
        let runtime = crate::TokioRuntime::current().ok_or(BuildError::NoRuntime)?;
        self.build_with(runtime)
    }

    /// Builds the pool on another runtime. Nothing is connected yet.
    ///
    /// # Errors
    /// [`BuildError`] for settings that make no sense.
    pub fn build_with(self, runtime: impl Runtime) -> Result<KeyedPool<K, M>, BuildError> {
        self.policy.check()?;
        if self.total == 0 || self.max_keys == 0 {
            return Err(BuildError::NoCapacity);
        }
        let hub = Hub {
            lanes: RwLock::new(HashMap::new()),
            total: Arc::new(Total::new(self.total)),
            manager: Arc::new(self.manager),
            runtime: Arc::new(runtime),
            policy: self.policy,
            max_keys: self.max_keys,
            observer: self.observer,
            telemetry: self.telemetry.connected(),
            next_lane: AtomicU64::new(0),
        };
        Ok(KeyedPool { hub: Arc::new(hub) })
    }
}

impl<K, M> KeyedPool<K, M>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    M: KeyedManager<K>,
{
    /// Settings, starting from the defaults.
    pub fn builder(manager: M) -> KeyedPoolBuilder<K, M> {
        KeyedPoolBuilder {
            manager,
            policy: Policy {
                min: 0,
                max: 10,
                ..Policy::connections()
            },
            total: 50,
            max_keys: 20,
            observer: None,
            telemetry: Telemetry::default(),
        }
    }

    /// Checks out a resource of the key.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get(&self, key: &K) -> Result<KeyedPooled<K, M>, Error> {
        let lane = self.hub.lane(key)?;
        lane.get_owned().await
    }

    /// As [`get`](Self::get), with another deadline than the acquire timeout.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get_within(&self, key: &K, time: Duration) -> Result<KeyedPooled<K, M>, Error> {
        let lane = self.hub.lane(key)?;
        Ok(lane.get().within(time).await?.into_owned())
    }

    /// Closes the key's idle resources and forgets the key. Those on loan are closed on return.
    /// Returns whether the key was known.
    pub fn remove(&self, key: &K) -> bool {
        let removed = self.hub.write(|lanes| lanes.remove(key));
        if let Some(lane) = &removed {
            lane.close();
        }
        removed.is_some()
    }

    /// Closes idle resources of every key; see [`ResourcePool::trim`].
    pub fn trim(&self, pressure: Pressure) -> Reclaimed {
        let mut total = Reclaimed::default();
        for lane in self.hub.all() {
            total += lane.trim(pressure);
        }
        total
    }

    /// The counters of one key's pool; `None` when the key is unknown.
    pub fn key_stats(&self, key: &K) -> Option<ResourceStats> {
        self.hub.read(|lanes| lanes.get(key).map(|l| l.stats()))
    }

    /// The counters of all present keys together; `max` is the common limit. O(keys).
    pub fn stats(&self) -> ResourceStats {
        let mut stats = ResourceStats::default();
        for lane in self.hub.all() {
            stats.add(&lane.stats());
        }
        stats.max = self.hub.total.max();
        stats
    }

    /// The keys that have a pool at present, in the order in which it was opened.
    pub fn keys(&self) -> Vec<K> {
        let all = self.hub.all();
        all.iter()
            .map(|lane| lane.manager().key().clone())
            .collect()
    }
}

impl<K, M> Hub<K, M>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    M: KeyedManager<K>,
{
    fn read<R>(&self, with: impl FnOnce(&Lanes<K, M>) -> R) -> R {
        with(&self.lanes.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<R>(&self, with: impl FnOnce(&mut Lanes<K, M>) -> R) -> R {
        with(&mut self.lanes.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// The pools of all keys, in the order in which they were opened.
    fn all(&self) -> Vec<ResourcePool<ForKey<K, M>>> {
        let mut all: Vec<_> = self.read(|lanes| lanes.values().cloned().collect());
        all.sort_unstable_by_key(ResourcePool::lane);
        all
    }

    /// The key's pool, made when it is new.
    fn lane(&self, key: &K) -> Result<ResourcePool<ForKey<K, M>>, Error> {
        if let Some(lane) = self.read(|lanes| lanes.get(key).cloned()) {
            return Ok(lane);
        }
        let fresh = self.open(key);
        let (lane, _replaced) = self.write(|lanes| self.insert(lanes, key, fresh))?;
        Ok(lane)
    }

    #[expect(
        clippy::type_complexity,
        reason = "the pool, and another to drop without the lock"
    )]
    fn insert(
        &self,
        lanes: &mut Lanes<K, M>,
        key: &K,
        fresh: ResourcePool<ForKey<K, M>>,
    ) -> Result<
        (
            ResourcePool<ForKey<K, M>>,
            Option<ResourcePool<ForKey<K, M>>>,
        ),
        Error,
    > {
        if let Some(lane) = lanes.get(key) {
            return Ok((lane.clone(), Some(fresh)));
        }
        let mut replaced = None;
        if lanes.len() >= self.max_keys {
            let unused = least_recent_unused(lanes).ok_or(Error::TooManyKeys {
                limit: self.max_keys,
            })?;
            replaced = lanes.remove(&unused);
        }
        lanes.insert(key.clone(), fresh.clone());
        Ok((fresh, replaced))
    }

    fn open(&self, key: &K) -> ResourcePool<ForKey<K, M>> {
        let manager = ForKey::new(key.clone(), Arc::clone(&self.manager));
        let mut hooks = Hooks::none();
        hooks.telemetry = self.telemetry.clone();
        if let Some(observer) = &self.observer {
            let (observer, key) = (Arc::clone(observer), key.clone());
            hooks.observer = Some(Arc::new(move |event: &Event| observer(&key, event)));
        }
        let id = self.next_lane.fetch_add(1, Ordering::Relaxed);
        let mut policy = self.policy;
        policy.seed = policy.seed.wrapping_add(id);
        let quota: Arc<dyn Quota> = Arc::clone(&self.total) as _;
        let runtime = Arc::clone(&self.runtime);
        let shared = Shared::new(manager, runtime, policy, hooks, Some((quota, id)));
        let lane: Weak<dyn Lane> = Arc::downgrade(&shared) as _;
        self.total.join(id, lane);
        ResourcePool::from_shared(shared)
    }
}

/// The key whose pool nobody uses at the moment and was used least recently.
fn least_recent_unused<K, M>(lanes: &Lanes<K, M>) -> Option<K>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    M: KeyedManager<K>,
{
    lanes
        .iter()
        .filter_map(|(key, lane)| Some(((lane.unused_since()?, lane.lane()), key)))
        .min_by_key(|(since, _)| *since)
        .map(|(_, key)| key.clone())
}

impl<K, M> Clone for KeyedPool<K, M>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    M: KeyedManager<K>,
{
    fn clone(&self) -> Self {
        Self {
            hub: Arc::clone(&self.hub),
        }
    }
}

impl<K, M> fmt::Debug for KeyedPool<K, M>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    M: KeyedManager<K>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyedPool").field(&self.stats()).finish()
    }
}

impl<K, M> fmt::Debug for KeyedPoolBuilder<K, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedPoolBuilder")
            .field("policy", &self.policy)
            .field("total", &self.total)
            .field("max_keys", &self.max_keys)
            .finish_non_exhaustive()
    }
}
