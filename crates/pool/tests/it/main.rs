//! Integration tests of the pools. With `--cfg shuttle` only the model-checked ones are built.
#![cfg_attr(shuttle, allow(dead_code, unused_imports))]

#[cfg(not(shuttle))]
mod buffers;
#[cfg(not(shuttle))]
mod cancel;
#[cfg(not(shuttle))]
mod counting;
mod faults;
#[cfg(not(shuttle))]
mod keyed;
#[cfg(not(shuttle))]
mod model;
#[cfg(not(shuttle))]
mod objects;
#[cfg(not(shuttle))]
mod pains;
#[cfg(not(shuttle))]
mod planted;
#[cfg(shuttle)]
mod shuttled;
mod sim;
#[cfg(not(shuttle))]
mod storm;
#[cfg(all(feature = "tokio", not(shuttle)))]
mod tcp;
#[cfg(not(shuttle))]
mod waiting;
