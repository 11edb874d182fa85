//! What the store tells of its work, if anybody asked for it.

/// A span until the end of the scope.
#[cfg(feature = "tracing")]
macro_rules! span {
    ($name:literal) => {
        let _span = tracing::info_span!($name).entered();
    };
}

#[cfg(not(feature = "tracing"))]
macro_rules! span {
    ($name:literal) => {};
}

pub(crate) use span;

#[cfg(feature = "metrics")]
pub(crate) use measured::{compact, flush, get, write};
#[cfg(not(feature = "metrics"))]
pub(crate) use silent::{compact, flush, get, write};

#[cfg(feature = "metrics")]
mod measured {
    use std::time::Instant;

    use bytes::Bytes;
    use metrics::{counter, histogram};

    use crate::compact::CompactReport;
    use crate::error::Result;

    fn outcome<T>(result: &Result<T>, of: impl Fn(&T) -> &'static str) -> &'static str {
        result.as_ref().map_or("error", of)
    }

    pub(crate) fn get(run: impl FnOnce() -> Result<Option<Bytes>>) -> Result<Option<Bytes>> {
        let start = Instant::now();
        let found = run();
        histogram!("mmap_store_get_seconds").record(start.elapsed());
        let told = outcome(&found, |found| if found.is_some() { "hit" } else { "miss" });
        counter!("mmap_store_gets_total", "outcome" => told).increment(1);
        if let Ok(Some(value)) = &found {
            counter!("mmap_store_read_bytes_total").increment(value.len() as u64);
        }
        found
    }

    /// Of `bytes` of keys and values.
    pub(crate) fn write(bytes: u64, run: impl FnOnce() -> Result<bool>) -> Result<bool> {
        let start = Instant::now();
        let done = run();
        histogram!("mmap_store_write_seconds").record(start.elapsed());
        let told = outcome(&done, |done| if *done { "applied" } else { "refused" });
        counter!("mmap_store_writes_total", "outcome" => told).increment(1);
        if let Ok(true) = done {
            counter!("mmap_store_written_bytes_total").increment(bytes);
        }
        done
    }

    pub(crate) fn flush(run: impl FnOnce() -> Result<()>) -> Result<()> {
        let start = Instant::now();
        let done = run();
        histogram!("mmap_store_flush_seconds").record(start.elapsed());
        done
    }

    pub(crate) fn compact(run: impl FnOnce() -> Result<CompactReport>) -> Result<CompactReport> {
        let start = Instant::now();
        let report = run();
        histogram!("mmap_store_compact_seconds").record(start.elapsed());
        if let Ok(report) = &report {
            let freed = report.bytes_before.saturating_sub(report.bytes_after);
            counter!("mmap_store_freed_bytes_total").increment(freed);
        }
        report
    }
}

#[cfg(not(feature = "metrics"))]
mod silent {
    use bytes::Bytes;

    use crate::compact::CompactReport;
    use crate::error::Result;

    #[inline]
    pub(crate) fn get(run: impl FnOnce() -> Result<Option<Bytes>>) -> Result<Option<Bytes>> {
        run()
    }

    #[inline]
    pub(crate) fn write(_bytes: u64, run: impl FnOnce() -> Result<bool>) -> Result<bool> {
        run()
    }

    pub(crate) fn flush(run: impl FnOnce() -> Result<()>) -> Result<()> {
        run()
    }

    pub(crate) fn compact(run: impl FnOnce() -> Result<CompactReport>) -> Result<CompactReport> {
        run()
    }
}
