//! What the profile that a product is built with is worth.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use mainspring_gate::{Effort, compare, hot_paths, probe_paths, target_folder};

use crate::{Bench, Interval, Measured, PerInput, Scale, areas::Unavailable, check};

const PLAIN: &str = "release";
const TUNED: &str = "dist";
const EFFORT: Effort = Effort {
    pairs: 3,
    rounds: 20,
};

/// The time that the hot paths take less under the tuned profile, pairs of processes in alternation.
pub(super) fn tuned(bench: &Bench) -> Result<Measured> {
    if bench.scale() != Scale::Full {
        let costly =
            "builds the hot paths under two profiles, which takes minutes: only in a full run";
        return Err(Unavailable(costly.to_owned()).into());
    }
    let (plain, tuned) = (probe(PLAIN)?, probe(TUNED)?);
    let paths = hot_paths();
    for program in [&plain, &tuned] {
        let known = bench.answer(probe_paths(program)?.len());
        check(known == paths.len(), "a probe knows other paths")?;
    }
    let (mut found, mut canaries) = (Vec::new(), Vec::new());
    let mut inputs = Vec::new();
    for path in &paths {
        let compared = compare(&plain, &tuned, path, 0.0, EFFORT)?;
        let [low, high] = compared.interval;
        inputs.push(PerInput::new(
            path.name,
            [("ratio", compared.ratio), ("low", low), ("high", high)],
        ));
        found.push([low, compared.ratio, high]);
        canaries.push(compared.canary);
    }
    let mean = |which: usize| {
        let logarithms: f64 = found.iter().map(|ratios| ratios[which].ln()).sum();
        1.0 - (logarithms / found.len() as f64).exp()
    };
    let mut measured = Measured::from_interval(Interval {
        low: mean(2),
        median: mean(1),
        high: mean(0),
    });
    measured.canary = Some(Interval::of(&canaries));
    let note = format!(
        "geometric mean over {} hot paths; `--profile {TUNED}` against `--profile {PLAIN}`, functions \
         aligned alike in both",
        found.len()
    );
    Ok(measured.on_inputs(inputs).noting(note))
}

/// The probe of this tree under that profile.
fn probe(profile: &str) -> Result<PathBuf> {
    let folder = target_folder().join("gate");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .args(["build", "--quiet", "--profile", profile])
        .args(["-p", "mainspring-gate", "--bin", "mainspring-probe"])
        .arg("--target-dir")
        .arg(&folder)
        .env("RUSTFLAGS", "-C llvm-args=-align-all-functions=6")
        .env("CARGO_INCREMENTAL", "0")
        .stdin(Stdio::null())
        .status()
        .context("cargo could not be started")?;
    ensure!(status.success(), "the probe does not build as {profile}");
    let name = format!("mainspring-probe{}", std::env::consts::EXE_SUFFIX);
    Ok(folder.join(profile).join(name))
}
