//! The wiring between crates: each adapter makes one crate's type serve as another crate's trait.

#[cfg(all(feature = "scheduler", feature = "cache-tier"))]
mod cached_tool;
#[cfg(all(feature = "watch", feature = "runtime"))]
mod changed_agents;
#[cfg(all(feature = "bloom", feature = "cache-tier"))]
mod filtered_tier;
#[cfg(all(feature = "agents", feature = "scheduler"))]
mod model_tool;
#[cfg(all(feature = "monitor", feature = "pool", feature = "cache-tier"))]
mod relief;
#[cfg(all(feature = "mmap-store", feature = "delta-snapshot"))]
mod store_backing;
#[cfg(all(feature = "mmap-store", feature = "cache-tier"))]
mod store_tier;

#[cfg(all(feature = "scheduler", feature = "cache-tier"))]
pub use cached_tool::CachedTool;
#[cfg(all(feature = "watch", feature = "runtime"))]
pub use changed_agents::{ChangedAgents, forget_changed_agents};
#[cfg(all(feature = "bloom", feature = "cache-tier"))]
pub use filtered_tier::FilteredTier;
#[cfg(all(feature = "agents", feature = "scheduler"))]
pub use model_tool::ModelTool;
#[cfg(all(feature = "monitor", feature = "pool", feature = "cache-tier"))]
pub use relief::{relief, relief_told};
#[cfg(all(feature = "mmap-store", feature = "delta-snapshot"))]
pub use store_backing::StoreBacking;
#[cfg(all(feature = "mmap-store", feature = "cache-tier"))]
pub use store_tier::StoreTier;
