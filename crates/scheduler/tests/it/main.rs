//! One integration binary; a module per subject.

mod agents;
mod batches;
mod budgets;
mod calls;
mod dags;
mod executors;
mod keys;
mod models;
mod pains;
#[path = "../simulation/mod.rs"]
mod simulated;
mod simulation;
mod support;
mod tasks;
#[cfg(feature = "tower")]
mod towers;
