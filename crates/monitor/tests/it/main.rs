//! Everything this crate promises, by topic.

mod alone;
mod baseline;
mod corpus;
mod data;
#[cfg(feature = "http")]
mod endpoint;
mod exposition;
#[cfg(feature = "gen-ai")]
mod gen_ai;
#[cfg(feature = "tracing")]
mod log;
mod memory;
#[cfg(loom)]
mod model;
mod oracle;
#[cfg(feature = "otlp")]
mod otlp;
mod page;
mod profiles;
#[cfg(feature = "metrics")]
mod recorder;
mod registry;
#[cfg(feature = "tokio")]
mod runtime;
mod scope;
#[cfg(feature = "http")]
mod scrape;
#[cfg(feature = "tracing-layer")]
mod spans;
#[cfg(feature = "tokio")]
mod task;
#[cfg(feature = "terminal")]
mod terminal;
mod threads;

/// The protocol under test, compiled against the model checker's primitives.
#[cfg(loom)]
#[path = "../../src/cells.rs"]
mod cells;

#[cfg(loom)]
mod sync {
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
    pub(crate) use loom::sync::{Arc, Mutex, MutexGuard};
    pub(crate) use std::sync::PoisonError;
}
