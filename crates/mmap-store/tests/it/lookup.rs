//! Misses that take no lock, and what opening and loading leave to the disk.

use std::cell::RefCell;
use std::sync::{Arc, mpsc};

use mainspring_mmap_store::{Access, Batch, Durability, Options, Store};

use crate::crash::options;
use crate::sim::{Event, SimDisk};

/// A reader that learnt that a key is absent must find it once it was written and the view moved on.
#[test]
fn what_was_ruled_out_is_found_after_a_refresh() {
    let disk = SimDisk::new();
    let options = || options().durability(Durability::Os);
    let writer = options().open_in(disk.storage()).unwrap();
    let key = |i: u32| i.to_le_bytes();
    (0..200).for_each(|i| writer.put(&key(i), b"old").unwrap());
    writer.flush(Durability::Always).unwrap();
    let reader = options().read_only(true).open_in(disk.storage()).unwrap();
    for from in (200..1000).step_by(200) {
        for i in from..from + 200 {
            assert_eq!(reader.get(&key(i)).unwrap(), None);
            assert!(!reader.contains(&key(i)).unwrap());
        }
        (from..from + 200).for_each(|i| writer.put(&key(i), b"new").unwrap());
        writer.compact().unwrap();
        assert!(reader.refresh().unwrap());
        for i in 0..from + 200 {
            assert!(reader.get(&key(i)).unwrap().is_some(), "{i}");
            assert!(reader.contains(&key(i)).unwrap(), "{i}");
        }
    }
}

/// A reader whose new index is made from the log looks each record up in that one, not in what its old one
/// ruled out: else a key that came after that and was deleted would be there for good.
#[test]
fn what_came_and_went_before_a_refresh_is_gone() {
    let disk = SimDisk::new();
    let options = || options().durability(Durability::Os);
    let key = |i: u32| i.to_le_bytes();
    let write = |keys: std::ops::Range<u32>, value: &[u8]| {
        let store = options().open_in(disk.storage()).unwrap();
        keys.clone()
            .for_each(|i| store.put(&key(i), value).unwrap());
        store
    };
    write(0..1000, b"old").close().unwrap();
    let reader = options().read_only(true).open_in(disk.storage()).unwrap();
    (0..1000).for_each(|i| assert!(reader.contains(&key(i)).unwrap()));
    write(1000..1100, b"1").close().unwrap();
    let store = write(1000..1100, b"2");
    (1000..1050).for_each(|i| assert!(store.delete(&key(i)).unwrap()));
    store.close().unwrap();
    // The log holds all that the index does.
    let newest = disk.contents().into_keys().rfind(|n| n.ends_with(".idx"));
    let index = disk
        .storage()
        .open(&newest.unwrap(), Access::Write)
        .unwrap();
    index.write_at(&[0; 8], 0).unwrap();
    assert!(reader.refresh().unwrap());
    assert!(!reader.damage().is_empty());
    for i in 0..1100 {
        let value = match i {
            0..1000 => Some(&b"old"[..]),
            1000..1050 => None,
            _ => Some(&b"2"[..]),
        };
        assert_eq!(reader.get(&key(i)).unwrap().as_deref(), value, "{i}");
    }
    assert_eq!(reader.stats().live_keys, 1050);
}

fn syncs_of_segments(disk: &SimDisk) -> usize {
    let mut segments = Vec::new();
    let mut syncs = 0;
    for event in disk.events() {
        match event {
            Event::Create(name, file) if name.ends_with(".seg") => segments.push(file),
            Event::Sync(file) if segments.contains(&file) => syncs += 1,
            _ => {}
        }
    }
    syncs
}

/// Where writes are not durable when they are acknowledged, opening does not wait for a sync of what
/// a killed writer left; where they are, it does.
#[test]
fn opening_after_a_kill_syncs_only_what_was_promised() {
    for (durability, wanted) in [(Durability::Os, 0), (Durability::Always, 1)] {
        let disk = SimDisk::new();
        let options = || options().durability(Durability::Os);
        let store = options().open_in(disk.storage()).unwrap();
        store.put(b"key", b"value").unwrap();
        std::mem::forget(store);
        let disk = disk.abandoned();
        let file = |e: &Event| matches!(e, Event::Sync(_));
        let before = disk.count(file);
        let options = options().durability(durability);
        let store = options.open_in(disk.storage()).unwrap();
        assert_eq!(store.get(b"key").unwrap().unwrap(), "value");
        assert_eq!(disk.count(file) - before, wanted, "{durability:?}");
    }
}

fn index_files(disk: &SimDisk) -> usize {
    disk.count(|e| matches!(e, Event::Create(name, _) if name.ends_with(".idx")))
}

/// Large batches do not wait for the index at every step; a flush makes up for it.
#[test]
fn a_bulk_load_saves_the_index_seldom() {
    let disk = SimDisk::new();
    let options = Options::new().create(true).durability(Durability::Os);
    let options = options.checkpoint_every(4 << 10);
    let store = options.open_in(disk.storage()).unwrap();
    let load = |from: u8| {
        for i in from..from + 7 {
            let mut batch = Batch::new();
            batch.put(&[i], &[i; 10_000]);
            store.write(batch).unwrap();
        }
    };
    load(0);
    assert_eq!(index_files(&disk), 0);
    store.flush(Durability::Always).unwrap();
    assert_eq!(index_files(&disk), 1);
    load(7);
    load(14);
    assert_eq!(index_files(&disk), 2);
    store.put(&[99], b"small").unwrap();
    assert_eq!(index_files(&disk), 3);
}

/// What piles up in a load is handed to the disk on the way, not only when a segment is sealed.
#[test]
fn a_load_is_synced_as_it_goes() {
    let disk = SimDisk::new();
    let options = Options::new().create(true).durability(Durability::Os);
    let options = options.checkpoint_every(1 << 30);
    let store = options.open_in(disk.storage()).unwrap();
    let before = syncs_of_segments(&disk);
    (0..6_u8).for_each(|i| store.put(&[i], &vec![i; 1 << 20]).unwrap());
    while syncs_of_segments(&disk) == before {
        std::thread::yield_now();
    }
    store.close().unwrap();
}

struct Late {
    store: Arc<Store>,
    found: mpsc::Sender<bool>,
}

impl Drop for Late {
    fn drop(&mut self) {
        let value = self.store.get(b"key");
        let _ = self.found.send(value.is_ok_and(|value| value.is_some()));
    }
}

/// What a thread keeps for itself may be dropped after what the store keeps for that thread.
#[test]
fn a_get_is_answered_while_its_thread_ends() {
    thread_local! {
        static LATE: RefCell<Option<Late>> = const { RefCell::new(None) };
    }
    let store = Arc::new(options().open_in(SimDisk::new().storage()).unwrap());
    store.put(b"key", b"value").unwrap();
    let (found, was_found) = mpsc::channel();
    let late = Late {
        store: Arc::clone(&store),
        found,
    };
    let thread = std::thread::spawn(move || {
        LATE.with(|kept| *kept.borrow_mut() = Some(late));
        store.get(b"key").unwrap()
    });
    assert!(thread.join().unwrap().is_some());
    assert!(was_found.recv().unwrap());
}
