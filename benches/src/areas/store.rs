//! Sessions on disk.

use std::hint::black_box;

use anyhow::{Context as _, Result};
use heed::types::{Bytes, Str};
use mainspring_inputs::{SessionSpec, generate};
use mainspring_mmap_store::{Durability, Options, Store};

use super::Benchmark;
use crate::{Bench, Contest, Measured, check};

pub(super) const ROWS: &[(&str, Benchmark)] = &[("mmap.load", load), ("mmap.save", save)];

/// Sessions of about 40 KB each, as a store, as LMDB and as one file each.
struct Sessions {
    dir: tempfile::TempDir,
    names: Vec<String>,
    bodies: Vec<String>,
    store: Store,
    lmdb: heed::Env,
    database: heed::Database<Str, Bytes>,
}

impl Sessions {
    fn new(bench: &Bench) -> Result<Self> {
        let count = bench.scale().pick(4, 50, 200);
        let names: Vec<String> = (0..count).map(|n| format!("session-{n:05}")).collect();
        let body = |seed| generate(&SessionSpec::coding(seed, 30)).join("\n");
        let bodies: Vec<String> = (0..count).map(body).collect();
        let dir = tempfile::tempdir()?;
        let options = Options::new().create(true).durability(Durability::Os);
        let store = options.open(dir.path().join("store"))?;
        let (lmdb, database) = lmdb(&dir.path().join("lmdb"))?;
        std::fs::create_dir(dir.path().join("files"))?;
        let sessions = Self {
            dir,
            names,
            bodies,
            store,
            lmdb,
            database,
        };
        for at in 0..count as usize {
            sessions.save_ours(at);
            sessions.save_file(at);
            sessions.save_lmdb(at)?;
        }
        Ok(sessions)
    }

    fn file(&self, at: usize) -> std::path::PathBuf {
        self.dir.path().join("files").join(&self.names[at])
    }

    fn save_ours(&self, at: usize) {
        let put = self
            .store
            .put(self.names[at].as_bytes(), self.bodies[at].as_bytes());
        put.expect("the store takes a session");
    }

    fn save_file(&self, at: usize) {
        std::fs::write(self.file(at), &self.bodies[at]).expect("a file takes a session");
    }

    fn save_lmdb(&self, at: usize) -> Result<()> {
        let mut transaction = self.lmdb.write_txn()?;
        self.database.put(
            &mut transaction,
            &self.names[at],
            self.bodies[at].as_bytes(),
        )?;
        Ok(transaction.commit()?)
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

    fn load_lmdb(&self, at: usize) -> Result<Vec<u8>> {
        let transaction = self.lmdb.read_txn()?;
        let found = self.database.get(&transaction, &self.names[at])?;
        Ok(found.context("the session is there")?.to_vec())
    }
}

#[allow(
    unsafe_code,
    reason = "opening LMDB is unsafe: nobody else touches this temporary folder"
)]
fn lmdb(dir: &std::path::Path) -> Result<(heed::Env, heed::Database<Str, Bytes>)> {
    std::fs::create_dir(dir)?;
    let mut options = heed::EnvOpenOptions::new();
    options.map_size(1 << 30);
    // SAFETY: the folder is ours alone, and the environment is opened once.
    let env = unsafe { options.open(dir)? };
    let mut transaction = env.write_txn()?;
    let database = env.create_database(&mut transaction, None)?;
    transaction.commit()?;
    Ok((env, database))
}

fn load(bench: &Bench) -> Result<Measured> {
    let sessions = Sessions::new(bench)?;
    let all = 0..sessions.names.len();
    for at in all.clone() {
        let wanted = sessions.bodies[at].as_bytes();
        let ours = bench.answer(sessions.load_ours(at));
        check(ours == wanted, "the store gave other bytes")?;
        let file = bench.answer(sessions.load_file(at));
        check(file == wanted, "the file gave other bytes")?;
        let lmdb = bench.answer(sessions.load_lmdb(at)?);
        check(lmdb == wanted, "LMDB gave other bytes")?;
    }
    let standing = Contest::new(bench, sessions.names.len() as u64)
        .side("mainspring-mmap-store", "", || {
            all.clone()
                .for_each(|at| drop(black_box(sessions.load_ours(at))));
        })
        .side("one file per session", "fs::read", || {
            all.clone()
                .for_each(|at| drop(black_box(sessions.load_file(at))));
        })
        .side("heed (LMDB), copied out", "0.22", || {
            all.clone()
                .for_each(|at| drop(black_box(sessions.load_lmdb(at))));
        })
        .run();
    Ok(standing.saved("one file per session"))
}

fn save(bench: &Bench) -> Result<Measured> {
    let sessions = Sessions::new(bench)?;
    let all = 0..sessions.names.len();
    let standing = Contest::new(bench, sessions.names.len() as u64)
        .side("mainspring-mmap-store", "", || {
            all.clone().for_each(|at| sessions.save_ours(at));
        })
        .side("one file per session", "fs::write", || {
            all.clone().for_each(|at| sessions.save_file(at));
        })
        .run();
    for at in all {
        let saved = bench.answer(sessions.load_ours(at));
        check(
            saved == sessions.bodies[at].as_bytes(),
            "other bytes were saved",
        )?;
    }
    Ok(standing.saved("one file per session"))
}
