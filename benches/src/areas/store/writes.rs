//! Durable writes of 1 KiB, against the least a disk asks for.

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::Result;

use super::{
    peers::{Job, KINDS, Peer},
    records::KIB,
};
use crate::{Bench, Clock, Contest, Measured, check};

const FLOOR: &str = "write + fdatasync, 1 thread";
const FLOOR_8: &str = "write + fdatasync, 8 threads";
const PREALLOCATED: &str = "zeroed file";
const THREADS: usize = 8;

/// A bare write and fdatasync into a file that was written full of zeros and synced before.
struct Floor {
    file: File,
    bytes: u64,
    next: AtomicU64,
}

impl Floor {
    fn new(root: &Path, bytes: usize) -> Result<Self> {
        let path = root.join("floor");
        std::fs::write(&path, vec![0; bytes])?;
        let file = File::options().read(true).write(true).open(path)?;
        file.sync_all()?;
        Ok(Self {
            file,
            bytes: bytes as u64,
            next: AtomicU64::new(0),
        })
    }

    /// Where it wrote.
    fn put(&self, value: &[u8]) -> std::io::Result<u64> {
        let len = value.len() as u64;
        let at = self.next.fetch_add(len, Ordering::Relaxed) % (self.bytes - len);
        self.file.write_all_at(value, at)?;
        self.file.sync_data()?;
        Ok(at)
    }
}

/// Every store, opened for durable writes, and the floor.
struct Writers {
    stores: Vec<Box<dyn Peer>>,
    floor: Floor,
    value: Vec<u8>,
    keys: AtomicU64,
    _root: tempfile::TempDir,
}

impl Writers {
    fn new(bench: &Bench) -> Result<Self> {
        let root = tempfile::tempdir()?;
        let job = Job {
            durable: true,
            bytes: 512 << 20,
        };
        let stores = KINDS.iter().map(|kind| kind.open_in(root.path(), &job));
        let mut value = super::records::text(KIB);
        value.truncate(KIB);
        Ok(Self {
            stores: stores.collect::<Result<_>>()?,
            floor: Floor::new(root.path(), bench.scale().pick(1 << 20, 8 << 20, 8 << 20))?,
            value,
            keys: AtomicU64::new(0),
            _root: root,
        })
    }

    fn key(&self) -> String {
        let number = self.keys.fetch_add(1, Ordering::Relaxed);
        format!("{:016x}/{:06}", number / 200, number % 200)
    }

    fn put(&self, store: &dyn Peer) {
        let put = store.put_durable(self.key().as_bytes(), &self.value);
        put.expect("the store takes a record");
    }

    fn put_floor(&self) {
        self.floor
            .put(&self.value)
            .expect("the file takes a record");
    }

    /// Refuses a side that gives back something else than it took.
    fn check(&self, bench: &Bench) -> Result<()> {
        for (kind, store) in KINDS.iter().zip(&self.stores) {
            let key = self.key();
            store.put_durable(key.as_bytes(), &self.value)?;
            let found = bench.answer(store.get(key.as_bytes())?);
            let wrong = format!("{} gave other bytes than it took", kind.name);
            check(found.as_ref() == Some(&self.value), &wrong)?;
        }
        let at = self.floor.put(&self.value)?;
        let mut found = vec![0; self.value.len()];
        self.floor.file.read_exact_at(&mut found, at)?;
        let found = bench.answer(found);
        check(found == self.value, "the floor gave other bytes")
    }
}

pub(super) fn put_durable(bench: &Bench) -> Result<Measured> {
    let writers = Writers::new(bench)?;
    writers.check(bench)?;
    let count = bench.scale().pick(1, 8, 20);
    let mut contest = Contest::new(bench, count).clock(Clock::Wall);
    let writers = &writers;
    for (kind, store) in KINDS.iter().zip(&writers.stores) {
        contest = contest.side(kind.name, kind.version, move || {
            (0..count).for_each(|_| writers.put(&**store));
        });
    }
    let floor = || (0..count).for_each(|_| writers.put_floor());
    let measured = contest.side(FLOOR, PREALLOCATED, floor).run().ratio(FLOOR);
    Ok(measured.noting(
        "new keys; bare log: a growing file, not preallocated; sled ends in sync_file_range, which \
         does not empty the disk's own cache",
    ))
}

pub(super) fn put_durable_8(bench: &Bench) -> Result<Measured> {
    let writers = Writers::new(bench)?;
    writers.check(bench)?;
    let each = bench.scale().pick(1, 6, 15);
    let mut contest = Contest::new(bench, each * THREADS as u64).clock(Clock::Wall);
    let writers = &writers;
    for (kind, store) in KINDS.iter().zip(&writers.stores) {
        contest = contest.side(kind.name, kind.version, move || {
            on_all(each, || writers.put(&**store));
        });
    }
    let alone = || (0..each * THREADS as u64).for_each(|_| writers.put_floor());
    let together = || on_all(each, || writers.put_floor());
    let standing = contest
        .side(FLOOR, PREALLOCATED, alone)
        .side(FLOOR_8, PREALLOCATED, together)
        .run();
    Ok(standing.faster(FLOOR).noting(
        "throughput of 8 threads over that of the floor on one, the floor on 8 threads beside; sled ends \
         in sync_file_range, which does not empty the disk's own cache",
    ))
}

fn on_all(each: u64, work: impl Fn() + Sync) {
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..each).for_each(|_| work()));
        }
    });
}
