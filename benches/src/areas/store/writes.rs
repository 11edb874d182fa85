//! Durable writes of 1 KiB, against the least a disk asks for.

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::Result;

use super::{
    opening::copy,
    peers::{Job, KINDS, Kind, Peer},
    records::KIB,
};
use crate::{Bench, Clock, Contest, Measured, check};

const FLOOR: &str = "write + fdatasync, 1 thread";
const FLOOR_8: &str = "write + fdatasync, 8 threads";
const AHEAD: &str = "write + fdatasync, zeros ahead of it, 1 thread";
const PREALLOCATED: &str = "zeroed file";
const IN_PIECES: &str = "zeroed by the MiB";
const THREADS: usize = 8;
const MIB: u64 = 1 << 20;

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

/// The same in a log that grows for ever, zeros written a MiB ahead of it: what a store can do that
/// does not know its size, and less work for some disks than one large file zeroed long ago.
struct Growing {
    file: File,
    /// Where the next record goes, and where the zeros end.
    ends: Mutex<(u64, u64)>,
}

impl Growing {
    fn new(root: &Path) -> Result<Self> {
        let path = root.join("growing");
        let mut options = File::options();
        let file = options.create_new(true).read(true).write(true).open(path)?;
        Ok(Self {
            file,
            ends: Mutex::default(),
        })
    }

    /// Where it wrote.
    fn put(&self, value: &[u8]) -> std::io::Result<u64> {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let at = ends.0;
        ends.0 += value.len() as u64;
        if ends.0 > ends.1 {
            self.file.write_all_at(&vec![0; MIB as usize], ends.1)?;
            ends.1 += MIB;
        }
        self.file.write_all_at(value, at)?;
        self.file.sync_data()?;
        Ok(at)
    }
}

/// Every store, opened for durable writes, and the floors.
struct Writers {
    stores: Vec<Store>,
    floor: Floor,
    growing: Growing,
    value: Vec<u8>,
    keys: AtomicU64,
    root: tempfile::TempDir,
}

struct Store {
    kind: &'static Kind,
    peer: Box<dyn Peer>,
    puts: AtomicU64,
    /// The last key that it said is durable.
    last: Mutex<String>,
}

const fn job() -> Job {
    Job {
        durable: true,
        read: false,
        bytes: 512 << 20,
    }
}

impl Writers {
    fn new(bench: &Bench) -> Result<Self> {
        let root = tempfile::tempdir()?;
        let open = |kind: &'static Kind| {
            anyhow::Ok(Store {
                kind,
                peer: kind.open_in(root.path(), &job())?,
                puts: AtomicU64::new(0),
                last: Mutex::default(),
            })
        };
        let stores = KINDS.iter().map(open).collect::<Result<_>>()?;
        let mut value = super::records::text(KIB);
        value.truncate(KIB);
        Ok(Self {
            stores,
            floor: Floor::new(root.path(), bench.scale().pick(1 << 20, 8 << 20, 8 << 20))?,
            growing: Growing::new(root.path())?,
            value,
            keys: AtomicU64::new(0),
            root,
        })
    }

    fn key(&self) -> String {
        let number = self.keys.fetch_add(1, Ordering::Relaxed);
        format!("{:016x}/{:06}", number / 200, number % 200)
    }

    fn put(&self, store: &Store) {
        let key = self.key();
        let put = store.peer.put_durable(key.as_bytes(), &self.value);
        put.expect("the store takes a record");
        store.puts.fetch_add(1, Ordering::Relaxed);
        *store.last.lock().unwrap_or_else(PoisonError::into_inner) = key;
    }

    fn put_floor(&self) {
        self.floor
            .put(&self.value)
            .expect("the file takes a record");
    }

    fn put_growing(&self) {
        self.growing
            .put(&self.value)
            .expect("the file takes a record");
    }

    /// Refuses a side that gives back something else than it took.
    fn check(&self, bench: &Bench) -> Result<()> {
        for store in &self.stores {
            let key = self.key();
            store.peer.put_durable(key.as_bytes(), &self.value)?;
            let found = bench.answer(store.peer.get(key.as_bytes())?);
            let wrong = format!("{} gave other bytes than it took", store.kind.name);
            check(found.as_ref() == Some(&self.value), &wrong)?;
        }
        let (at, grown) = (self.floor.put(&self.value)?, self.growing.put(&self.value)?);
        for (file, at) in [(&self.floor.file, at), (&self.growing.file, grown)] {
            let mut found = vec![0; self.value.len()];
            file.read_exact_at(&mut found, at)?;
            let found = bench.answer(found);
            check(found == self.value, "the floor gave other bytes")?;
        }
        Ok(())
    }

    /// Refuses a store that synced less often than it promises when at most `together` puts share a
    /// sync, and one whose files, opened beside it, lack the last record that it called durable.
    fn check_durable(&self, bench: &Bench, before: &[Option<u64>], together: u64) -> Result<()> {
        for (store, before) in self.stores.iter().zip(before) {
            let puts = store.puts.load(Ordering::Relaxed);
            if let Some((after, before)) = store.peer.syncs().zip(*before) {
                let promised = bench.answer(after - before >= puts.div_ceil(together));
                let wrong = format!("{} synced too seldom for its puts", store.kind.name);
                check(promised, &wrong)?;
            }
            let last = store.last.lock().unwrap_or_else(PoisonError::into_inner);
            let beside = tempfile::tempdir_in(self.root.path())?;
            copy(
                &store.kind.dir(self.root.path()),
                &store.kind.dir(beside.path()),
            )?;
            let opened = store.kind.open_in(beside.path(), &job())?;
            let found = bench.answer(opened.get(last.as_bytes())?);
            let wrong = format!("{} lost a durable record", store.kind.name);
            check(found.as_ref() == Some(&self.value), &wrong)?;
            opened.close()?;
        }
        Ok(())
    }

    fn syncs(&self) -> Vec<Option<u64>> {
        self.stores.iter().map(|store| store.peer.syncs()).collect()
    }
}

