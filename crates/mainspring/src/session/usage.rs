//! What a session has used.

use std::sync::atomic::{AtomicU64, Ordering};

use mainspring_compressor::Context;
use mainspring_scheduler::ToolOutcome;

/// What a session has used. The counts of calls, and what they cost, begin with its handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Usage {
    /// Messages in the log.
    pub messages: u64,
    /// Tokens that would be sent now.
    pub tokens: usize,
    /// The most that ever would have been.
    pub peak_tokens: usize,
    /// Compactions of the context.
    pub compactions: u64,
    /// Bytes appended through this handle.
    pub appended_bytes: u64,
    /// Of those, bytes of messages that the log had already.
    pub repeated_bytes: u64,
    /// Calls of tools that ended.
    pub calls: u64,
    /// Of those, calls without a result.
    pub failed_calls: u64,
    /// Tokens that the results of the calls say they cost.
    pub call_tokens: u64,
    /// Money that the results say they cost, in the unit of the budgets.
    pub call_money: u64,
}

/// The part that is counted as it happens.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) appended: AtomicU64,
    pub(crate) repeated: AtomicU64,
    calls: AtomicU64,
    failed: AtomicU64,
    tokens: AtomicU64,
    money: AtomicU64,
}

impl Counts {
    pub(crate) fn add(counter: &AtomicU64, value: u64) {
        counter.fetch_add(value, Ordering::Relaxed);
    }

    pub(crate) fn call(&self, outcome: &ToolOutcome) {
        Self::add(&self.calls, 1);
        match &outcome.result {
            Ok(output) => {
                let cost = output.usage.unwrap_or_default();
                Self::add(&self.tokens, cost.tokens);
                Self::add(&self.money, cost.money);
            }
            Err(_) => Self::add(&self.failed, 1),
        }
    }

    pub(crate) fn with(&self, messages: u64, context: &Context) -> Usage {
        let stats = context.stats();
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Usage {
            messages,
            tokens: stats.tokens,
            peak_tokens: stats.peak_tokens,
            compactions: stats.compactions,
            appended_bytes: get(&self.appended),
            repeated_bytes: get(&self.repeated),
            calls: get(&self.calls),
            failed_calls: get(&self.failed),
            call_tokens: get(&self.tokens),
            call_money: get(&self.money),
        }
    }
}
