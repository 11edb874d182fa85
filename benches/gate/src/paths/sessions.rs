//! Paths that keep sessions: the store and the snapshots.

use std::hint::black_box;

use anyhow::Result;
use mainspring_delta_snapshot::{CommitOptions, MemoryBacking, Options, Snapshots};
use mainspring_inputs::{SessionSpec, generate};
use mainspring_mmap_store::{Durability, Options as StoreOptions, Store};

use super::{HotPath, Operations};

pub(super) const PATHS: &[HotPath] = &[
    HotPath {
        name: "store.put",
        burst: 200,
        prepare: store_put,
    },
    HotPath {
        name: "store.get",
        burst: 500,
        prepare: || store_get("key"),
    },
    HotPath {
        name: "store.miss",
        burst: 10_000,
        prepare: || store_get("absent"),
    },
    HotPath {
        name: "snapshot.commit",
        burst: 100,
        prepare: snapshot_commit,
    },
    HotPath {
        name: "snapshot.restore",
        burst: 20,
        prepare: snapshot_restore,
    },
];

const RECORDS: u64 = 1_000;

fn store() -> Result<(tempfile::TempDir, Store)> {
    let dir = tempfile::tempdir()?;
    let options = StoreOptions::new().create(true).durability(Durability::Os);
    let store = options.open(dir.path().join("store"))?;
    for n in 0..RECORDS {
        store.put(format!("key-{n}").as_bytes(), &value(n))?;
    }
    Ok((dir, store))
}

/// A kibibyte that differs from record to record.
fn value(n: u64) -> Vec<u8> {
    (0..1024u64)
        .map(|at| (at.wrapping_mul(n + 7) >> 3) as u8)
        .collect()
}

fn store_put() -> Result<Operations> {
    let (dir, store) = store()?;
    let (value, mut next) = (value(3), 0);
    Ok(Box::new(move |count| {
        let _kept = &dir;
        for _ in 0..count {
            next += 1;
            let key = format!("key-{}", next % RECORDS);
            store
                .put(key.as_bytes(), &value)
                .expect("a temporary folder takes a record");
        }
    }))
}

fn store_get(name: &'static str) -> Result<Operations> {
    let (dir, store) = store()?;
    let keys: Vec<String> = (0..RECORDS).map(|n| format!("{name}-{n}")).collect();
    let mut at = 0;
    Ok(Box::new(move |count| {
        let _kept = &dir;
        for _ in 0..count {
            at = (at + 1) % keys.len();
            black_box(store.get(keys[at].as_bytes()).expect("the store answers"));
        }
    }))
}

fn snapshot_commit() -> Result<Operations> {
    let snapshots = Snapshots::open(MemoryBacking::new(), Options::new())?;
    let thread = snapshots.thread("session")?;
    thread.set("", r#"{"header":0,"messages":[]}"#)?;
    let messages = generate(&SessionSpec::coding(5, 400));
    let mut step = 0;
    Ok(Box::new(move |count| {
        for _ in 0..count {
            step += 1;
            let message = messages[step % messages.len()].as_str();
            thread
                .set("/header", step.to_string())
                .expect("the header is there");
            thread
                .append("/messages", &[message])
                .expect("the array is there");
            black_box(
                thread
                    .commit(CommitOptions::new())
                    .expect("memory takes a version"),
            );
        }
    }))
}

fn snapshot_restore() -> Result<Operations> {
    let snapshots = Snapshots::open(MemoryBacking::new(), Options::new())?;
    let thread = snapshots.thread("session")?;
    thread.set("", r#"{"messages":[]}"#)?;
    let mut versions = Vec::new();
    for message in generate(&SessionSpec::coding(5, 200)) {
        thread.append("/messages", &[message.as_str()])?;
        versions.push(thread.commit(CommitOptions::new())?);
    }
    let mut at = 0;
    Ok(Box::new(move |count| {
        for _ in 0..count {
            at = (at + 37) % versions.len();
            black_box(
                snapshots
                    .restore(versions[at])
                    .expect("the version is there"),
            );
        }
    }))
}
