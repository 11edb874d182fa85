//! The wiring between the crates, and the main job as a person would run it.

#![forbid(unsafe_code)]

#[cfg(all(feature = "scheduler", feature = "cache-tier"))]
mod cached_tool;
#[cfg(all(feature = "watch", feature = "runtime"))]
mod changed_agents;
#[cfg(feature = "runtime")]
mod config;
#[cfg(feature = "runtime")]
mod event;
#[cfg(all(feature = "bloom", feature = "cache-tier"))]
mod filtered_tier;
#[cfg(feature = "runtime")]
mod fork;
#[cfg(feature = "runtime")]
mod hostile;
#[cfg(feature = "runtime")]
mod import;
#[cfg(feature = "agents")]
mod lazy_prompts;
#[cfg(feature = "runtime")]
mod lifecycle;
#[cfg(feature = "runtime")]
mod mended;
#[cfg(all(feature = "agents", feature = "scheduler"))]
mod model_tool;
#[cfg(feature = "runtime")]
mod old_layout;
#[cfg(feature = "runtime")]
mod pains;
#[cfg(feature = "runtime")]
mod power_cut;
#[cfg(all(feature = "openai-client", feature = "requests"))]
mod provider_path;
#[cfg(feature = "runtime")]
mod refused;
#[cfg(all(feature = "monitor", feature = "pool", feature = "cache-tier"))]
mod relief;
#[cfg(all(feature = "full", feature = "openai"))]
mod replay;
#[cfg(feature = "runtime")]
mod retention;
#[cfg(feature = "runtime")]
mod session;
#[cfg(all(feature = "mmap-store", feature = "delta-snapshot"))]
mod store_backing;
#[cfg(all(feature = "mmap-store", feature = "cache-tier"))]
mod store_tier;
#[cfg(feature = "runtime")]
mod texts;
#[cfg(all(feature = "runtime", feature = "redis", feature = "object-store"))]
mod two_machines;
