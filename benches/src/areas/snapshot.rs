//! What checkpoints cost.

use anyhow::Result;
use mainspring_delta_snapshot::{CommitOptions, DirBacking, Options, Snapshots};
use mainspring_inputs::{SessionSpec, generate};

use super::{check, counted};
use crate::{Measured, Peer};

/// Bytes of the generated 200-step session, by how they are kept.
struct Sizes {
    full: u64,
    stored: u64,
    floor: u64,
    zstd_each: u64,
}

pub(super) fn against_full_json() -> Result<Measured> {
    let sizes = sizes()?;
    let measured = counted(1.0 - sizes.stored as f64 / sizes.full as f64);
    Ok(with_peers(measured, &sizes))
}

pub(super) fn against_the_floor() -> Result<Measured> {
    let sizes = sizes()?;
    Ok(with_peers(
        counted(sizes.stored as f64 / sizes.floor as f64),
        &sizes,
    ))
}

fn with_peers(measured: Measured, sizes: &Sizes) -> Measured {
    let Measured::Value { value, .. } = measured else {
        return measured;
    };
    let peer = |name: &str, version: &str, bytes: u64| Peer {
        name: name.to_owned(),
        version: version.to_owned(),
        value: bytes as f64,
        ratio: sizes.stored as f64 / bytes as f64,
    };
    let peers = vec![
        peer("full JSON", "bytes", sizes.full),
        peer("zstd-3 of each full JSON", "bytes", sizes.zstd_each),
    ];
    Measured::Value { value, peers }
}

fn sizes() -> Result<Sizes> {
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
        check(
            snapshots.restore(*version)? == state.as_bytes(),
            "a restored version differs",
        )?;
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
