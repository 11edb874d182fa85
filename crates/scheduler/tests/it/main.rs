//! One integration binary; a module per subject.

mod agents;
mod batches;
mod budgets;
mod calls;
mod dags;
mod executors;
mod holds;
mod keys;
#[cfg(feature = "rmcp")]
mod mcp;
mod models;
mod pains;
#[cfg(all(feature = "process", unix))]
mod processes;
#[cfg(feature = "requests")]
mod requests;
mod scaling;
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
