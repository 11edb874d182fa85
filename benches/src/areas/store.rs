//! Sessions on disk.

use std::hint::black_box;

use anyhow::{Context as _, Result};
use heed::types::{Bytes, Str};
use mainspring_inputs::{SessionSpec, generate};
use mainspring_mmap_store::{Durability, Options, Store};

use super::{Settings, check, peer, saved};
use crate::{Measured, paired};

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
    fn new(settings: &Settings) -> Result<Self> {
        let count = if settings.quick { 50 } else { 200 };
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

pub(super) fn load(settings: &Settings) -> Result<Measured> {
    let sessions = Sessions::new(settings)?;
    for at in 0..sessions.names.len() {
        let wanted = sessions.bodies[at].as_bytes();
        check(
            sessions.load_ours(at) == wanted,
            "the store gave other bytes",
        )?;
        check(
            sessions.load_file(at) == wanted,
            "the file gave other bytes",
        )?;
        check(sessions.load_lmdb(at)? == wanted, "LMDB gave other bytes")?;
    }
    let all = 0..sessions.names.len();
    let operations = sessions.names.len() as u64;
    let ours = || {
        all.clone()
            .for_each(|at| drop(black_box(sessions.load_ours(at))))
    };
    let files = paired(settings.rounds(), operations, ours, || {
        all.clone()
            .for_each(|at| drop(black_box(sessions.load_file(at))));
    });
    let lmdb = paired(settings.rounds(), operations, ours, || {
        all.clone()
            .for_each(|at| drop(black_box(sessions.load_lmdb(at))));
    });
    let peers = vec![
        peer("one file per session", "fs::read", &files),
        peer("heed (LMDB), copied out", "0.23", &lmdb),
    ];
    Ok(saved(&files, peers))
}

pub(super) fn save(settings: &Settings) -> Result<Measured> {
    let sessions = Sessions::new(settings)?;
    let all = 0..sessions.names.len();
    let files = paired(
        settings.rounds() / 4,
        sessions.names.len() as u64,
        || all.clone().for_each(|at| sessions.save_ours(at)),
        || all.clone().for_each(|at| sessions.save_file(at)),
    );
    for at in all {
        check(
            sessions.load_ours(at) == sessions.bodies[at].as_bytes(),
            "other bytes were saved",
        )?;
    }
    Ok(saved(
        &files,
        vec![peer("one file per session", "fs::write", &files)],
    ))
}
