//! The scoreboard: every documented target as a row that anybody can measure again.
//!
//! A row compares our code with a baseline or a peer **in the same run, interleaved**, after both
//! gave the right answer, and quotes the ratio of thread CPU times with an interval. An A/A canary
//! runs with every measurement: when the same code differs from itself by more than 1 %, rows that
//! rest on time are inconclusive, never met.

#![deny(unsafe_code)]

pub mod areas;
mod canary;
mod paired;
mod report;
mod row;
mod targets;

pub use canary::{Canary, canary};
pub use paired::{Interval, Paired, paired};
pub use report::{Report, print_table};
pub use row::{Measured, Peer, Row, Verdict};
pub use targets::{Comparison, Target, Targets};
