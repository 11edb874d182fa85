//! Counting tokens.

mod append;
mod estimate;
mod speed;
mod texts;

use super::Benchmark;

pub(super) const ROWS: &[(&str, Benchmark)] = &[
    ("tokens.code", speed::code),
    ("tokens.prose", speed::prose),
    ("tokens.json", speed::json),
    ("tokens.messages", speed::messages),
    ("tokens.adversarial", speed::adversarial),
    ("tokens.append", append::measure),
    ("tokens.estimate", estimate::measure),
];
