//! Behaviour of the filters through their public API.

#[cfg(not(loom))]
mod answers;
#[cfg(not(loom))]
mod build;
#[cfg(not(loom))]
mod claims;
#[cfg(all(feature = "classic", not(loom)))]
mod classic;
#[cfg(not(loom))]
mod format;
#[cfg(loom)]
mod interleavings;
#[cfg(not(loom))]
mod membership;
#[cfg(not(loom))]
mod memory;
#[cfg(not(loom))]
mod parquet;
#[cfg(not(loom))]
mod rates;
#[cfg(not(loom))]
mod scalable;
#[cfg(all(feature = "serde", not(loom)))]
mod serde;
