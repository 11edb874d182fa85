//! How long commits, restores and forks take on a state of 1.7 MB.

use std::{cell::Cell, hint::black_box, path::Path, rc::Rc};

use anyhow::Result;
use bytes::Bytes;
use mainspring_delta_snapshot::{CommitOptions, DirBacking, Options, Snapshots, Thread, VersionId};
use mainspring_inputs::{Random, SessionSpec, generate};

use super::{
    States, patches,
    peers::{Chain, patch, patched},
};
use crate::{Bench, Clock, Contest, Measured, check, quantile};

/// A thread with a version a message, grown to its full size.
pub(super) struct Grown {
    dir: tempfile::TempDir,
    snapshots: Snapshots,
    messages: Vec<Bytes>,
    versions: Vec<VersionId>,
    forks: Cell<u64>,
}

impl Grown {
    pub(super) fn of(bench: &Bench) -> Result<Rc<Self>> {
        bench.fixture(|| Self::new(bench))
    }

    pub(super) fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// Copies what is stored, which one process at a time may open.
    pub(super) fn copy_to(&self, folder: &Path) -> Result<()> {
        self.snapshots.sync()?;
        copy(self.dir.path(), folder)
    }

    fn new(bench: &Bench) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let snapshots = Snapshots::open(DirBacking::open(dir.path())?, Options::new())?;
        let thread = snapshots.thread("session")?;
        thread.set("", r#"{"header":0,"messages":[]}"#)?;
        let messages = messages(bench);
        let mut versions = Vec::new();
        for message in &messages {
            thread.set("/header", versions.len().to_string())?;
            thread.append("/messages", &[message])?;
            versions.push(thread.commit(CommitOptions::new())?);
        }
        drop(thread);
        Ok(Self {
            dir,
            snapshots,
            messages,
            versions,
            forks: Cell::new(0),
        })
    }

