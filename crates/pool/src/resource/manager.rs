use std::error::Error;
use std::future::Future;

/// Opens and checks the resources of a [`ResourcePool`](crate::ResourcePool).
///
/// `connect` and `check` run in tasks of the pool, each under its own timeout, so they hold no lock
/// and a caller that leaves wastes nothing. A panic in any method counts as a failure.
///
/// ```
/// use mainspring_pool::Manager;
///
/// struct Files(std::path::PathBuf);
///
/// impl Manager for Files {
///     type Resource = std::fs::File;
///     type Error = std::io::Error;
///
///     async fn connect(&self) -> Result<std::fs::File, std::io::Error> {
///         std::fs::File::open(&self.0)
///     }
/// }
/// ```
pub trait Manager: Send + Sync + 'static {
    /// What the pool holds.
    type Resource: Send + 'static;
    /// Why connecting or checking failed.
    type Error: Error + Send + Sync + 'static;

    /// Opens a resource.
    fn connect(&self) -> impl Future<Output = Result<Self::Resource, Self::Error>> + Send;

    /// Checks a resource that was idle for long, by a ping for instance. Default: it is fine.
    fn check(
        &self,
        resource: &mut Self::Resource,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let _ = resource;
        async { Ok(()) }
    }

    /// Whether the resource is known to be unusable, without waiting. Asked at each checkout of an
    /// idle resource and at each return, outside of any lock. Default: no.
    fn is_broken(&self, resource: &mut Self::Resource) -> bool {
        let _ = resource;
        false
    }

    /// Lets go of a resource that the pool has no more use for. Default: drops it.
    fn discard(&self, resource: Self::Resource) {
        drop(resource);
    }
}
