//! One binary for all integration tests.

mod compaction;
mod concurrency;
mod crash;
mod cuts;
mod damage;
mod faults;
mod fixtures;
mod fuzz;
mod hook;
mod kill;
mod large;
mod lazy;
mod lookup;
mod model;
#[cfg(feature = "zstd")]
mod packing;
mod pains;
#[cfg(target_os = "linux")]
mod power;
mod processes;
mod repair;
mod sim;
mod size;

#[cfg(feature = "tokio")]
mod asynchronous;
#[cfg(all(feature = "metrics", feature = "tracing"))]
mod telemetry;
