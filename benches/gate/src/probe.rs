//! The program that is measured: building it, running it.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

/// The folder of the workspace.
fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Where cargo builds: `CARGO_TARGET_DIR`, or `target` of the workspace.
#[must_use]
pub fn target_folder() -> PathBuf {
    let named = std::env::var_os("CARGO_TARGET_DIR").map(|named| workspace().join(named));
    named.unwrap_or_else(|| workspace().join("target"))
}

/// Builds the probe of this tree, every function aligned to 64 bytes, and says where it is.
///
/// # Errors
/// When it does not build.
pub fn build_probe() -> Result<PathBuf> {
    let folder = target_folder().join("gate");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(workspace())
        .args([
            "build",
            "--quiet",
            "--release",
            "-p",
            "mainspring-gate",
            "--bin",
            "mainspring-probe",
        ])
        .arg("--target-dir")
        .arg(&folder)
        .env("RUSTFLAGS", "-C llvm-args=-align-all-functions=6")
        .env("CARGO_INCREMENTAL", "0")
        .status()
        .context("cargo could not be started")?;
    ensure!(status.success(), "the probe does not build");
    let name = format!("mainspring-probe{}", std::env::consts::EXE_SUFFIX);
    Ok(folder.join("release").join(name))
}

/// The hot paths that a built probe knows.
///
/// # Errors
/// When it cannot be started.
pub fn probe_paths(program: &Path) -> Result<Vec<String>> {
    let out = Command::new(program)
        .arg("--list")
        .output()
        .with_context(|| format!("{} cannot be started", program.display()))?;
    let text = String::from_utf8_lossy(&out.stdout);
    Ok(text.lines().map(str::to_owned).collect())
}

/// A running probe that does bursts of one path.
#[derive(Debug)]
pub struct Probe {
    child: Child,
    ask: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Probe {
    /// Starts `program` on the path called `path`, with `slowdown` more work than asked for.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(program: &Path, path: &str, slowdown: f64) -> Result<Self> {
        let mut child = Command::new(program)
            .arg(path)
            .args(["--slowdown", &slowdown.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        let ask = child.stdin.take();
        let answers = child.stdout.take().context("a probe without output")?;
        Ok(Self {
            child,
            ask,
            answers: BufReader::new(answers),
        })
    }

    /// Nanoseconds of CPU time that `count` operations take.
    ///
    /// # Errors
    /// When the probe has ended, or answers something else.
    pub fn burst(&mut self, count: u64) -> Result<f64> {
        let ask = self.ask.as_mut().context("the probe has ended")?;
        writeln!(ask, "{count}").context("the probe has ended")?;
        ask.flush()?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        line.trim()
            .parse()
            .with_context(|| format!("the probe answered `{}` and no time", line.trim()))
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // Its input closes, so it ends by itself.
        self.ask = None;
        let _ = self.child.wait();
    }
}
