//! Proves from an acknowledgement log what a runtime promised, sharing no code with it.
//!
//! [`check`] reads a log of [`Entry`] lines in order and the files that it names, and returns a
//! [`Report`]: every broken promise it found, what it counted, and how long operations took during and
//! after faults. Memory: a digest per message and a line per checkpoint, document and open call.

#![forbid(unsafe_code)]

mod calls;
mod check;
mod damage;
mod digest;
mod documents;
mod latency;
mod line;
mod money;
mod report;
mod resources;
mod sessions;

pub use check::check;
pub use digest::digest;
pub use documents::PEERS;
pub use latency::{Latency, Percentiles};
pub use line::{Call, Entry, Line};
pub use report::{Report, Violation};
