//! A pool per key, under a common limit.

mod manager;
mod pool;
mod total;

pub use manager::{ForKey, KeyedManager};
pub use pool::{KeyedPool, KeyedPoolBuilder, KeyedPooled};
