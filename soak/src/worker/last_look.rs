//! After the day: everything that is there, told and exported.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead as _, BufReader, BufWriter, Write as _},
    path::Path,
    time::Instant,
};

use anyhow::{Context as _, Result};
use mainspring::{Runtime, Session};
use mainspring_soak_checker::{Entry, Line, digest};

use super::{
    Server,
    tell::{Tell, chain, took},
};

/// Restores every acknowledged checkpoint of every session, and exports its messages into `exports`,
/// which lies beside the log.
pub(super) fn look(server: &Server, exports: &Path) -> Result<()> {
    let (runtime, tell) = (&server.runtime, &*server.tell);
    let acknowledged = acknowledged(&exports.with_file_name("acknowledgements.jsonl"))?;
    tell.server("last look");
    for name in runtime.sessions()? {
        let versions = acknowledged.get(&name).map_or(&[][..], Vec::as_slice);
        checkpoints(runtime, tell, &name, versions);
        let started = Instant::now();
        let session = match runtime.resume(&name) {
            Ok(session) => session,
            Err(error) => {
                unreadable(tell, &name, "session".to_owned(), &error);
                continue;
            }
        };
        tell.line(Line::Opened {
            s: name.clone(),
            n: session.messages(),
            us: took(started),
        });
        export(tell, &session, exports).with_context(|| format!("the export of {name}"))?;
    }
    Ok(())
}

/// The checkpoints of each session that the log has.
fn acknowledged(log: &Path) -> Result<BTreeMap<String, Vec<String>>> {
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in BufReader::new(File::open(log)?).split(b'\n') {
        let line = line?;
        if !line.windows(16).any(|part| part == b"\"k\":\"checkpoint\"") {
            continue;
        }
        if let Line::Checkpoint { s, v, .. } = serde_json::from_slice::<Entry>(&line)?.line {
            versions.entry(s).or_default().push(v);
        }
    }
    Ok(versions)
}

/// By name each, so that one that is damaged does not hide the others.
fn checkpoints(runtime: &Runtime, tell: &Tell, name: &str, versions: &[String]) {
    let listed = runtime
        .snapshots()
        .thread(name)
        .and_then(|thread| thread.versions());
    if let Err(error) = listed {
        unreadable(tell, name, "list of checkpoints".to_owned(), &error);
    }
    for version in versions {
        let Ok(id) = version.parse() else {
            continue;
        };
        let started = Instant::now();
        match runtime.snapshots().restore(id) {
            Ok(state) => tell.line(Line::Restore {
                s: name.to_owned(),
                v: version.clone(),
                dg: digest(&state),
                us: took(started),
            }),
            Err(error) => unreadable(tell, name, format!("version {version}"), &error),
        }
    }
}

fn export(tell: &Tell, session: &Session, exports: &Path) -> Result<()> {
    let path = exports.join(session.name());
    if session
        .export(BufWriter::new(File::create(&path)?))
        .is_err()
    {
        one_by_one(tell, session, &path)?;
    }
    let folder = exports.file_name().unwrap_or_default().to_string_lossy();
    tell.line(Line::Exported {
        s: session.name().to_owned(),
        file: format!("{folder}/{}", session.name()),
    });
    Ok(())
}

/// What can be read, and an empty line for what cannot.
fn one_by_one(tell: &Tell, session: &Session, path: &Path) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for number in 0..session.messages() {
        match session.message(number) {
            Ok(message) => file.write_all(&message)?,
            Err(error) => unreadable(tell, session.name(), format!("message {number}"), &error),
        }
        file.write_all(b"\n")?;
    }
    Ok(file.flush()?)
}

fn unreadable(tell: &Tell, session: &str, what: String, error: &dyn std::error::Error) {
    tell.line(Line::Unreadable {
        s: session.to_owned(),
        what,
        error: chain(error),
    });
}
