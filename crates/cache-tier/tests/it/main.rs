//! Tests of the public behaviour. With `--cfg shuttle` the interleavings of threads, and nothing else.

#[cfg(shuttle)]
mod threads;

#[cfg(not(shuttle))]
mod double;

#[cfg(not(shuttle))]
mod ages;
#[cfg(not(shuttle))]
mod behind;
#[cfg(all(feature = "zstd", not(shuttle)))]
mod compressed;
#[cfg(not(shuttle))]
mod debts;
#[cfg(not(shuttle))]
mod declared;
#[cfg(not(shuttle))]
mod directory;
#[cfg(not(shuttle))]
mod figures;
#[cfg(not(shuttle))]
mod interleaving;
#[cfg(not(shuttle))]
mod loading;
#[cfg(not(shuttle))]
mod model;
#[cfg(not(shuttle))]
mod modes;
#[cfg(not(shuttle))]
mod pains;
#[cfg(not(shuttle))]
mod prefetch;
#[cfg(all(feature = "redis", not(shuttle)))]
mod redis;
#[cfg(not(shuttle))]
mod reports;
#[cfg(not(shuttle))]
mod shared;
#[cfg(all(feature = "redis", not(shuttle)))]
mod slow_redis;
#[cfg(not(shuttle))]
mod tiers;
#[cfg(all(feature = "redis-tls", not(shuttle)))]
mod tls;
#[cfg(not(shuttle))]
mod told;
#[cfg(all(feature = "redis", not(shuttle)))]
mod tracking;
#[cfg(not(shuttle))]
mod values;
