//! Many threads on one store.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use mainspring_mmap_store::{Batch, Durability, Options, Store};

use crate::sim::{Event, SimDisk};

fn options() -> Options {
    Options::new()
        .create(true)
        .segment_size(16 << 10)
        .preallocate(4096)
}

fn counter(store: &Store, key: &[u8]) -> u64 {
    let value = store.get(key).unwrap();
    value.map_or(0, |v| u64::from_le_bytes(v[..8].try_into().unwrap()))
}

fn increment(store: &Store, key: &[u8]) {
    loop {
        let old = store.get(key).unwrap();
        let now = old
            .as_ref()
            .map_or(0, |v| u64::from_le_bytes(v[..8].try_into().unwrap()));
        let new = (now + 1).to_le_bytes();
        if store
            .compare_and_set(key, old.as_deref(), Some(&new))
            .unwrap()
        {
            return;
        }
    }
}

#[test]
fn racing_compare_and_set_loses_no_update() {
    let disk = SimDisk::new();
    let store = options().open_in(disk.storage()).unwrap();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..100).for_each(|_| increment(&store, b"counter")));
        }
    });
    assert_eq!(counter(&store, b"counter"), 800);
    store.close().unwrap();
    let store = options().open_in(disk.storage()).unwrap();
    assert_eq!(counter(&store, b"counter"), 800);
}

#[test]
fn of_racing_creators_and_removers_one_wins() {
    let store = options().open_in(SimDisk::new().storage()).unwrap();
    for round in 0..50_u8 {
        let (created, removed) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for i in 0..4_u8 {
                let (store, created) = (&store, &created);
                scope.spawn(move || {
                    let won = store.compare_and_set(&[round], None, Some(&[i])).unwrap();
                    created.fetch_add(u64::from(won), Ordering::Relaxed);
                });
            }
        });
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let won = store.delete(&[round]).unwrap();
                    removed.fetch_add(u64::from(won), Ordering::Relaxed);
                });
            }
        });
        assert_eq!((created.into_inner(), removed.into_inner()), (1, 1));
    }
}

#[test]
fn batches_are_seen_whole_by_scans_while_everything_moves() {
    let disk = SimDisk::new();
    let store = options()
        .durability(Durability::Os)
        .open_in(disk.storage())
        .unwrap();
    let done = AtomicBool::new(false);
    let write = |value: u64| {
        let mut batch = Batch::new();
        for key in 0..8_u8 {
            batch.put(
                &[b'b', key],
                &[&value.to_le_bytes()[..], &[7; 120]].concat(),
            );
        }
        store.write(batch).unwrap();
    };
    write(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            (1..1500_u64).for_each(write);
            done.store(true, Ordering::Release);
        });
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                store.compact().unwrap();
            }
        });
        for _ in 0..2 {
            scope.spawn(|| {
                let mut last = 0;
                while !done.load(Ordering::Acquire) {
                    let pairs: Vec<_> = store
                        .scan_prefix(b"b")
                        .unwrap()
                        .map(Result::unwrap)
                        .collect();
                    assert_eq!(pairs.len(), 8);
                    let number = |v: &[u8]| u64::from_le_bytes(v[..8].try_into().unwrap());
                    let first = number(&pairs[0].1);
                    assert!(
                        pairs.iter().all(|(_, v)| number(v) == first),
                        "half a batch"
                    );
                    assert!(first >= last, "time went back");
                    last = first;
                    assert!(counter(&store, b"b\x03") >= first);
                }
            });
        }
    });
    assert_eq!(counter(&store, b"b\x07"), 1499);
    assert!(store.verify().unwrap().is_clean());
}

#[test]
fn a_scan_keeps_its_state_through_overwrites_deletes_and_compaction() {
    let store = options()
        .durability(Durability::Os)
        .open_in(SimDisk::new().storage())
        .unwrap();
    for i in 0..200_u8 {
        store.put(&[i], &[i; 200]).unwrap();
    }
    let mut scan = store.scan_prefix(b"").unwrap();
    assert_eq!(scan.next().unwrap().unwrap().0[..], [0]);
    for i in 0..200_u8 {
        match i % 2 {
            0 => drop(store.delete(&[i]).unwrap()),
            _ => store.put(&[i], b"new").unwrap(),
        }
    }
    store.compact().unwrap();
    let seen: Vec<_> = scan.map(Result::unwrap).collect();
    assert_eq!(seen.len(), 199);
    assert!(seen.iter().all(|(k, v)| v[..] == [k[0]; 200]));
    assert_eq!(store.scan_prefix(b"").unwrap().count(), 100);
}

#[test]
fn concurrent_writers_share_syncs() {
    let disk = SimDisk::new();
    disk.slow_syncs(100);
    let store = options()
        .segment_size(1 << 20)
        .open_in(disk.storage())
        .unwrap();
    thread::scope(|scope| {
        for t in 0..8_u8 {
            let store = &store;
            scope.spawn(move || {
                for i in 0..200_u8 {
                    store.put(&[t, i], &[t; 50]).unwrap();
                }
            });
        }
    });
    let stats = store.stats();
    assert_eq!((stats.requests, stats.live_keys), (1600, 1600));
    assert!(stats.commits < 1600, "{stats:?}");
    let syncs = disk.count(|e| matches!(e, Event::Sync(_)));
    assert!(syncs < 1600, "{syncs}");
}

#[test]
fn a_closed_store_reads_and_does_not_write() {
    let store = options().open_in(SimDisk::new().storage()).unwrap();
    store.put(b"a", b"1").unwrap();
    let other = store.clone();
    store.close().unwrap();
    assert_eq!(other.get(b"a").unwrap().unwrap(), &b"1"[..]);
    assert!(matches!(
        other.put(b"a", b"2"),
        Err(mainspring_mmap_store::Error::Closed)
    ));
    assert!(matches!(
        other.compact(),
        Err(mainspring_mmap_store::Error::Closed)
    ));
}
