//! Integration tests, one binary.

mod compaction;
mod data;
mod formats;
mod hostile;
mod memory;
mod pains;
mod pairing;
mod readers;
mod recall;
mod rules;
mod saved;
mod sessions;
mod sidechains;
mod stages;
mod texts;
mod tokens;
