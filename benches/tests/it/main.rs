//! The scoreboard's own tests.

mod answers;
