//! What depending on all of it costs before anything runs: time to build, size on disk.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use mainspring_gate::target_folder;
use tempfile::TempDir;

use crate::{Bench, Measured, PerInput, Scale, areas::Unavailable, check};

/// The cores that the bar is meant for.
const JOBS: &str = "2";
const MEGABYTE: f64 = 1_000_000.0;

/// `mainspring` with feature `full`, built from empty folders.
struct Built {
    folder: TempDir,
    seconds: [(&'static str, f64); 2],
}

impl Built {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir_in(target_folder())?;
        let mut seconds = [("dev", 0.0), ("release", 0.0)];
        for (profile, taken) in &mut seconds {
            let start = Instant::now();
            cargo(profile, folder.path(), &["--lib"])?;
            *taken = start.elapsed().as_secs_f64();
        }
        Ok(Self { folder, seconds })
    }
}

/// The time of the slower profile, downloads excluded.
pub(super) fn full(bench: &Bench) -> Result<Measured> {
    only_in_full(bench)?;
    let built = bench.fixture(Built::new)?;
    for (profile, _) in built.seconds {
        let folder = match profile {
            "dev" => "debug",
            other => other,
        };
        let library = built.folder.path().join(folder).join("libmainspring.rlib");
        let there = bench.answer(library.is_file());
        check(there, "nothing was built")?;
    }
    let inputs = built
        .seconds
        .map(|(profile, seconds)| PerInput::new(profile, [("seconds", seconds)]));
    let slowest = built.seconds.iter().map(|(_, seconds)| *seconds);
    let note = format!(
        "the slower of dev and release, {JOBS} jobs, downloads excluded; built once, so without a spread"
    );
    Ok(Measured::counted(slowest.fold(0.0, f64::max))
        .on_inputs(inputs.into())
        .noting(note))
}

/// The coding agent of the examples, stripped, as the plain release profile makes it.
pub(super) fn binary(bench: &Bench) -> Result<Measured> {
    only_in_full(bench)?;
    let built = bench.fixture(Built::new)?;
    cargo(
        "release",
        built.folder.path(),
        &["--example", "coding_agent"],
    )?;
    let name = format!("coding_agent{}", std::env::consts::EXE_SUFFIX);
    let program = built.folder.path().join("release/examples").join(name);
    let output = Command::new(&program)
        .current_dir(workspace().join("crates/mainspring"))
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let answered = bench.answer(output.status.success() && said.contains(" messages, "));
    check(answered, "the coding agent does not run")?;
    let bytes = std::fs::metadata(&program)?.len();
    Ok(Measured::counted(bytes as f64 / MEGABYTE)
        .noting("debugging symbols stripped, no link-time optimisation"))
}

fn only_in_full(bench: &Bench) -> Result<()> {
    if bench.scale() == Scale::Full {
        return Ok(());
    }
    let costly = "builds all of it from an empty folder, which takes minutes: only in a full run";
    Err(Unavailable(costly.to_owned()).into())
}

fn cargo(profile: &str, folder: &Path, what: &[&str]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(workspace())
        .args(["build", "--quiet", "--jobs", JOBS, "--profile", profile])
        .args(["-p", "mainspring", "--features", "full"])
        .args(what)
        .arg("--target-dir")
        .arg(folder)
        .env("CARGO_INCREMENTAL", "0")
        .env("CARGO_PROFILE_RELEASE_STRIP", "true")
        .stdin(Stdio::null())
        .status()
        .context("cargo could not be started")?;
    ensure!(
        status.success(),
        "mainspring does not build under profile {profile}"
    );
    Ok(())
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
