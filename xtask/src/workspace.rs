//! The workspace as cargo sees it.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};
use cargo_metadata::{MetadataCommand, Package};

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The cargo that runs us, in the workspace's folder.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// The cargo that runs us, on this workspace but in the caller's folder, so that paths given to the
/// program that it starts mean what the caller meant.
pub(crate) fn cargo_here() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs cargo to its end, showing what is run; an unsuccessful end is an error.
pub(crate) fn run<V: AsRef<str>>(arguments: &[&str], environment: &[(&str, V)]) -> Result<()> {
    eprintln!("$ cargo {}", arguments.join(" "));
    let status = cargo()
        .args(arguments)
        .envs(
            environment
                .iter()
                .map(|(name, value)| (name, value.as_ref())),
        )
        .status()
        .context("cargo could not be started")?;
    if !status.success() {
        bail!("`cargo {}` failed ({status})", arguments.join(" "));
    }
    Ok(())
}

/// What cargo prints.
pub(crate) fn output(arguments: &[&str]) -> Result<String> {
    let out = cargo()
        .args(arguments)
        .output()
        .context("cargo could not be started")?;
    if !out.status.success() {
        bail!(
            "`cargo {}` failed:\n{}",
            arguments.join(" "),
            String::from_utf8_lossy(&out.stderr)
        );
    }
    Ok(String::from_utf8(out.stdout)?)
}

/// The packages under `crates/`, by name.
pub(crate) fn crates() -> Result<Vec<Package>> {
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("cargo metadata")?;
    let mut packages: Vec<Package> = metadata
        .packages
        .into_iter()
        .filter(|package| package.manifest_path.as_str().contains("/crates/"))
        .collect();
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(packages)
}
