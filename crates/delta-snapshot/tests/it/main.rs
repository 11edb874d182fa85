//! Integration tests of the crate, in one binary.

mod basics;
mod crash;
mod damage;
mod faulty;
mod fixtures;
mod hostile;
mod mishaps;
mod model;
#[cfg(feature = "object-store")]
mod object;
mod pains;
mod recorded;
