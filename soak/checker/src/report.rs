//! What was found.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use crate::Percentiles;

/// Violations that are listed one by one; the others are counted.
const LISTED: usize = 100;

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Violation {
    /// The line of the log where it shows, from 1; 0 for what shows at the end.
    pub line: u64,
    /// Which promise: `lost`, `bytes`, `stale`, `writers`, `results`, `money`, `resources`, `damage`,
    /// `refused`, `log`.
    pub promise: &'static str,
    /// What exactly.
    pub what: String,
}

/// What [`check`](crate::check) found.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// The seed of the run.
    pub seed: u64,
    /// How many promises were broken.
    pub violations: u64,
    /// The first of them.
    pub listed: Vec<Violation>,
    /// What was checked, by name.
    pub counts: BTreeMap<&'static str, u64>,
    /// Faults, and how often each was there; `skipped: ...` with the reason for those that were not.
    pub faults: BTreeMap<String, u64>,
    /// Times of operations, by operation: before the faults, during and after them.
    pub latencies: BTreeMap<&'static str, [Option<Percentiles>; 3]>,
}

impl Report {
    /// Whether every promise was kept.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations == 0
    }

    pub(crate) fn violation(&mut self, line: u64, promise: &'static str, what: impl Into<String>) {
        self.violations += 1;
        if self.listed.len() < LISTED {
            self.listed.push(Violation {
                line,
                promise,
                what: what.into(),
            });
        }
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        self.add(what, 1);
    }

    pub(crate) fn add(&mut self, what: &'static str, count: u64) {
        *self.counts.entry(what).or_default() += count;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "checked")?;
        for (what, count) in &self.counts {
            writeln!(f, "  {count:>10}  {what}")?;
        }
        writeln!(f, "faults")?;
        for (fault, count) in &self.faults {
            writeln!(f, "  {count:>10}  {fault}")?;
        }
        writeln!(
            f,
            "times, p50 / p99 / most in ms   {:>26} {:>26} {:>26}",
            "before", "during faults", "after"
        )?;
        for (operation, phases) in &self.latencies {
            write!(f, "  {operation:<30}")?;
            for phase in phases {
                let text = phase
                    .as_ref()
                    .map_or_else(|| "-".to_owned(), ToString::to_string);
                write!(f, " {text:>26}")?;
            }
            writeln!(f)?;
        }
        for violation in &self.listed {
            writeln!(
                f,
                "VIOLATION ({}) line {}: {}",
                violation.promise, violation.line, violation.what
            )?;
        }
        match self.violations {
            0 => write!(f, "no violation, seed {}", self.seed),
            n => write!(f, "{n} violations, seed {}", self.seed),
        }
    }
}
