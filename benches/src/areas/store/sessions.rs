//! Whole sessions loaded and saved, against one file per session.

use std::{
    fs::File,
    hint::black_box,
    path::{Path, PathBuf},
};

use anyhow::Result;
use mainspring_inputs::{SessionSpec, generate};
use mainspring_mmap_store::{Durability, Options, Store};

use super::peers::{Handle, Job, KINDS, LMDB, Peer};
use crate::{Bench, Clock, Contest, Measured, areas::Unavailable, check};

const OURS: &str = super::peers::OURS;
const FILES: &str = "one file per session";

/// Sessions of about 40 KB each, as a store, as LMDB and as one file each.
struct Sessions {
    dir: tempfile::TempDir,
    names: Vec<String>,
    bodies: Vec<String>,
    store: Store,
    lmdb: Box<dyn Peer>,
}

impl Sessions {
    fn new(bench: &Bench) -> Result<Self> {
        let count = bench.scale().pick(4, 50, 200);
        let names: Vec<String> = (0..count).map(|n| format!("session-{n:05}")).collect();
        let body = |seed| generate(&SessionSpec::coding(seed, 30)).join("\n");
        let bodies: Vec<String> = (0..count).map(body).collect();
        let dir = tempfile::tempdir()?;
        let options = Options::new()
            .create(true)
            .durability(Durability::Os)
            .whole_blocks(true);
        let store = options.open(dir.path().join("store"))?;
        let job = Job {
            durable: false,
            read: false,
            bytes: bodies.iter().map(|body| body.len() as u64).sum(),
        };
        let lmdb = KINDS.iter().find(|kind| kind.name == LMDB);
        let lmdb = lmdb.expect("LMDB is there").open_in(dir.path(), &job)?;
        std::fs::create_dir(dir.path().join("files"))?;
        let sessions = Self {
            dir,
            names,
            bodies,
            store,
            lmdb,
        };
        for at in 0..count as usize {
            sessions.save_ours(at);
            sessions.save_file(at);
            sessions.save_lmdb(at);
        }
        Ok(sessions)
    }

    fn all(&self) -> std::ops::Range<usize> {
        0..self.names.len()
    }

    fn file(&self, at: usize) -> PathBuf {
        self.dir.path().join("files").join(&self.names[at])
    }

    fn save_ours(&self, at: usize) {
        let put = self
            .store
            .put(self.names[at].as_bytes(), self.bodies[at].as_bytes());
        put.expect("the store takes a session");
    }

    /// Saves all of them; when the log has grown to eight times what lives in it, the compaction that
    /// is due is part of the saving.
    fn save_all_ours(&self) {
        self.all().for_each(|at| self.save_ours(at));
        let stats = self.store.stats();
        if stats.log_bytes > 8 * stats.live_bytes.max(4 << 20) {
            self.store.compact().expect("the store compacts");
        }
    }

    fn save_file(&self, at: usize) {
        std::fs::write(self.file(at), &self.bodies[at]).expect("a file takes a session");
    }

    fn save_lmdb(&self, at: usize) {
        let pair = (self.names[at].as_bytes(), self.bodies[at].as_bytes());
        self.lmdb.put_many(&[pair]).expect("LMDB takes a session");
    }

    fn load_ours(&self, at: usize) -> bytes::Bytes {
        let found = self
            .store
            .get(self.names[at].as_bytes())
            .expect("the store answers");
        found.expect("the session is there")
    }

    fn load_file(&self, at: usize) -> Vec<u8> {
        std::fs::read(self.file(at)).expect("the file is there")
    }

    fn load_lmdb(&self, at: usize) -> Vec<u8> {
        let found = self.lmdb.get(self.names[at].as_bytes());
        found.expect("LMDB answers").expect("the session is there")
    }

    /// The same sessions in sealed segments, mapped.
    fn mapped(&self) -> Result<Handle> {
        let dir = self.dir.path().join("mapped");
        let options = Options::new()
            .create(true)
            .durability(Durability::Os)
            .whole_blocks(true);
        let store = options.segment_size(1 << 16).open(&dir)?;
        for at in self.all() {
            store.put(self.names[at].as_bytes(), self.bodies[at].as_bytes())?;
        }
        // Seals what the last session left behind.
        store.put(b"end", &[0; 1 << 16])?;
        store.put(b"end", b"")?;
        store.close()?;
        Handle::mapped_reader(&dir)
    }

    fn check(&self, bench: &Bench) -> Result<()> {
        for at in self.all() {
            let wanted = self.bodies[at].as_bytes();
            let ours = bench.answer(self.load_ours(at));
            check(ours == wanted, "the store gave other bytes")?;
            let file = bench.answer(self.load_file(at));
            check(file == wanted, "the file gave other bytes")?;
            let lmdb = bench.answer(self.load_lmdb(at));
            check(lmdb == wanted, "LMDB gave other bytes")?;
        }
        Ok(())
    }

