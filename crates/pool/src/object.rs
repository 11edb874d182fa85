//! Reuse of objects that are expensive to build.

mod builder;
mod guard;
mod pool;
mod shelf;
mod stats;

pub use builder::ObjectPoolBuilder;
pub use guard::{OwnedObject, PooledObject};
pub use pool::ObjectPool;
pub use stats::ObjectStats;
