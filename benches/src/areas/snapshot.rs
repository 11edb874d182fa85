//! What checkpoints cost.

use anyhow::Result;
use mainspring_delta_snapshot::{CommitOptions, DirBacking, Options, Snapshots};
use mainspring_inputs::{SessionSpec, generate};

use super::Benchmark;
use crate::{Bench, Measured, Peer, check};

pub(super) const ROWS: &[(&str, Benchmark)] = &[
    ("snapshot.storage", against_full_json),
    ("snapshot.storage_floor", against_the_floor),
];

/// Bytes of the generated 200-step session, by how they are kept.
struct Sizes {
    full: u64,
    stored: u64,
    floor: u64,
    zstd_each: u64,
}

fn against_full_json(bench: &Bench) -> Result<Measured> {
    let sizes = sizes(bench)?;
    let measured = Measured::counted(1.0 - sizes.stored as f64 / sizes.full as f64);
    Ok(with_peers(measured, &sizes))
}

fn against_the_floor(bench: &Bench) -> Result<Measured> {
    let sizes = sizes(bench)?;
    let measured = Measured::counted(sizes.stored as f64 / sizes.floor as f64);
    Ok(with_peers(measured, &sizes))
}

fn with_peers(measured: Measured, sizes: &Sizes) -> Measured {
    let stored = sizes.stored as f64;
    let peers = vec![
        Peer::counted("full JSON", "every step", sizes.full as f64, stored),
        Peer::counted(
            "zstd-3 of each full JSON",
            "0.13",
            sizes.zstd_each as f64,
            stored,
        ),
    ];
    measured.beside("bytes", stored, peers)
}

fn sizes(bench: &Bench) -> Result<Sizes> {
    let messages = generate(&SessionSpec::coding(1, 200));
    let dir = tempfile::tempdir()?;
    let snapshots = Snapshots::open(DirBacking::open(dir.path())?, Options::new())?;
    let thread = snapshots.thread("session")?;
    thread.set("", r#"{"header":0,"messages":[]}"#)?;
    let (mut full, mut zstd_each, mut states) = (0, 0, Vec::new());
    for (step, message) in messages.iter().enumerate() {
        thread.set("/header", step.to_string())?;
        thread.append("/messages", &[message])?;
        let version = thread.commit(CommitOptions::new())?;
        let joined = messages[..=step].join(",");
        let state = format!("{{\"header\":{step},\"messages\":[{joined}]}}");
        full += state.len() as u64;
        zstd_each += zstd::bulk::compress(state.as_bytes(), 3)?.len() as u64;
        states.push((version, state));
    }
    snapshots.sync()?;
    for (version, state) in &states {
        let restored = bench.answer(snapshots.restore(*version)?);
        check(restored == state.as_bytes(), "a restored version differs")?;
    }
    let last = &states[states.len() - 1].1;
    let floor = zstd::bulk::compress(last.as_bytes(), 3)?.len() as u64;
    Ok(Sizes {
        full,
        stored: folder(dir.path())?,
        floor,
        zstd_each,
    })
}

fn folder(dir: &std::path::Path) -> Result<u64> {
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
