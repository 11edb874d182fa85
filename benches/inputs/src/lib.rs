//! Seeded generators of realistic inputs for tests, benchmarks and `cargo xtask replay`.
//!
//! The same seed and parameters give the same bytes for ever: the random numbers come from
//! [`Random`] here, not from a crate whose algorithm may change, and a fixture test holds the digest.
//!
//! Sessions are calibrated against recorded ones (SWE-agent trajectories and tau-bench runs, whose
//! tool results have medians of 0.4 to 0.7 KB and means of 0.6 to 1.5 KB with a tail to 9 KB, whose
//! assistant texts have a median of 0.13 to 0.24 KB, and which shrink 3.7 to 4.8 times under zstd
//! level 3): a generated coding session of 200 messages has results with a median of 1.1 KB and a
//! mean of 1.7 KB, assistant texts with a median of 0.12 KB, and shrinks 5.3 times. One result in
//! seven repeats an earlier one, more than in those recordings (1 to 2 in a hundred) and less than
//! in the sessions people complain about. [`Profile::Incompressible`] and [`Profile::Adversarial`]
//! are there so that no figure rests on friendly input alone.
//!
//! With the feature `traces`: cache traces, read from the files that cache research shares, or generated.

#![forbid(unsafe_code)]

mod random;
mod session;
mod text;
#[cfg(feature = "traces")]
mod traces;
mod workspace;

pub use random::Random;
pub use session::{Profile, SessionSpec, generate};
#[cfg(feature = "traces")]
pub use traces::{Trace, TraceError, TraceFolder, TraceLimits};
