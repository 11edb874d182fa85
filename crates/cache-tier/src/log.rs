//! What is told to `tracing`, where the feature is on.

use crate::error::Error;
use crate::label::Scope;
use std::future::Future;

#[cfg(feature = "tracing")]
const TARGET: &str = "mainspring_cache_tier";

/// The load in a span of its own, entered whenever it is polled.
#[cfg(feature = "tracing")]
pub(crate) fn loading<F: Future>(scope: &Scope, load: F) -> impl Future<Output = F::Output> {
    use tracing::Instrument as _;
    let span = tracing::debug_span!(target: TARGET, "cache load", scope = scope.as_str());
    load.instrument(span)
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn loading<F: Future>(_: &Scope, load: F) -> F {
    load
}

/// A tier failed, and the cache goes on without it.
pub(crate) fn failed(tier: &str, error: &Error) {
    #[cfg(feature = "tracing")]
    tracing::warn!(target: TARGET, tier, %error, "cache tier failed");
    #[cfg(not(feature = "tracing"))]
    let _ = (tier, error);
}

/// So many labels are being invalidated.
pub(crate) fn invalidated(labels: usize) {
    #[cfg(feature = "tracing")]
    tracing::debug!(target: TARGET, labels, "cache entries invalidated");
    #[cfg(not(feature = "tracing"))]
    let _ = labels;
}
