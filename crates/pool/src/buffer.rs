//! Byte buffers in four size classes that come home.

mod builder;
mod class;
mod handle;
mod local;
mod pool;
mod put;
mod reclaim;
mod shelf;
mod slab;
mod stats;

pub use builder::BufferPoolBuilder;
#[cfg(feature = "metrics")]
pub(crate) use class::{CLASS_BYTES, CLASSES, SIZES};
pub use handle::PooledBuf;
pub use pool::BufferPool;
pub use stats::{BufferStats, ClassStats, TagStats};
