//! Integration tests, one binary.

mod compaction;
mod data;
mod formats;
mod hostile;
mod pains;
mod pairing;
mod readers;
mod saved;
mod sessions;
mod texts;
mod tokens;
