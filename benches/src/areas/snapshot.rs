//! What checkpoints cost.

mod chunks;
mod git;
mod memory;
mod patches;
mod peers;
mod speed;
mod storage;

use super::Benchmark;

pub(super) const ROWS: &[(&str, Benchmark)] = &[
    ("snapshot.storage", storage::against_full_json),
    ("snapshot.storage_floor", storage::live),
    ("snapshot.storage_sealed", storage::sealed),
    ("snapshot.storage_zstd", storage::against_zstd),
    ("snapshot.storage_git", storage::against_git),
    ("snapshot.commit", speed::commit),
    ("snapshot.commit_full", speed::commit_full),
    ("snapshot.restore", speed::restore),
    ("snapshot.restore_memory", memory::restore),
    ("snapshot.fork", speed::fork),
];

/// The states of a session, one a message: `{"header":N,"messages":[...]}`.
struct States<'a>(&'a [bytes::Bytes]);

impl States<'_> {
    fn count(&self) -> usize {
        self.0.len()
    }

    /// The state after `step + 1` messages.
    fn at(&self, step: usize) -> Vec<u8> {
        let mut state = format!("{{\"header\":{step},\"messages\":[").into_bytes();
        for (at, message) in self.0[..=step].iter().enumerate() {
            if at > 0 {
                state.push(b',');
            }
            state.extend_from_slice(message);
        }
        state.extend_from_slice(b"]}");
        state
    }

    fn last(&self) -> Vec<u8> {
        self.at(self.count() - 1)
    }

    /// Bytes of all states together.
    fn bytes(&self) -> u64 {
        let frame = r#"{"header":,"messages":[]}"#.len();
        let (mut all, mut messages) = (0, 0);
        for (step, message) in self.0.iter().enumerate() {
            messages += message.len();
            all += frame + step.to_string().len() + messages + step;
        }
        all as u64
    }
}

/// Bytes of all files below a folder.
fn folder(dir: &std::path::Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let about = entry.metadata()?;
        bytes += if about.is_dir() {
            folder(&entry.path())?
        } else {
            about.len()
        };
    }
    Ok(bytes)
}
