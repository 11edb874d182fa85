//! Buffer, object and async resource pools that are fair, bounded and correct when callers are cancelled.
//!
//! | what | pool |
//! | --- | --- |
//! | byte buffers that become `Bytes` and come home | [`BufferPool`] |
//! | objects that are expensive to build | [`ObjectPool`] |
//! | connections and other things opened asynchronously | [`ResourcePool`] with a [`Manager`] |
//! | the same per `host:port` or other key, under a common limit | [`KeyedPool`] with a [`KeyedManager`] |
//!
//! The first two need no runtime. The others need a [`Runtime`], which is time and tasks: that of tokio
//! comes with the feature `tokio`, as does a manager for TCP connections, `TcpManager`.
//!
//! # Example
//!
//! ```
//! # #[cfg(feature = "tokio")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use mainspring_pool::{Manager, ResourcePool};
//!
//! struct Sessions;
//!
//! impl Manager for Sessions {
//!     type Resource = String;
//!     type Error = std::io::Error;
//!
//!     async fn connect(&self) -> Result<String, std::io::Error> {
//!         Ok("connected".to_owned())
//!     }
//! }
//!
//! let pool = ResourcePool::builder(Sessions).max(4).build()?;
//! let session = pool.get().await?;
//! assert_eq!(*session, "connected");
//! drop(session); // back in the pool
//! assert_eq!(pool.stats().in_use, 0);
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "tokio"))]
//! # fn main() {}
//! ```
//!
//! # What is promised
//!
//! - Dropping any future of this crate at any point leaks no place, no resource and no wake-up.
//! - Callers are served in the order of their coming.
//! - Every queue, cache and table has a bound with a default, and a defined answer when it is reached.
//! - No code of the user runs under a lock of a pool.

mod buffer;
mod error;
mod keyed;
mod object;
mod pressure;
mod resource;
mod sync;
#[cfg(feature = "tokio")]
mod tcp;
mod telemetry;

pub use buffer::{BufferPool, BufferPoolBuilder, BufferStats, ClassStats, PooledBuf, TagStats};
pub use error::{BuildError, Error, Source, Stage};
pub use keyed::{ForKey, KeyedManager, KeyedPool, KeyedPoolBuilder, KeyedPooled};
pub use object::{ObjectPool, ObjectPoolBuilder, ObjectStats, OwnedObject, PooledObject};
pub use pressure::{Pressure, Reclaimed};
#[cfg(feature = "tokio")]
pub use resource::TokioRuntime;
pub use resource::{
    DiscardReason, Event, Get, Manager, OwnedPooled, Pooled, ResourceInfo, ResourcePool,
    ResourcePoolBuilder, ResourceStats, Runtime, Task, Times,
};
#[cfg(feature = "tokio")]
pub use tcp::TcpManager;

/// The example of the README is compiled as well.
#[cfg(all(doctest, feature = "tokio"))]
#[doc = include_str!("../README.md")]
struct Readme;
