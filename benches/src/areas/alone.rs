//! Memory of one row, measured by a process that does nothing else.
//!
//! A process that has measured other rows holds memory of theirs, and reuses it. So the scoreboard's
//! program runs itself once more for such a row alone. In another program (a test) the row is measured
//! where it is, which says less.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{Bench, Measured, Report, Scale};

/// Set in the process that measures one row alone: the folder to work on, which may be empty.
const ALONE: &str = "MAINSPRING_BENCH_ALONE";

/// The folder given to a process that measures one row alone.
pub(super) fn folder() -> Option<PathBuf> {
    std::env::var_os(ALONE).map(PathBuf::from)
}

/// The row as a process of its own measures it; nothing when this is that process already, or no
/// process of the scoreboard's program.
pub(super) fn measured(bench: &Bench, id: &str, on: &Path) -> Result<Option<Measured>> {
    let program = std::env::current_exe()?;
    let is_scoreboard = program
        .file_stem()
        .is_some_and(|stem| stem == env!("CARGO_PKG_NAME"));
    if folder().is_some() || !is_scoreboard {
        return Ok(None);
    }
    let dir = tempfile::tempdir()?;
    let report = dir.path().join("report.json");
    let mut command = Command::new(program);
    command.args(["--only", id]).arg("--json").arg(&report);
    if bench.scale() != Scale::Full {
        command.arg("--quick");
    }
    command.env(ALONE, on).stdin(Stdio::null());
    let done = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if !done.success() {
        bail!("the process for {id} alone failed: {done}");
    }
    let report: Report = serde_json::from_slice(&std::fs::read(report)?)?;
    let row = report.rows.into_iter().next().context("it gave no row")?;
    let Some(value) = row.measured else {
        bail!("{}", row.reason);
    };
    Ok(Some(Measured::counted(value).noting(row.note)))
}
