//! A git repository with one commit a state.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::{States, folder};
use crate::{Bench, check};

/// Bytes of the objects after `git gc --aggressive`, and git's version; nothing where there is no git.
pub(super) fn keep(bench: &Bench, states: &States<'_>) -> Result<Option<(String, u64)>> {
    let home = tempfile::tempdir()?;
    let Ok(version) = git(home.path(), &["--version"]).output() else {
        return Ok(None);
    };
    let version = String::from_utf8_lossy(&version.stdout);
    let version = version.trim_start_matches("git version ").trim().to_owned();
    run(home.path(), &["init", "--quiet", "--bare", "."])?;
    import(home.path(), states)?;
    run(
        home.path(),
        &["gc", "--quiet", "--aggressive", "--prune=now"],
    )?;
    let head = git(home.path(), &["show", "refs/heads/main:state.json"]).output()?;
    check(
        bench.answer(head.stdout) == states.last(),
        "git restored another state",
    )?;
    Ok(Some((version, folder(&home.path().join("objects"))?)))
}

fn git(home: &Path, arguments: &[&str]) -> Command {
    let mut git = Command::new("git");
    git.args(arguments).current_dir(home);
    git.env("HOME", home).env("GIT_CONFIG_NOSYSTEM", "1");
    git.env("GIT_CEILING_DIRECTORIES", home)
        .env_remove("GIT_DIR");
    git.stdin(Stdio::null()).stderr(Stdio::null());
    git
}

fn run(home: &Path, arguments: &[&str]) -> Result<()> {
    let done = git(home, arguments).stdout(Stdio::null()).status()?;
    if !done.success() {
        bail!("git {} failed: {done}", arguments.join(" "));
    }
    Ok(())
}

/// Commits every state through `git fast-import`.
fn import(home: &Path, states: &States<'_>) -> Result<()> {
    let mut importer = git(home, &["fast-import", "--quiet"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    let mut stream = importer.stdin.take().context("git takes no input")?;
    for step in 0..states.count() {
        let state = states.at(step);
        writeln!(
            stream,
            "commit refs/heads/main\ncommitter bench <> {step} +0000\ndata 1\ns\nM 644 inline state.json\ndata {}",
            state.len()
        )?;
        stream.write_all(&state)?;
        stream.write_all(b"\n")?;
    }
    drop(stream);
    let done = importer.wait()?;
    if !done.success() {
        bail!("git fast-import failed: {done}");
    }
    Ok(())
}
