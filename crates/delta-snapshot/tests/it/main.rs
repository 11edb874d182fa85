//! Integration tests of the crate, in one binary.

mod basics;
mod concurrent;
mod costs;
mod counting;
mod crash;
mod damage;
mod faulty;
mod fixtures;
mod fuzz;
mod hostile;
mod memory;
mod mishaps;
mod model;
#[cfg(feature = "object-store")]
mod object;
mod pains;
mod recorded;
#[cfg(any(feature = "metrics", feature = "tracing"))]
mod signals;
mod unreadable;
mod upkeep;
