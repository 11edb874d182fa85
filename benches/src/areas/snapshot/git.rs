//! A git repository with one commit a state.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write},
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
    restored(bench, home.path(), states)?;
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

/// Asks one `git cat-file` for every state.
fn restored(bench: &Bench, home: &Path, states: &States<'_>) -> Result<()> {
    let mut reader = git(home, &["cat-file", "--batch"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut asked = reader.stdin.take().context("git takes no input")?;
    let mut given = BufReader::new(reader.stdout.take().context("git gives no output")?);
    for step in 0..states.count() {
        let back = states.count() - 1 - step;
        writeln!(asked, "refs/heads/main~{back}:state.json")?;
        asked.flush()?;
        let (mut about, wanted) = (String::new(), states.at(step));
        given.read_line(&mut about)?;
        let size = about.trim_end().rsplit(' ').next().unwrap_or_default();
        check(
            size.parse() == Ok(wanted.len()),
            "git has a state of another size",
        )?;
        let mut state = vec![0; wanted.len() + 1];
        given.read_exact(&mut state)?;
        state.pop();
        check(bench.answer(state) == wanted, "git restored another state")?;
    }
    drop(asked);
    reader.wait()?;
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
