//! Pools of things that are opened and checked asynchronously.

mod actions;
mod builder;
mod core;
mod demand;
mod driver;
mod entry;
mod event;
mod get;
mod guard;
mod manager;
mod policy;
mod pool;
mod queue;
mod runtime;
mod setters;
mod shared;
mod stats;
mod upkeep;

pub use builder::ResourcePoolBuilder;
pub use entry::ResourceInfo;
pub use event::{DiscardReason, Event};
pub use get::Get;
pub use guard::{OwnedPooled, Pooled};
pub use manager::Manager;
pub(crate) use policy::Policy;
pub use pool::ResourcePool;
#[cfg(feature = "tokio")]
pub use runtime::TokioRuntime;
pub use runtime::{Runtime, Task};
pub(crate) use setters::policy_setters;
pub(crate) use shared::{Hooks, Lane, Need, Quota, Shared};
pub use stats::{ResourceStats, Times};
