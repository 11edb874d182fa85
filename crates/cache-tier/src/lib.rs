//! An adaptive in-memory cache with tiers below it, single-flight loads, and invalidation by tag and scope.
//!
//! - [`Cache`]: in memory and synchronous. Bounded by weight at every instant; a hit is a shard's read lock
//!   and two plain counters; the policy adapts between recency and frequency by itself; time to live, time-to-idle,
//!   tags, scopes, listeners, one load per key.
//! - [`TieredCache`]: a [`Cache`] over slower [`Tier`]s, asynchronous on any runtime. One lookup and one load
//!   per key at a time, cancel-safe and panic-safe; invalidation by key, tag, scope and written resource
//!   reaches every tier, and a load that began before it never publishes.
//! - [`DirTier`]: a tier of files that survives a restart. `CompressedTier` (feature `zstd`): a tier in memory
//!   that keeps its values compressed. `RedisTier` (feature `redis`): a tier that several machines share.
//!   Others implement [`Tier`].
//!
//! # Invalidation
//!
//! Tags ([`EntryOptions::tag`]), hierarchical scopes ([`Scope`], part of every [`Key`]) and resources that a
//! value was read from ([`EntryOptions::reads`]) are labels of an entry. Each invalidation advances a logical
//! clock and notes its reading for the label: O(1), whatever the number of entries. An entry notes the
//! reading at which its load *began*, and is stale once any of its labels has a later one. The notes
//! outlive the entries: tiers that survive a restart keep them, and where their number is bounded the oldest
//! are folded into one coarser note, so that forgetting costs a miss and never brings a stale value back.
//!
//! # What it costs
//!
//! Beside the key and the value an entry takes 16 bytes, 6 to 11 in the hash table, about 7 in the memory of
//! evicted keys, and what the slots' growth by doubling leaves free: 30 to 35 bytes when the cache is full. A weigher
//! takes 4 bytes more, a time-to-idle 8, labels 40 (a single one nothing else; several 16 and 8 each, shared by all
//! entries that were put with the same options), going by cost 1. Each cache has 1 KiB of counters.
#![forbid(unsafe_code)]

mod arrival;
mod batch;
mod behind;
#[cfg(feature = "redis")]
mod breaker;
mod builder;
mod cache;
mod caches;
mod change;
mod clock;
mod codec;
#[cfg(feature = "zstd")]
mod compressed;
mod compute;
mod cost;
mod debts;
mod dir;
mod doubt;
mod entry;
mod epochs;
mod error;
mod events;
mod explain;
mod fetch;
mod flight;
mod ghost;
mod history;
mod key;
mod keylock;
mod label;
mod lanes;
mod lead;
mod ledger;
mod level;
mod load;
mod locate;
mod log;
mod marks;
mod mode;
mod options;
mod policy;
mod prefetch;
mod record;
#[cfg(feature = "redis")]
mod redis;
mod removal;
#[cfg(feature = "metrics")]
mod report;
mod shard;
mod slab;
mod stats;
mod stored;
mod sync;
mod tags;
mod tier;
mod tiered;
mod tiered_builder;
#[cfg(feature = "redis")]
mod tracking;
mod turns;
mod weak;
mod weigh;
mod write;

pub use builder::{BuildError, CacheBuilder};
pub use cache::Cache;
pub use caches::{Caches, Cleared};
pub use change::{Change, Tell};
pub use clock::Clock;
pub use codec::{BytesCodec, Codec};
#[cfg(feature = "zstd")]
pub use compressed::CompressedTier;
pub use compute::Compute;
pub use dir::DirTier;
pub use entry::TierEntry;
pub use error::{Error, SharedError};
pub use explain::{Explain, MissReason};
pub use fetch::{Fetched, Source};
pub use hashbrown::Equivalent;
pub use key::Key;
pub use label::{Effects, Label, Scope};
pub use locate::{Located, TierCopy};
pub use mode::Mode;
pub use options::EntryOptions;
pub use prefetch::{Prefetch, PrefetchStats};
#[cfg(feature = "redis")]
pub use redis::RedisTier;
pub use stats::{CacheStats, Evicted, EvictionCause};
pub use stored::{Stored, TierFailure};
pub use tags::TagStats;
pub use tier::{Marks, Tier, TierFuture, TierStats, TierUsage};
pub use tiered::{TieredCache, TieredStats};
pub use tiered_builder::{TierSettings, TieredBuilder};
pub use weak::WeakCache;
pub use weigh::Weigh;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
