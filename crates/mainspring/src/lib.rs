//! One import for the performance layer of an AI agent runtime: sessions, checkpoints, context, tools,
//! caches and figures.
//!
//! Each crate of the family is a module here, behind a feature of its name; [`adapters`] wires two of
//! them together, and with the feature `runtime` a `Runtime` wires them all. There is no algorithm in
//! this crate.
//!
//! | you want | module |
//! | --- | --- |
//! | a session log that survives power cuts and full disks | `mmap_store` |
//! | versions of a growing state at the cost of the change | `delta_snapshot` |
//! | context that fits its window and forgets nothing the user said | `compressor` |
//! | tool calls in parallel, budgets, retries | `scheduler` |
//! | a cache with tiers, single-flight and invalidation | `cache_tier` |
//! | buffers, objects and connections to use again | `pool` |
//! | "have I seen this?" | `bloom` |
//! | figures of a running system | `monitor` |
//! | agent definitions | `agents` |
//! | all of them in one | `Runtime` and `Session` |

#![forbid(unsafe_code)]

#[cfg(feature = "agents")]
pub use mainspring_agents as agents;
#[cfg(feature = "bloom")]
pub use mainspring_bloom as bloom;
#[cfg(feature = "cache-tier")]
pub use mainspring_cache_tier as cache_tier;
#[cfg(feature = "compressor")]
pub use mainspring_compressor as compressor;
#[cfg(feature = "delta-snapshot")]
pub use mainspring_delta_snapshot as delta_snapshot;
#[cfg(feature = "mmap-store")]
pub use mainspring_mmap_store as mmap_store;
#[cfg(feature = "monitor")]
pub use mainspring_monitor as monitor;
#[cfg(feature = "pool")]
pub use mainspring_pool as pool;
#[cfg(feature = "scheduler")]
pub use mainspring_scheduler as scheduler;

pub mod adapters;

#[cfg(all(doctest, feature = "runtime"))]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(all(doctest, feature = "runtime"))]
#[doc = include_str!("../../../README.md")]
struct ProjectReadme;

#[cfg(all(doctest, feature = "full"))]
#[doc = include_str!("../../../docs/GUIDE.md")]
struct Guide;

#[cfg(feature = "config")]
mod config_file;
#[cfg(feature = "runtime")]
mod error;
#[cfg(feature = "runtime")]
mod event;
#[cfg(feature = "runtime")]
mod import;
#[cfg(feature = "runtime")]
mod knob;
#[cfg(feature = "runtime")]
mod profile;
#[cfg(feature = "runtime")]
mod runtime;
#[cfg(feature = "runtime")]
mod session;

#[cfg(feature = "config")]
pub use config_file::ConfigFile;
#[cfg(feature = "runtime")]
pub use error::Error;
#[cfg(feature = "runtime")]
pub use event::{Event, EventBus, Events, Missed};
#[cfg(feature = "runtime")]
pub use import::{Imported, Quarantined};
#[cfg(feature = "runtime")]
pub use knob::{ConfigError, Knob};
#[cfg(feature = "runtime")]
pub use profile::{Config, Profile};
#[cfg(feature = "runtime")]
pub use runtime::{Parts, Runtime, Shutdown, Upkeep};
#[cfg(feature = "runtime")]
pub use session::{Divergence, Mended, Session, Usage};
