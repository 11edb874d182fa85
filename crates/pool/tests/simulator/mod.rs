//! A deterministic simulator of the pools, shared by the tests and the example `simulate`.

pub(crate) mod faults;
pub(crate) mod schedule;
pub(crate) mod sim;
pub(crate) mod simple;
pub(crate) mod storm;
