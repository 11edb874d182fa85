//! The most memory that a restore holds at once.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use mainspring_delta_snapshot::{DirBacking, Options, Snapshots};

use super::speed::Grown;
use crate::{Bench, Measured, areas::alone, check};

pub(super) fn restore(bench: &Bench) -> Result<Measured> {
    if let Some(folder) = alone::folder() {
        let snapshots = Snapshots::open(DirBacking::open(folder)?, Options::new())?;
        return peak(bench, &snapshots);
    }
    let grown = Grown::of(bench)?;
    let copy = tempfile::tempdir()?;
    grown.copy_to(copy.path())?;
    match alone::measured(bench, "snapshot.restore_memory", copy.path())? {
        Some(measured) => Ok(measured),
        None => peak(bench, grown.snapshots()),
    }
}

/// What the process's resident memory grew to while the newest version was restored, the state that
/// came back included, as a multiple of that state.
fn peak(bench: &Bench, snapshots: &Snapshots) -> Result<Measured> {
    let thread = snapshots.thread("session")?;
    let versions = thread.versions()?;
    let head = thread.head().context("no version")?;
    // The code itself is to be there before.
    let first = versions.iter().map(|version| version.id).min();
    drop(snapshots.restore(first.context("no version")?)?);
    drop((thread, versions));
    // Peaks count from here (proc_pid_clear_refs(5)).
    fs::write("/proc/self/clear_refs", "5")?;
    let before = figure("VmRSS:")?;
    let state = snapshots.restore(head)?;
    let most = figure("VmHWM:")?;
    let restored = bench.answer(state.clone());
    let parsed: serde_json::Value = serde_json::from_slice(&restored)?;
    let messages = parsed["messages"].as_array().map_or(0, Vec::len);
    check(
        restored == super::States(&super::speed::messages(bench)).last() && messages > 0,
        "another state came back",
    )?;
    let ratio = most.saturating_sub(before) as f64 / state.len() as f64;
    let note = format!(
        "a state of {:.2} MB; growth of VmHWM",
        state.len() as f64 / 1e6
    );
    Ok(Measured::counted(ratio).noting(note))
}

/// A figure of this process, in bytes.
fn figure(name: &str) -> Result<u64> {
    let status = fs::read_to_string(Path::new("/proc/self/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(kib.with_context(|| format!("/proc/self/status has no {name}"))? << 10)
}
