//! Bytes on disk, everything counted.

use std::rc::Rc;

use anyhow::Result;
use mainspring_delta_snapshot::{CommitOptions, DirBacking, Options, Snapshots};
use mainspring_inputs::Profile;

use super::{
    States, folder, git,
    peers::{PEERS, ZSTD_EACH},
};
use crate::{Bench, Measured, Peer, PerInput, Session, Sessions, areas::Unavailable, check};

const GIT: &str = "git after gc --aggressive";

/// What one session took.
struct Kept {
    name: String,
    steps: usize,
    full: u64,
    live: u64,
    sealed: u64,
    floor: u64,
}

/// All sessions of the run, kept by us and by the peers.
struct All {
    sessions: Vec<Kept>,
    peers: Vec<(&'static str, &'static str, u64)>,
    note: String,
}

impl All {
    fn of(bench: &Bench) -> Result<Rc<Self>> {
        let sessions = Sessions::of(bench)?;
        bench.fixture(|| Self::keep(bench, &sessions))
    }

    fn keep(bench: &Bench, sessions: &Sessions) -> Result<Self> {
        let mut kept = Vec::new();
        for session in sessions.all.iter().filter(|s| !s.items.is_empty()) {
            kept.push(keep(bench, session)?);
        }
        let mut note = sessions.note();
        let mut peers = Vec::new();
        let full = kept.iter().map(|session| session.full).sum::<u64>();
        for peer in PEERS {
            if full > peer.limit {
                note.push_str(&format!("; too large for {}", peer.name));
                continue;
            }
            let mut bytes = 0;
            for session in sessions.all.iter().filter(|s| !s.items.is_empty()) {
                bytes += (peer.keep)(bench, &States(&session.items))?;
            }
            peers.push((peer.name, peer.version, bytes));
        }
        Ok(Self {
            sessions: kept,
            peers,
            note,
        })
    }

    fn total(&self, of: impl Fn(&Kept) -> u64) -> f64 {
        self.sessions.iter().map(of).sum::<u64>() as f64
    }

    /// The row that compares `stored` with the floor.
    fn against_the_floor(&self, stored: impl Fn(&Kept) -> u64) -> Measured {
        let stored = self.total(stored);
        let peers = self.peers.iter().map(|(name, version, bytes)| {
            let bytes = *bytes as f64;
            Peer::counted(name, version, bytes, stored)
        });
        let full = Peer::counted("full JSON", "every step", self.total(|s| s.full), stored);
        Measured::counted(stored / self.total(|s| s.floor))
            .beside("bytes", stored, [full].into_iter().chain(peers).collect())
            .on_inputs(self.sessions.iter().map(Kept::figures).collect())
            .noting(self.note.clone())
    }
}

impl Kept {
    fn figures(&self) -> PerInput {
        let floor = self.floor as f64;
        PerInput::new(
            &*self.name,
            [
                ("steps", self.steps as f64),
                ("full JSON", self.full as f64),
                ("live", self.live as f64),
                ("sealed", self.sealed as f64),
                ("floor", floor),
                ("live over floor", self.live as f64 / floor),
                ("sealed over floor", self.sealed as f64 / floor),
                ("saved", 1.0 - self.live as f64 / self.full as f64),
            ],
        )
    }
}

pub(super) fn live(bench: &Bench) -> Result<Measured> {
    Ok(All::of(bench)?.against_the_floor(|session| session.live))
}

pub(super) fn sealed(bench: &Bench) -> Result<Measured> {
    Ok(All::of(bench)?.against_the_floor(|session| session.sealed))
}

/// Live, over one compressed full state a step.
pub(super) fn against_zstd(bench: &Bench) -> Result<Measured> {
    let all = All::of(bench)?;
    let zstd = all.peers.iter().find(|(name, ..)| *name == ZSTD_EACH);
    let Some((name, version, bytes)) = zstd else {
        return Err(too_large());
    };
    let (stored, bytes) = (all.total(|session| session.live), *bytes as f64);
    let peer = Peer::counted(name, version, bytes, stored);
    Ok(Measured::counted(stored / bytes)
        .beside("bytes", stored, vec![peer])
        .noting(all.note.clone()))
}

