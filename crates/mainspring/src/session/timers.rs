//! How long a runtime's operations take.

use std::sync::Arc;

use mainspring_compressor::{Tally, Tokenizer};
use mainspring_monitor::{Registry, Timer};

/// One timer an operation, all in one registry.
#[derive(Debug, Clone)]
pub(crate) struct Timers {
    pub(crate) append: Timer,
    pub(crate) checkpoint: Timer,
    pub(crate) count_tokens: Timer,
    pub(crate) compact: Timer,
    pub(crate) tool_call: Timer,
    pub(crate) cache_get: Timer,
    pub(crate) restore: Timer,
    pub(crate) resume: Timer,
}

impl Timers {
    pub(crate) fn new(registry: &Registry) -> Self {
        let timer = |operation| registry.timer(&format!("{operation}_duration"), &[]);
        Self {
            append: timer("append"),
            checkpoint: timer("checkpoint"),
            count_tokens: timer("count_tokens"),
            compact: timer("compact"),
            tool_call: timer("tool_call"),
            cache_get: timer("cache_get"),
            restore: timer("restore"),
            resume: timer("resume"),
        }
    }
}

/// A tokenizer whose counts are timed.
#[derive(Debug)]
pub(crate) struct TimedTokenizer {
    inner: Arc<dyn Tokenizer>,
    timer: Timer,
}

impl TimedTokenizer {
    pub(crate) fn new(inner: Arc<dyn Tokenizer>, timer: Timer) -> Self {
        Self { inner, timer }
    }
}

impl Tokenizer for TimedTokenizer {
    fn count(&self, text: &str) -> usize {
        self.timer.time(|| self.inner.count(text))
    }

    fn count_up_to(&self, text: &str, limit: usize) -> Option<usize> {
        self.timer.time(|| self.inner.count_up_to(text, limit))
    }

    fn error_bound(&self) -> f64 {
        self.inner.error_bound()
    }

    fn append(&self, tally: &mut Tally, text: &str) {
        self.timer.time(|| self.inner.append(tally, text));
    }
}
