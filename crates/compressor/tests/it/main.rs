//! Integration tests, one binary.

mod compaction;
mod data;
mod formats;
mod hostile;
mod pains;
mod pairing;
mod saved;
mod sessions;
mod texts;
mod tokens;
