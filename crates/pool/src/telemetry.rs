//! What pools with a name report: metrics through the `metrics` facade, events through `tracing`.
//! Without these features, or without a name, nothing.
//!
//! Recorders and subscribers are code of the user: one that panics costs its own figures and
//! nothing else.

mod buffers;
#[cfg(feature = "metrics")]
mod instruments;
mod objects;
mod resources;

pub(crate) use buffers::BufferTelemetry;
pub(crate) use objects::ObjectTelemetry;
pub(crate) use resources::Telemetry;

/// Calls code of the user that must not cost the pool anything when it panics.
#[cfg(any(feature = "metrics", feature = "tracing"))]
fn quietly<R>(report: impl FnOnce() -> R) -> Option<R> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(report)).ok()
}
