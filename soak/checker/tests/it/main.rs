//! The checker finds what is planted in a recorded log, and nothing in one that is clean.

mod day;
mod planted;
