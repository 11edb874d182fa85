//! Integration tests of the pools. With `--cfg loom` or `--cfg shuttle` only the model-checked
//! ones are built.
#![cfg_attr(any(loom, shuttle), allow(dead_code, unused_imports))]

#[cfg(not(any(loom, shuttle)))]
mod buffers;
#[cfg(not(any(loom, shuttle)))]
mod callbacks;
#[cfg(not(any(loom, shuttle)))]
mod cancel;
#[cfg(not(any(loom, shuttle)))]
mod counting;
#[cfg(loom)]
mod interleaved;
#[cfg(not(any(loom, shuttle)))]
mod keyed;
#[cfg(all(feature = "metrics", not(any(loom, shuttle))))]
mod metered;
#[cfg(not(any(loom, shuttle)))]
mod model;
#[cfg(not(any(loom, shuttle)))]
mod objects;
#[cfg(not(any(loom, shuttle)))]
mod pains;
#[cfg(not(any(loom, shuttle)))]
mod planted;
#[cfg(shuttle)]
mod shuttled;
#[path = "../simulator/mod.rs"]
mod simulator;
#[cfg(all(feature = "tokio", not(any(loom, shuttle))))]
mod tcp;
#[cfg(all(feature = "tracing", not(any(loom, shuttle))))]
mod traced;
#[cfg(not(any(loom, shuttle)))]
mod waiting;

use simulator::{faults, sim};
