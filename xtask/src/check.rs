//! `test` and `ci`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Result, bail};

use crate::{
    run, tidy,
    workspace::{crates, root, run as cargo_run},
};

/// Every test of every crate; the peers of `benches/` are not built.
pub(crate) fn test() -> Result<ExitCode> {
    cargo_run(
        &[
            "test",
            "--workspace",
            "--exclude",
            "mainspring-benches",
            "--all-features",
            "--no-fail-fast",
        ],
        &data_environment(),
    )?;
    Ok(ExitCode::SUCCESS)
}

const NOTHING: &[(&str, &str)] = &[];

/// What CI runs after the tests, the same here as there.
pub(crate) fn ci() -> Result<ExitCode> {
    let deny = [("RUSTDOCFLAGS", "-D warnings")];
    cargo_run(&["fmt", "--all", "--check"], NOTHING)?;
    cargo_run(
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--",
            "-D",
            "warnings",
        ],
        NOTHING,
    )?;
    cargo_run(
        &[
            "doc",
            "--no-deps",
            "--all-features",
            "--workspace",
            "--exclude",
            "mainspring-benches",
        ],
        &deny,
    )?;
    each_feature()?;
    models()?;
    succeed(tidy::tidy(false)?, "cargo xtask tidy")?;
    scoreboard()?;
    for arguments in replays() {
        eprintln!("$ cargo xtask replay {}", arguments.join(" "));
        let command = format!("cargo xtask replay {}", arguments.join(" "));
        succeed(run::replay(&arguments)?, &command)?;
    }
    let soak = ["--minutes", "2"];
    eprintln!("$ cargo xtask soak {}", soak.join(" "));
    succeed(run::soak(&soak)?, "cargo xtask soak")?;
    eprintln!("ci: all checks passed");
    Ok(ExitCode::SUCCESS)
}

/// The scoreboard's own tests, its hot paths against the recorded counts, and the whole table once.
fn scoreboard() -> Result<()> {
    cargo_run(&["test", "--release", "-p", "mainspring-benches"], NOTHING)?;
    hot_paths()?;
    let folder = root().join("target/bench");
    let at = |name: &str| folder.join(name).display().to_string();
    let (report, page) = (at("ci.json"), at("ci.html"));
    let quick = ["--quick", "--json", &report, "--html", &page];
    // Some rows let tools time out for real; a machine that stood still gets a second chance.
    if run::bench(&quick)? != ExitCode::SUCCESS {
        eprintln!("cargo xtask bench --quick failed: once more");
        succeed(run::bench(&quick)?, "cargo xtask bench --quick")?;
    }
    succeed(
        run::bench(&["--judge", &report])?,
        "cargo xtask bench --judge",
    )
}

/// No hot path takes more instructions than recorded, and 5 % more work would show.
fn hot_paths() -> Result<()> {
    let said_nothing = ExitCode::from(2);
    let counted = run::gate::<&str>(&[])?;
    if counted == said_nothing {
        eprintln!("skipped: instructions cannot be compared on this machine");
        return Ok(());
    }
    succeed(counted, "cargo xtask gate")?;
    for path in [
        "bloom.hit",
        "cache.hit",
        "pool.checkout",
        "snapshot.restore",
    ] {
        let slowed = ["--slowdown", "0.05", "--only", path];
        if run::gate(&slowed)? != ExitCode::from(1) {
            bail!("the gate let 5 % more work of {path} pass");
        }
    }
    Ok(())
}

fn succeed(code: ExitCode, command: &str) -> Result<()> {
    if code != ExitCode::SUCCESS {
        bail!("`{command}` failed");
    }
    Ok(())
}

/// Every crate bare, and with each of its features alone.
fn each_feature() -> Result<()> {
    let quiet = [
        ("RUSTFLAGS", "-D warnings"),
        ("CARGO_TARGET_DIR", "target/each-feature"),
    ];
    for package in crates()? {
        let bare = [
            "check",
            "--quiet",
            "-p",
            package.name.as_str(),
            "--no-default-features",
        ];
        cargo_run(&bare, &quiet)?;
        for feature in package.features.keys().filter(|name| *name != "default") {
            let alone = [&bare[..], &["--features", feature.as_str()]].concat();
            cargo_run(&alone, &quiet)?;
        }
    }
    Ok(())
}

/// Crates with tests that explore interleavings, the `cfg` that turns them on, the tests' binary, and
/// which they are.
const MODELS: [(&str, &str, &[&str], &str); 7] = [
    (
        "mainspring-bloom",
        "loom",
        &["--test", "it"],
        "interleavings",
    ),
    (
        "mainspring-cache-tier",
        "shuttle",
        &["--test", "it"],
        "threads",
    ),
    ("mainspring-mmap-store", "shuttle", &["--lib"], "queue"),
    ("mainspring-monitor", "loom", &["--test", "it"], "model"),
    ("mainspring-pool", "loom", &["--test", "it"], "interleaved"),
    ("mainspring-pool", "shuttle", &["--test", "it"], "shuttled"),
    (
        "mainspring-scheduler",
        "shuttle",
        &["--test", "it"],
        "shuttled",
    ),
];

/// The loom and shuttle tests, each built under a `cfg` of its own.
fn models() -> Result<()> {
    for (package, model, binary, filter) in MODELS {
        let target = format!("target/{model}");
        let flags = format!("--cfg {model}");
        let test = [&["test", "--release", "-p", package], binary, &[filter]].concat();
        cargo_run(
            &test,
            &[("RUSTFLAGS", &flags), ("CARGO_TARGET_DIR", &target)],
        )?;
    }
    Ok(())
}

/// The generator always, the recorded sessions where they lie beside the project.
fn replays() -> Vec<Vec<String>> {
    let mut replays = vec![vec!["--json".to_owned()]];
    if let Some(data) = data() {
        replays.push(vec![data.join("sessions").display().to_string()]);
    }
    replays
}

/// Where recorded data lie: `MAINSPRING_DATA`, or `../shared/data` when that exists.
fn data() -> Option<PathBuf> {
    let beside = || Some(root().join("../shared/data")).filter(|path| path.is_dir());
    std::env::var_os("MAINSPRING_DATA")
        .map(PathBuf::from)
        .or_else(beside)
}

/// `MAINSPRING_DATA` for tests, resolved here because each runs in its own crate's folder.
fn data_environment() -> Vec<(&'static str, String)> {
    let resolved = data().and_then(|path| path.canonicalize().ok());
    resolved
        .map(|path| ("MAINSPRING_DATA", path.display().to_string()))
        .into_iter()
        .collect()
}
