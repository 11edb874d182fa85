//! Commands that hand over to a program of the workspace.

use std::{ffi::OsStr, io::IsTerminal as _, process::ExitCode};

use anyhow::{Result, bail};

use crate::{
    benchmarks,
    workspace::{cargo_here, root},
};

/// The main job: the facade's `replay` example, built for release.
pub(crate) fn replay(arguments: &[impl AsRef<OsStr>]) -> Result<ExitCode> {
    let build = [
        "--release",
        "-p",
        "mainspring",
        "--features",
        "full,openai",
        "--example",
        "replay",
        "--",
    ];
    hand_over(&build, arguments)
}

/// The facade's `import` example, built for release.
pub(crate) fn import(arguments: &[impl AsRef<OsStr>]) -> Result<ExitCode> {
    let build = [
        "--release",
        "-p",
        "mainspring",
        "--features",
        "full,openai",
        "--example",
        "import",
        "--",
    ];
    hand_over(&build, arguments)
}

/// The hard day: the `soak` package, built for release.
pub(crate) fn soak(arguments: &[impl AsRef<OsStr>]) -> Result<ExitCode> {
    let build = ["--release", "-p", "mainspring-soak", "--"];
    hand_over(&build, arguments)
}

/// The scoreboard: the `benches` package, the only one that builds the peers.
pub(crate) fn bench(arguments: &[impl AsRef<OsStr>]) -> Result<ExitCode> {
    let build = ["--release", "-p", "mainspring-benches", "--"];
    let codes = benchmarks::environment(&benchmarks::codes()?);
    hand_over_with(&build, arguments, &[("MAINSPRING_BENCH_CODE", &codes)])
}

/// The regression gate: counts instructions of the hot paths.
pub(crate) fn gate<A: AsRef<OsStr>>(arguments: &[A]) -> Result<ExitCode> {
    let build = [
        "--release",
        "-p",
        "mainspring-gate",
        "--bin",
        "mainspring-gate",
        "--",
    ];
    hand_over(&build, arguments)
}

/// A crate's `simulate` example.
pub(crate) fn simulate(area: &str, arguments: &[impl AsRef<OsStr>]) -> Result<ExitCode> {
    let package = match area {
        "pool" => "mainspring-pool",
        "scheduler" => "mainspring-scheduler",
        other => bail!("no simulation for `{other}`: use --area pool or --area scheduler"),
    };
    let build = [
        "--release",
        "--all-features",
        "-p",
        package,
        "--example",
        "simulate",
        "--",
    ];
    hand_over(&build, arguments)
}

/// Builds and runs; cargo shows its progress to a person and stays quiet in a pipe.
fn hand_over(build: &[&str], arguments: &[impl AsRef<OsStr>]) -> Result<ExitCode> {
    hand_over_with(build, arguments, &[])
}

fn hand_over_with(
    build: &[&str],
    arguments: &[impl AsRef<OsStr>],
    environment: &[(&str, &str)],
) -> Result<ExitCode> {
    let quiet = (!std::io::stderr().is_terminal()).then_some("--quiet");
    let status = cargo_here()
        .arg("run")
        .arg("--manifest-path")
        .arg(root().join("Cargo.toml"))
        .args(quiet)
        .args(build)
        .args(arguments)
        .envs(environment.iter().copied())
        .status()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
