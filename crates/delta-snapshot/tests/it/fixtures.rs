//! Stores written by every version of the format, which every later version opens.
//!
//! `MAINSPRING_WRITE_FIXTURE=1` writes the one of the current version anew (into a folder that must not exist yet).

use std::fs;
use std::path::{Path, PathBuf};

use mainspring_delta_snapshot::{CommitOptions, DirBacking, Snapshots};

use crate::basics::options;

/// The version that is written today.
const CURRENT: &str = "v3";

fn folder(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(version)
}

fn open(root: &Path) -> Snapshots {
    Snapshots::open(
        DirBacking::open(root).expect("directory"),
        options().block_bytes(1024),
    )
    .expect("open")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("create");
    for entry in fs::read_dir(from).expect("read") {
        let entry = entry.expect("entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copy");
        }
    }
}

/// The states of the threads, version by version.
fn states() -> [(&'static str, Vec<String>); 4] {
    let large = "a large value ".repeat(200);
    let list = |n: usize| {
        (0..n)
            .map(|i| format!("{{\"i\": {i}.0}}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let json = |n: usize| {
        format!(
            "{{ \"n\" :{n},\"list\":[{}],\"large\":\"{large}\"}}",
            list(n)
        )
    };
    [
        ("live", (0..5).map(json).collect()),
        ("sealed", (3..9).map(json).collect()),
        ("fork", vec![json(4).replace("\"n\" :4", "\"n\" :44")]),
        (
            "bytes",
            vec!["plain".into(), "plain bytes".into(), "p!n bytes".into()],
        ),
    ]
}

fn write(root: &Path) {
    let snapshots = open(root);
    for (name, states) in states() {
        let thread = match snapshots.thread("live").expect("thread").head() {
            Some(head) if name == "fork" => snapshots.fork(head, name).expect("fork"),
            _ => snapshots.thread(name).expect("thread"),
        };
        for (i, state) in states.iter().enumerate() {
            let label = format!("{name} {i}");
            let commit = CommitOptions::new()
                .time(1_700_000_000_000 + i as u64 * 999)
                .label(&label)
                .checkpoint(&label);
            thread
                .commit_full(state.as_bytes(), commit)
                .expect("commit");
        }
    }
    snapshots
        .thread("sealed")
        .expect("thread")
        .seal()
        .expect("seal");
    snapshots.sync().expect("sync");
}

#[test]
fn stores_of_every_format_open_and_restore() {
    if std::env::var_os("MAINSPRING_WRITE_FIXTURE").is_some() {
        assert!(!folder(CURRENT).exists(), "remove the old fixture first");
        write(&folder(CURRENT));
        fs::remove_file(folder(CURRENT).join("LOCK")).expect("lock");
    }
    for version in ["v1", "v2", CURRENT] {
        opens_and_restores(&folder(version));
    }
}

fn opens_and_restores(fixture: &Path) {
    let root = tempfile::tempdir().expect("tempdir");
    copy(fixture, root.path());
    let snapshots = open(root.path());
    for (name, states) in states() {
        let thread = snapshots.thread(name).expect("thread");
        let versions = thread.versions().expect("versions");
        assert_eq!(versions.len(), states.len());
        for (i, (version, state)) in versions.iter().zip(&states).enumerate() {
            assert_eq!(version.label.as_deref(), Some(&*format!("{name} {i}")));
            let own = version.checkpoint.as_deref();
            let expected = (fixture != folder("v1")).then(|| format!("{name} {i}"));
            assert_eq!(own, expected.as_deref(), "{}", fixture.display());
            assert_eq!(version.time, 1_700_000_000_000 + i as u64 * 999);
            assert_eq!(snapshots.restore(version.id).expect("restore"), state);
        }
        let last = states.last().expect("state").replace("n", "m");
        let id = thread
            .commit_full(last.as_bytes(), CommitOptions::new())
            .expect("commit");
        assert_eq!(snapshots.restore(id).expect("restore"), last);
    }
    assert!(snapshots.verify().expect("verify").is_clean());
}