    /// Makes everything durable, since only what is on disk can leave the page cache.
    fn settle(&self) -> Result<()> {
        for at in self.all() {
            File::open(self.file(at))?.sync_all()?;
        }
        Ok(self.store.flush(Durability::Always)?)
    }

    fn forget(&self) {
        for folder in ["store", "files"] {
            forget(&self.dir.path().join(folder)).expect("the page cache takes advice");
        }
    }
}

/// Asks the system to drop a folder's files from the page cache.
fn forget(dir: &Path) -> Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let file = File::open(entry?.path())?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    }
    Ok(())
}

/// Bytes that this process has made the system fetch from a disk.
fn fetched() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("read_bytes: "));
    line.and_then(|line| line.parse().ok()).unwrap_or_default()
}

pub(super) fn load(bench: &Bench) -> Result<Measured> {
    let sessions = Sessions::new(bench)?;
    sessions.check(bench)?;
    let mapped = sessions.mapped()?;
    let load_mapped = |at: usize| {
        let found = mapped.0.get(sessions.names[at].as_bytes());
        found
            .expect("the store answers")
            .expect("the session is there")
    };
    for at in sessions.all() {
        let found = bench.answer(load_mapped(at));
        let wrong = "the mapped store gave other bytes";
        check(found == sessions.bodies[at].as_bytes(), wrong)?;
    }
    let all = || sessions.all();
    let standing = Contest::new(bench, sessions.names.len() as u64)
        .side(OURS, "", || {
            all().for_each(|at| drop(black_box(sessions.load_ours(at))));
        })
        .side(FILES, "fs::read", || {
            all().for_each(|at| drop(black_box(sessions.load_file(at))));
        })
        .side("mainspring-mmap-store, mapped", "", || {
            all().for_each(|at| drop(black_box(load_mapped(at))));
        })
        .side("heed (LMDB), copied out", "0.23", || {
            all().for_each(|at| drop(black_box(sessions.load_lmdb(at))));
        })
        .run();
    Ok(standing.saved(FILES).noting(
        "ours of whole blocks, in its safe default, checked and copied; mapped, checked and not copied, beside",
    ))
}

pub(super) fn load_cold(bench: &Bench) -> Result<Measured> {
    let sessions = Sessions::new(bench)?;
    sessions.check(bench)?;
    sessions.settle()?;
    sessions.forget();
    let before = fetched();
    let found = bench.answer(sessions.load_file(0));
    check(
        found == sessions.bodies[0].as_bytes(),
        "the file gave other bytes",
    )?;
    if fetched() == before {
        let reason = "posix_fadvise(DONTNEED) does not empty the page cache here";
        return Err(Unavailable(reason.to_owned()).into());
    }
    let cold = |clock: Clock, work: &dyn Fn(usize)| {
        sessions.forget();
        clock.time(|| sessions.all().for_each(work))
    };
    let standing = Contest::new(bench, sessions.names.len() as u64)
        .clock(Clock::Wall)
        .side_timed(OURS, "", |clock| {
            cold(clock, &|at| drop(black_box(sessions.load_ours(at))))
        })
        .side_timed(FILES, "fs::read", |clock| {
            cold(clock, &|at| drop(black_box(sessions.load_file(at))))
        })
        .run();
    Ok(standing.saved(FILES).noting(
        "pages dropped by posix_fadvise(DONTNEED) before every run, not inodes; elapsed time",
    ))
}

pub(super) fn save(bench: &Bench) -> Result<Measured> {
    let sessions = Sessions::new(bench)?;
    sessions.check(bench)?;
    let standing = Contest::new(bench, sessions.names.len() as u64)
        .side(OURS, "", || sessions.save_all_ours())
        .side(FILES, "fs::write", || {
            sessions.all().for_each(|at| sessions.save_file(at));
        })
        .side("heed (LMDB), not synced", "0.23", || {
            sessions.all().for_each(|at| sessions.save_lmdb(at));
        })
        .run();
    sessions.check(bench)?;
    Ok(standing
        .saved(FILES)
        .noting("sessions that exist are saved again; compaction counts as saving"))
}

pub(super) fn save_cold(bench: &Bench) -> Result<Measured> {
    let sessions = Sessions::new(bench)?;
    sessions.check(bench)?;
    let cold = |clock: Clock, work: &dyn Fn()| {
        sessions.settle().expect("what was saved becomes durable");
        sessions.forget();
        clock.time(work)
    };
    let standing = Contest::new(bench, sessions.names.len() as u64)
        .at_most(12)
        .side_timed(OURS, "", |clock| cold(clock, &|| sessions.save_all_ours()))
        .side_timed(FILES, "fs::write", |clock| {
            cold(clock, &|| {
                sessions.all().for_each(|at| sessions.save_file(at))
            })
        })
        .run();
    sessions.check(bench)?;
    Ok(standing
        .saved(FILES)
        .noting("everything on disk and dropped from the page cache before every run"))
}
