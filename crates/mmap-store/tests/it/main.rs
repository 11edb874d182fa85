//! One binary for all integration tests.

mod compaction;
mod concurrency;
mod crash;
mod damage;
mod faults;
mod hook;
mod kill;
mod lazy;
mod model;
mod pains;
mod processes;
mod sim;

#[cfg(feature = "tokio")]
mod asynchronous;