    fn states(&self) -> States<'_> {
        States(&self.messages)
    }

    fn head(&self) -> VersionId {
        self.versions[self.versions.len() - 1]
    }

    /// A new thread that goes on from the newest version.
    fn fork(&self) -> Thread {
        self.forks.set(self.forks.get() + 1);
        let name = format!("fork-{}", self.forks.get());
        let fork = self.snapshots.fork(self.head(), &name);
        fork.expect("a version can be forked")
    }

    /// The same with its state at hand, as a live session has it.
    fn live(&self) -> Thread {
        let fork = self.fork();
        append(&fork, r#"{"role":"user","content":"go on"}"#);
        fork
    }

    /// Messages of 4 KiB each, made of the session's own text.
    fn pieces(&self, count: usize) -> Vec<String> {
        let mut text = String::new();
        for message in &self.messages {
            text.push_str(&String::from_utf8_lossy(message));
        }
        text.retain(|c| c.is_ascii_graphic() && c != '"' && c != '\\' || c == ' ');
        let (before, after) = (r#"{"role":"tool","content":""#, r#""}"#);
        let length = 4_096 - before.len() - after.len();
        let apart = (text.len() - length) / count;
        let piece = |at: usize| format!("{before}{}{after}", &text[at..at + length]);
        (0..count).map(|number| piece(number * apart)).collect()
    }
}

/// What the session is made of.
pub(super) fn messages(bench: &Bench) -> Vec<Bytes> {
    let size = bench.scale().pick(40_000, 1_700_000, 1_700_000);
    let mut bytes = 0;
    let all = generate(&SessionSpec::coding(1, size / 700)).into_iter();
    let wanted = all.take_while(|message| {
        let more = bytes < size;
        bytes += message.len();
        more
    });
    wanted.map(Bytes::from).collect()
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            std::fs::create_dir(&target)?;
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn append(thread: &Thread, message: &str) -> VersionId {
    let appended = thread.append("/messages", &[message]);
    appended.expect("a message can be appended");
    let version = thread.commit(CommitOptions::new());
    version.expect("a version can be committed")
}

/// The state with more messages at its end.
fn longer(state: &[u8], more: &[String]) -> Vec<u8> {
    let mut longer = state[..state.len() - 2].to_vec();
    for message in more {
        longer.push(b',');
        longer.extend_from_slice(message.as_bytes());
    }
    longer.extend_from_slice(b"]}");
    longer
}

/// 4 KiB appended and committed; the peers have the whole state and write that.
pub(super) fn commit(bench: &Bench) -> Result<Measured> {
    let grown = Grown::of(bench)?;
    let commits = bench.scale().pick(4, 32, 32);
    let pieces = grown.pieces(commits);
    let state = grown.states().last();
    let thread = grown.fork();
    let versions: Vec<VersionId> = pieces.iter().map(|piece| append(&thread, piece)).collect();
    for (at, version) in versions.iter().enumerate() {
        let restored = bench.answer(grown.snapshots.restore(*version)?);
        let wanted = longer(&state, &pieces[..=at]);
        check(restored == wanted, "a committed version differs")?;
    }
    let next = longer(&state, &pieces[..1]);
    let file = grown.dir.path().join("peer.json");
    let written = |bytes: &[u8]| -> Result<Vec<u8>> {
        std::fs::write(&file, bytes)?;
        Ok(std::fs::read(&file)?)
    };
    others_restore(bench, written, &state, &next)?;
    let once = commits as f64;
    let standing = Contest::new(bench, commits as u64)
        .side_timed("mainspring-delta-snapshot", "", |clock| {
            let thread = grown.live();
            clock.time(|| {
                for piece in &pieces {
                    black_box(append(&thread, piece));
                }
            })
        })
        .side_timed("full JSON", "fs::write", |clock| {
            let written = || std::fs::write(&file, &next).expect("a file can be written");
            once * clock.time(written)
        })
        .side_timed("zstd-3 of the full JSON", "zstd 0.13", |clock| {
            let packed = || {
                let packed = zstd::bulk::compress(&next, 3).expect("zstd takes it");
                std::fs::write(&file, packed).expect("a file can be written");
            };
            once * clock.time(packed)
        })
        .side_timed("zstd-3 patch-from with LDM", "zstd-safe 7", |clock| {
            let packed = || {
                let packed = patch(&state, &next).expect("zstd takes it");
                std::fs::write(&file, packed).expect("a file can be written");
            };
            once * clock.time(packed)
        })
        .run();
    let note = format!(
        "state of {:.1} MB on disk, durable with the next sync",
        state.len() as f64 / 1e6
    );
    Ok(standing.time(1e3).noting(note))
}

/// What the peers store brings the next state back.
fn others_restore(
    bench: &Bench,
    stored: impl Fn(&[u8]) -> Result<Vec<u8>>,
    state: &[u8],
    next: &[u8],
) -> Result<()> {
    let full = bench.answer(stored(next)?);
    check(full == next, "the file holds another state")?;
    let packed = stored(&zstd::bulk::compress(next, 3)?)?;
    let restored = bench.answer(zstd::bulk::decompress(&packed, next.len())?);
    check(restored == next, "zstd restored another state")?;
    let delta = stored(&patch(state, next)?)?;
    let restored = bench.answer(patched(state, &delta, next.len())?);
    check(restored == next, "patch-from restored another state")
}

/// The whole state given, one message longer each time.
pub(super) fn commit_full(bench: &Bench) -> Result<Measured> {
    let grown = Grown::of(bench)?;
    let runs = bench.scale().pick(2, 4, 4);
    let pieces = grown.pieces(runs + 1);
    let state = grown.states().last();
    let states: Vec<Vec<u8>> = (0..=runs)
        .map(|more| longer(&state, &pieces[..=more]))
        .collect();
    let give = |thread: &Thread, state: &[u8]| {
        let version = thread.commit_full(state, CommitOptions::new());
        version.expect("a state can be committed")
    };
    let thread = grown.fork();
    for state in &states {
        let version = give(&thread, state);
        let restored = bench.answer(grown.snapshots.restore(version)?);
        check(restored == state, "a committed version differs")?;
    }
    for pair in states.windows(2) {
        others_restore(bench, |bytes| Ok(bytes.to_vec()), &pair[0], &pair[1])?;
    }
    let tree = serde_json::from_slice(&states[0])?;
    let (_, stored) = patches::commit(&tree, &states[1])?;
    let restored = bench.answer(patches::applied(&tree, &stored)?.to_string());
    let wanted: serde_json::Value = serde_json::from_slice(&states[1])?;
    check(
        *restored == *wanted.to_string(),
        "the patch restored another state",
    )?;
    let standing = Contest::new(bench, runs as u64)
        .side_timed("mainspring-delta-snapshot", "", |clock| {
            let thread = grown.fork();
            give(&thread, &states[0]);
            clock.time(|| {
                for state in &states[1..] {
                    black_box(give(&thread, state));
                }
            })
        })
        .side_timed("RFC 6902 + zstd-3", "json-patch 5", |clock| {
            let patch = || drop(black_box(patches::commit(&tree, &states[1])));
            runs as f64 * clock.time(patch)
        })
        .side("zstd-3 of the full JSON", "zstd 0.13", || {
            for state in &states[1..] {
                drop(black_box(zstd::bulk::compress(state, 3)));
            }
        })
        .side("zstd-3 patch-from with LDM", "zstd-safe 7", || {
            for pair in states.windows(2) {
                drop(black_box(patch(&pair[0], &pair[1])));
            }
        })
        .run();
    Ok(standing.time(1e6))
}

/// The 99th percentile over versions of the last quarter, each restored once a round.
pub(super) fn restore(bench: &Bench) -> Result<Measured> {
    let grown = Grown::of(bench)?;
    let states = grown.states();
    let mut random = Random::new(bench.seed());
    let first = states.count() * 3 / 4;
    let count = bench.scale().pick(6, 60, 200);
    let steps: Vec<usize> = (0..count)
        .map(|_| random.between(first, states.count() - 1))
        .chain([states.count() - 1])
        .collect();
    let chain = Chain::of(&states)?;
    for step in &steps {
        let wanted = states.at(*step);
        let restored = bench.answer(grown.snapshots.restore(grown.versions[*step])?);
        check(restored == wanted, "a restored version differs")?;
        let patched = bench.answer(chain.restore(*step)?);
        check(patched == wanted, "patch-from restored another state")?;
    }
    let last = states.last();
    let packed = zstd::bulk::compress(&last, 3)?;
    let p99 = |clock: Clock, restore: &dyn Fn(usize)| {
        let mut times: Vec<f64> = steps
            .iter()
            .map(|step| clock.time(|| restore(*step)))
            .collect();
        times.sort_by(f64::total_cmp);
        quantile(&times, 0.99)
    };
    let ours = |step: usize| drop(black_box(grown.snapshots.restore(grown.versions[step])));
    let chained = |step: usize| drop(black_box(chain.restore(step)));
    let whole = |_| drop(black_box(zstd::bulk::decompress(&packed, last.len())));
    let standing = Contest::new(bench, 1)
        .at_most(bench.scale().pick(5, 6, 30))
        .side_timed("mainspring-delta-snapshot", "", |clock| p99(clock, &ours))
        .side_timed(
            "zstd-3 patch-from with LDM, keyframe 64",
            "zstd-safe 7",
            |clock| p99(clock, &chained),
        )
        .side_timed("zstd-3 of each full JSON", "zstd 0.13", |clock| {
            p99(clock, &whole)
        })
        .run();
    let note = format!(
        "{} versions between {:.1} and {:.1} MB",
        steps.len(),
        states.at(first).len() as f64 / 1e6,
        last.len() as f64 / 1e6
    );
    Ok(standing.time(1e6).noting(note))
}

/// A new thread on an old version; durable with its first commit.
pub(super) fn fork(bench: &Bench) -> Result<Measured> {
    let grown = Grown::of(bench)?;
    let state = grown.states().last();
    let fork = grown.fork();
    let shared = fork.head().map(|version| grown.snapshots.restore(version));
    let shared = bench.answer(shared.transpose()?);
    check(
        shared.as_deref() == Some(&*state),
        "the fork has another state",
    )?;
    let version = append(&fork, "1");
    let own = bench.answer(grown.snapshots.restore(version)?);
    check(
        own == longer(&state, &["1".to_owned()]),
        "the fork cannot go on",
    )?;
    let source = grown.dir.path().join("peer.json");
    std::fs::write(&source, &state)?;
    let copy = grown.dir.path().join("copy.json");
    let forks = 32;
    let standing = Contest::new(bench, forks)
        .side("mainspring-delta-snapshot", "", || {
            (0..forks).for_each(|_| drop(black_box(grown.fork())));
        })
        .side_timed("full JSON copied", "fs::copy", |clock| {
            let copied = || std::fs::copy(&source, &copy).expect("a file can be copied");
            forks as f64
                * clock.time(|| {
                    black_box(copied());
                })
        })
        .run();
    Ok(standing.time(1e3))
}
