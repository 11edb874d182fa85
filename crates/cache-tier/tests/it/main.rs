//! Tests of the public behaviour.

mod double;

#[cfg(feature = "zstd")]
mod compressed;
mod directory;
mod interleaving;
mod loading;
mod model;
mod pains;
#[cfg(feature = "redis")]
mod redis;
mod shared;
mod tiers;
