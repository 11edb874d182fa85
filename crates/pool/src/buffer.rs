//! Byte buffers in four size classes that come home.

mod builder;
mod class;
mod handle;
mod local;
mod pool;
mod put;
mod shelf;
mod slab;
mod stats;

pub use builder::BufferPoolBuilder;
pub use handle::PooledBuf;
pub use pool::BufferPool;
pub use stats::{BufferStats, ClassStats, TagStats};
