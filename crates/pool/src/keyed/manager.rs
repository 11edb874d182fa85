use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use crate::resource::Manager;

/// Opens and checks the resources of a [`KeyedPool`](crate::KeyedPool): as
/// [`Manager`], with the key as what to connect to.
pub trait KeyedManager<K>: Send + Sync + 'static {
    /// What the pool holds.
    type Resource: Send + 'static;
    /// Why connecting or checking failed.
    type Error: Error + Send + Sync + 'static;

    /// Opens a resource for the key.
    fn connect(&self, key: &K) -> impl Future<Output = Result<Self::Resource, Self::Error>> + Send;

    /// Checks a resource that was idle for long. Default: it is fine.
    fn check(
        &self,
        key: &K,
        resource: &mut Self::Resource,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let _ = (key, resource);
        async { Ok(()) }
    }

    /// Whether the resource is known to be unusable, without waiting. Default: no.
    fn is_broken(&self, resource: &mut Self::Resource) -> bool {
        let _ = resource;
        false
    }

    /// Lets go of a resource that the pool has no more use for. Default: drops it.
    fn discard(&self, resource: Self::Resource) {
        drop(resource);
    }
}

/// A [`KeyedManager`] bound to one key: the [`Manager`] of that key's own pool.
pub struct ForKey<K, M> {
    key: K,
    manager: Arc<M>,
}

impl<K, M> ForKey<K, M> {
    pub(crate) fn new(key: K, manager: Arc<M>) -> Self {
        Self { key, manager }
    }

    /// The key.
    pub fn key(&self) -> &K {
        &self.key
    }
}

impl<K, M> Manager for ForKey<K, M>
where
    K: Send + Sync + 'static,
    M: KeyedManager<K>,
{
    type Resource = M::Resource;
    type Error = M::Error;

    fn connect(&self) -> impl Future<Output = Result<Self::Resource, Self::Error>> + Send {
        self.manager.connect(&self.key)
    }

    fn check(
        &self,
        resource: &mut Self::Resource,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        self.manager.check(&self.key, resource)
    }

    fn is_broken(&self, resource: &mut Self::Resource) -> bool {
        self.manager.is_broken(resource)
    }

    fn discard(&self, resource: Self::Resource) {
        self.manager.discard(resource);
    }
}

impl<K: fmt::Debug, M> fmt::Debug for ForKey<K, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForKey")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}
