//! The scoreboard's own tests.

mod answers;
mod documents;
mod page;
mod parquet;
