//! The scoreboard: every documented target as a row that anybody can measure again.
//!
//! A row compares our code with a baseline or a peer **in the same run, interleaved**
//! ([`Contest`]), after both gave the right answer ([`check`]), and quotes the ratio of thread CPU
//! times with an interval ([`Interval`]). A canary runs in the rounds of every contest: when the
//! same code differs from itself by more than 1 %, rows that rest on time are inconclusive, never
//! met. What stays inconclusive three times counts as missed.

#![deny(unsafe_code)]

mod answers;
pub mod areas;
mod bench;
mod clock;
mod contest;
mod explored;
mod history;
mod measured;
mod page;
mod report;
mod row;
mod sessions;
mod table;
mod targets;
mod written;

pub use answers::{Answer, WrongAnswer, check};
pub use bench::{Bench, Options, Scale};
pub use clock::{Clock, nanoseconds, on_threads};
pub use contest::{Contest, Standing};
pub use explored::{Explored, explored};
pub use history::{History, Point};
pub use mainspring_gate::{Interval, quantile};
pub use measured::{Measured, Peer, PerInput};
pub use page::page;
pub use report::Report;
pub use row::{CANARY, Row, Verdict};
pub use sessions::{Session, Sessions};
pub use table::{beside_bar, number, table, word};
pub use targets::{Comparison, Target, Targets};
pub use written::{CODE, Quoted, write_documents};
