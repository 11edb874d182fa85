//! Every store with the same records in it, shared by the rows that read.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::Result;

use super::{
    peers::{Job, KINDS, Kind, Peer},
    records::{Records, key},
};
use crate::{Bench, Clock, Peer as Figure, check};

/// All stores, loaded, flushed and never closed; a last batch, written once more, no flush has
/// followed.
pub(super) struct Loaded {
    pub(super) records: Records,
    pub(super) stores: Vec<Store>,
    /// Ours again, as its writer lays it out when not told that it will be read a lot.
    pub(super) plain: Store,
    root: tempfile::TempDir,
}

/// One of them.
pub(super) struct Store {
    pub(super) kind: Kind,
    pub(super) dir: PathBuf,
    pub(super) peer: Box<dyn Peer>,
    /// Nanoseconds of loading it, a flush at the end included.
    pub(super) loading: f64,
    /// Bytes that its files took after the flush.
    pub(super) disk: u64,
}

impl Loaded {
    pub(super) fn new(bench: &Bench) -> Result<Self> {
        let records = Records::new(bench);
        let root = tempfile::tempdir()?;
        let stores = KINDS
            .iter()
            .map(|kind| load(kind, root.path(), &records, true));
        let stores = stores.collect::<Result<_>>()?;
        let plain = load(&KINDS[0], &root.path().join("plain"), &records, false)?;
        Ok(Self {
            records,
            stores,
            plain,
            root,
        })
    }

    pub(super) fn ours(&self) -> &Store {
        &self.stores[0]
    }

    pub(super) fn others(&self) -> impl Iterator<Item = &Store> {
        self.stores[1..].iter()
    }

    /// A folder for what a row makes of it.
    pub(super) fn root(&self) -> &Path {
        self.root.path()
    }

    pub(super) fn job(&self) -> Job {
        job(&self.records)
    }

    /// Refuses a store that has lost the first, the last or a record between.
    pub(super) fn check(&self, bench: &Bench, store: &Store) -> Result<()> {
        holds(bench, store.kind.name, &*store.peer, &self.records)
    }

    /// Figures of the others beside ours, by what was found while loading.
    pub(super) fn figures(&self, value: impl Fn(&Store) -> f64) -> Vec<Figure> {
        let ours = value(self.ours());
        let of = |store: &Store| {
            Figure::counted(store.kind.name, store.kind.version, value(store), ours)
        };
        self.others().map(of).collect()
    }
}

pub(super) fn job(records: &Records) -> Job {
    Job {
        durable: false,
        read: true,
        bytes: records.bytes(),
    }
}

/// Refuses a store that has lost the first, the last or a record between.
pub(super) fn holds(bench: &Bench, name: &str, peer: &dyn Peer, records: &Records) -> Result<()> {
    for number in [0, records.len() / 2, records.len() - 1] {
        let found = bench.answer(peer.get(key(number).as_bytes())?);
        check(
            found == Some(records.value(number)),
            &format!("{name} gave other bytes for record {number}"),
        )?;
    }
    Ok(())
}

fn load(kind: &Kind, root: &Path, records: &Records, read: bool) -> Result<Store> {
    let job = Job {
        read,
        ..job(records)
    };
    let peer = kind.open_in(root, &job)?;
    let loading = fill(&*peer, records)?;
    let dir = kind.dir(root);
    let disk = disk_bytes(&dir)?;
    if let Some(last) = records.batches().last() {
        peer.put_many(&last.pairs())?;
    }
    Ok(Store {
        kind: *kind,
        dir,
        peer,
        loading,
        disk,
    })
}

/// Writes every record in batches and makes them durable; nanoseconds that this took, without the
/// making of the records.
pub(super) fn fill(peer: &dyn Peer, records: &Records) -> Result<f64> {
    let mut spent = 0.0;
    for batch in records.batches() {
        let pairs = batch.pairs();
        let before = Clock::Wall.now();
        peer.put_many(&pairs)?;
        spent += Clock::Wall.now() - before;
    }
    let before = Clock::Wall.now();
    peer.flush()?;
    Ok(spent + Clock::Wall.now() - before)
}

/// Bytes that the system has set aside for the files of a folder.
pub(super) fn disk_bytes(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let about = entry.metadata()?;
        bytes += match about.is_dir() {
            true => disk_bytes(&entry.path())?,
            false => about.blocks() * 512,
        };
    }
    Ok(bytes)
}