pub(super) fn put_durable(bench: &Bench) -> Result<Measured> {
    let writers = Writers::new(bench)?;
    writers.check(bench)?;
    let before = writers.syncs();
    let count = bench.scale().pick(1, 8, 20);
    let mut contest = Contest::new(bench, count).clock(Clock::Wall);
    let writers = &writers;
    for store in &writers.stores {
        contest = contest.side(store.kind.name, store.kind.version, move || {
            (0..count).for_each(|_| writers.put(store));
        });
    }
    let standing = contest
        .side(FLOOR, PREALLOCATED, || {
            (0..count).for_each(|_| writers.put_floor());
        })
        .side(AHEAD, IN_PIECES, || {
            (0..count).for_each(|_| writers.put_growing());
        })
        .run();
    writers.check_durable(bench, &before, 1)?;
    let time = |name: &str| standing.nanoseconds(name).median;
    let floor = if time(AHEAD) < time(FLOOR) {
        AHEAD
    } else {
        FLOOR
    };
    Ok(standing.ratio(floor).noting(format!(
        "against the quicker floor, {floor}; new keys; every store's files opened again beside it; bare \
         log: a growing file, not preallocated; sled ends in sync_file_range, which does not empty the \
         disk's own cache"
    )))
}

pub(super) fn put_durable_8(bench: &Bench) -> Result<Measured> {
    let writers = Writers::new(bench)?;
    writers.check(bench)?;
    let before = writers.syncs();
    // So many that starting threads, and groups that are not full yet or no more, are the exception.
    let each = bench.scale().pick(1, 30, 60);
    let mut contest = Contest::new(bench, each * THREADS as u64).clock(Clock::Wall);
    let writers = &writers;
    for store in &writers.stores {
        contest = contest.side(store.kind.name, store.kind.version, move || {
            on_all(each, || writers.put(store));
        });
    }
    let alone = || (0..each * THREADS as u64).for_each(|_| writers.put_floor());
    let together = || on_all(each, || writers.put_floor());
    let standing = contest
        .side(FLOOR, PREALLOCATED, alone)
        .side(FLOOR_8, PREALLOCATED, together)
        .run();
    writers.check_durable(bench, &before, THREADS as u64)?;
    Ok(standing.faster(FLOOR).noting(
        "throughput of 8 threads over that of the floor on one, the floor on 8 threads beside; every \
         store's files opened again beside it; sled ends in sync_file_range, which does not empty the \
         disk's own cache",
    ))
}

fn on_all(each: u64, work: impl Fn() + Sync) {
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..each).for_each(|_| work()));
        }
    });
}
