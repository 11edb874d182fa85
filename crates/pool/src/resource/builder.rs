//! The settings of a resource pool.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::event::Event;
use super::manager::Manager;
use super::policy::Policy;
use super::pool::ResourcePool;
use super::runtime::Runtime;
use super::setters::policy_setters;
use super::shared::{Hooks, Shared};
use crate::error::BuildError;
use crate::telemetry::Telemetry;

/// Settings of a [`ResourcePool`].
///
/// Resources in general: 1 to 10 of them, 30 s acquire timeout, closed after 5 min idle.
/// [`for_connections`](Self::for_connections) and [`for_databases`](Self::for_databases) start from
/// other values.
#[must_use]
pub struct ResourcePoolBuilder<M: Manager> {
    manager: M,
    policy: Policy,
    hooks: Hooks<M::Resource>,
}

impl<M: Manager> ResourcePoolBuilder<M> {
    pub(crate) fn new(manager: M) -> Self {
        Self {
            manager,
            policy: Policy::generic(),
            hooks: Hooks::none(),
        }
    }

    /// Defaults for network connections: 2 to 20, 10 s acquire timeout, closed after 30 s idle,
    /// checked after 60 s. Replaces all numbers set before.
    pub fn for_connections(mut self) -> Self {
        self.policy = Policy::connections();
        self
    }

    /// Defaults for databases: as for connections, but 5 of them, opened eagerly, checked after 30 s.
    /// Replaces all numbers set before.
    pub fn for_databases(mut self) -> Self {
        self.policy = Policy::databases();
        self
    }

    /// The most resources there may be. Default 10 (connections 20, databases 5).
    pub fn max(mut self, max: usize) -> Self {
        self.policy.max = max;
        self
    }

    /// Resources that are opened eagerly and kept. Default 1 (connections 2, databases 5).
    pub fn min(mut self, min: usize) -> Self {
        self.policy.min = min;
        self
    }

    /// Idle resources that are held ready for a burst. Default 0.
    pub fn min_idle(mut self, min_idle: usize) -> Self {
        self.policy.min_idle = min_idle;
        self
    }

    policy_setters!();

    /// The name under which the pool reports: with the feature `metrics`, the label `pool` of its
    /// counters, gauges and histograms, and with the feature `tracing`, the field `pool` of its events.
    /// Default: none, and nothing is reported.
    pub fn name(mut self, name: &str) -> Self {
        self.hooks.telemetry = Telemetry::named(name);
        self
    }

    /// Looks at each new resource before anybody gets it; `false` discards it.
    pub fn after_connect(
        mut self,
        hook: impl Fn(&mut M::Resource) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.hooks.after_connect = Some(Arc::new(hook));
        self
    }

    /// Looks at each resource that comes back; `false` discards it. The place to reset session state.
    pub fn before_recycle(
        mut self,
        hook: impl Fn(&mut M::Resource) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.hooks.before_recycle = Some(Arc::new(hook));
        self
    }

    /// Is told what happens, without any lock held. It should be quick: it runs in the caller's checkout.
    pub fn on_event(mut self, observer: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.hooks.observer = Some(Arc::new(observer));
        self
    }

    /// Builds the pool on the current tokio runtime and begins to open `min` resources.
    ///
    /// # Errors
    /// [`BuildError`] for settings that make no sense, or outside of a runtime.
    #[cfg(feature = "tokio")]
    pub fn build(self) -> Result<ResourcePool<M>, BuildError> {
        let runtime = super::runtime::TokioRuntime::current().ok_or(BuildError::NoRuntime)?;
        self.build_with(runtime)
    }

    /// Builds the pool on another runtime and begins to open `min` resources.
    ///
    /// # Errors
    /// [`BuildError`] for settings that make no sense.
    pub fn build_with(mut self, runtime: impl Runtime) -> Result<ResourcePool<M>, BuildError> {
        self.policy.check()?;
        self.hooks.telemetry = self.hooks.telemetry.connected();
        let runtime = Arc::new(runtime);
        let shared = Shared::new(self.manager, runtime, self.policy, self.hooks, None);
        Ok(ResourcePool::from_shared(shared))
    }
}

impl<M: Manager> fmt::Debug for ResourcePoolBuilder<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResourcePoolBuilder")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
