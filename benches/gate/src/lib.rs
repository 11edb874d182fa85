//! The regression gate: does this build do more work than the last one?
//!
//! Two answers, and both are ratios. [`count`] runs a hot path under valgrind's callgrind at N and
//! at 2N operations; the difference, divided by N, is the number of instructions of one operation,
//! the same on every run. [`compare`] runs two builds as pairs of processes whose bursts alternate,
//! and takes the median of the ratios of their thread CPU times, with a third process that is the
//! baseline once more: when that one differs from itself by more than 1 %, nothing is said.
//!
//! Both builds are made with every function aligned to 64 bytes, because code layout alone moves
//! the time of the same code.

#![forbid(unsafe_code)]

mod baseline;
mod callgrind;
mod command;
mod pairs;
mod paths;
mod probe;
mod proof;
mod recorded;
mod statistics;
mod verdict;

pub use baseline::{Baseline, baselines};
pub use callgrind::{Counted, count, count_within, valgrind};
pub use command::command;
pub use pairs::{Compared, Effort, compare};
pub use paths::{HotPath, Operations, choose, hot_paths};
pub use probe::{Probe, build_probe, probe_paths, target_folder};
pub use proof::{Proof, prove};
pub use recorded::{Recorded, Toolchain};
pub use statistics::{Interval, quantile};
pub use verdict::{TOLERANCE, Verdict, overall};
