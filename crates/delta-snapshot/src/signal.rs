//! What a store tells the outside: the `metrics` facade and `tracing` spans, each behind its feature; nothing without them.

use crate::error::Result;

/// A call that is timed and traced.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Call {
    Commit,
    Restore,
    Seal,
    Prune,
    Retain,
    Gc,
    Verify,
}

#[cfg(any(feature = "metrics", feature = "tracing"))]
impl Call {
    fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Restore => "restore",
            Self::Seal => "seal",
            Self::Prune => "prune",
            Self::Retain => "retain",
            Self::Gc => "gc",
            Self::Verify => "verify",
        }
    }
}

/// Things that are counted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Count {
    /// Bytes appended for versions.
    Written,
    /// Bytes of restored states.
    Restored,
    /// Versions that a prune took away.
    Pruned,
    /// Bytes that a collection gave back.
    Freed,
}

/// Runs a call inside a span and notes how long it took and whether it failed.
pub(crate) fn during<T>(call: Call, act: impl FnOnce() -> Result<T>) -> Result<T> {
    #[cfg(not(any(feature = "metrics", feature = "tracing")))]
    let _ = call;
    #[cfg(feature = "tracing")]
    let _span = tracing::debug_span!("delta_snapshot", call = call.name()).entered();
    #[cfg(feature = "metrics")]
    let begun = std::time::Instant::now();
    let done = act();
    #[cfg(feature = "metrics")]
    {
        let took = begun.elapsed().as_secs_f64();
        metrics::histogram!("delta_snapshot_call_seconds", "call" => call.name()).record(took);
        if done.is_err() {
            metrics::counter!("delta_snapshot_failures_total", "call" => call.name()).increment(1);
        }
    }
    #[cfg(feature = "tracing")]
    if let Err(error) = &done {
        tracing::debug!(%error, "failed");
    }
    done
}

/// Adds to a counter.
pub(crate) fn count(what: Count, n: u64) {
    #[cfg(not(feature = "metrics"))]
    let _ = (what, n);
    #[cfg(feature = "metrics")]
    match what {
        Count::Written => metrics::counter!("delta_snapshot_written_bytes_total"),
        Count::Restored => metrics::counter!("delta_snapshot_restored_bytes_total"),
        Count::Pruned => metrics::counter!("delta_snapshot_pruned_versions_total"),
        Count::Freed => metrics::counter!("delta_snapshot_freed_bytes_total"),
    }
    .increment(n);
}
