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
#[cfg(feature = "requests")]
mod requests;
#[cfg(shuttle)]
mod shuttled;
#[path = "../simulation/mod.rs"]
mod simulated;
mod simulation;
mod support;
mod task_streams;
mod tasks;
#[cfg(feature = "tower")]
mod towers;