/// Live, over a git repository a session that was packed as tightly as git can.
pub(super) fn against_git(bench: &Bench) -> Result<Measured> {
    let (all, sessions) = (All::of(bench)?, Sessions::of(bench)?);
    if all.peers.is_empty() {
        return Err(too_large());
    }
    let (mut theirs, mut version, mut inputs) = (0, String::new(), Vec::new());
    let filled = sessions.all.iter().filter(|s| !s.items.is_empty());
    for (session, kept) in filled.zip(&all.sessions) {
        let Some((named, bytes)) = git::keep(bench, &States(&session.items))? else {
            return Err(Unavailable("git is not installed".to_owned()).into());
        };
        theirs += bytes;
        version = named;
        inputs.push(PerInput::new(
            &*session.name,
            [
                ("live", kept.live as f64),
                ("sealed", kept.sealed as f64),
                ("git", bytes as f64),
                ("live over git", kept.live as f64 / bytes as f64),
            ],
        ));
    }
    let stored = all.total(|session| session.live);
    let peer = Peer::counted(GIT, &version, theirs as f64, stored);
    Ok(Measured::counted(stored / theirs as f64)
        .beside("bytes", stored, vec![peer])
        .on_inputs(inputs)
        .noting(format!("{}; bytes of git's objects alone", all.note)))
}

fn too_large() -> anyhow::Error {
    Unavailable("the sessions are too large for peers that store every full state".to_owned())
        .into()
}

/// The generator's session of 200 steps, whatever sessions were given: the documents' claim.
pub(super) fn against_full_json(bench: &Bench) -> Result<Measured> {
    let steps = bench.scale().pick(14, 200, 200);
    let session = Session::generated(Profile::Coding, steps)?;
    let kept = keep(bench, &session)?;
    let states = States(&session.items);
    let live = kept.live as f64;
    let mut peers = vec![Peer::counted(
        "full JSON",
        "every step",
        kept.full as f64,
        live,
    )];
    for peer in PEERS.iter().filter(|peer| kept.full <= peer.limit) {
        let bytes = (peer.keep)(bench, &states)? as f64;
        peers.push(Peer::counted(peer.name, peer.version, bytes, live));
    }
    if let Some((version, bytes)) = git::keep(bench, &states)? {
        peers.push(Peer::counted(GIT, &version, bytes as f64, live));
    }
    Ok(Measured::counted(1.0 - live / kept.full as f64)
        .beside("bytes", live, peers)
        .on_inputs(vec![kept.figures()]))
}

/// Commits a session message by message, checks what comes back, seals it and checks again.
fn keep(bench: &Bench, session: &Session) -> Result<Kept> {
    let states = States(&session.items);
    let dir = tempfile::tempdir()?;
    let snapshots = Snapshots::open(DirBacking::open(dir.path())?, Options::new())?;
    let thread = snapshots.thread("session")?;
    thread.set("", r#"{"header":0,"messages":[]}"#)?;
    let mut versions = Vec::with_capacity(states.count());
    for (step, message) in session.items.iter().enumerate() {
        thread.set("/header", step.to_string())?;
        thread.append("/messages", &[message])?;
        versions.push(thread.commit(CommitOptions::new())?);
    }
    snapshots.sync()?;
    let live = folder(dir.path())?;
    // All versions of a short session; of a long one some from everywhere, and the last.
    let apart = (states.count() / 100).max(1);
    let verify = || {
        for step in (0..states.count()).rev().step_by(apart) {
            let restored = bench.answer(snapshots.restore(versions[step])?);
            check(restored == states.at(step), "a restored version differs")?;
        }
        anyhow::Ok(())
    };
    verify()?;
    thread.seal()?;
    snapshots.gc()?;
    snapshots.sync()?;
    verify()?;
    Ok(Kept {
        name: session.name.clone(),
        steps: states.count(),
        full: states.bytes(),
        live,
        sealed: folder(dir.path())?,
        floor: zstd::bulk::compress(&states.last(), 3)?.len() as u64,
    })
}
