//! What grows with a store, and what does not.

use std::io::ErrorKind;
use std::sync::Arc;

use mainspring_mmap_store::{Durability, Error, Options};

use crate::crash::{contents, options};
use crate::hook::{Hooked, Moment};
use crate::sim::{Event, Fault, SimDisk};

/// Each segment is an open file: there must not be as many as there are megabytes.
#[test]
fn segments_get_larger_as_they_get_more() {
    let disk = SimDisk::new();
    let options = || {
        options()
            .durability(Durability::Os)
            .checkpoint_every(1 << 20)
    };
    let store = options().open_in(disk.storage()).unwrap();
    for i in 0..3_000_u32 {
        store.put(&i.to_le_bytes(), &[i as u8; 1000]).unwrap();
    }
    // 3 MB in segments of 4 KiB would be 750 or more.
    let stats = store.stats();
    assert!(stats.log_bytes > 3_000_000);
    assert!((64..300).contains(&stats.segments), "{}", stats.segments);
    // A compaction joins the small ones, and nothing gets lost on the way.
    let before = contents(&store);
    store.compact().unwrap();
    assert!(store.stats().segments < stats.segments / 2);
    assert!(contents(&store) == before);
    store.close().unwrap();
    let store = options().open_in(disk.storage()).unwrap();
    assert!(contents(&store) == before);
    assert!(store.verify().unwrap().is_clean());
}

/// Each opening goes on with a file of its own; they are merged as they come together, and the
/// merged one holds everything.
#[test]
fn the_files_of_the_index_stay_few_and_complete() {
    let mut disk = SimDisk::new();
    let options = || options().durability(Durability::Os).segment_size(64 << 10);
    let (mut map, mut most, mut merged) = (crate::crash::Map::new(), 0, 0);
    for run in 0..120_u8 {
        let store = options().open_in(disk.storage()).unwrap();
        for i in 0..20_u8 {
            store.put(&[run, i], &[i]).unwrap();
            map.insert(vec![run, i], vec![i]);
        }
        store.delete(&[run / 2, 7]).unwrap();
        map.remove(&[run / 2, 7][..]);
        store.put(&[run / 3, 1], &[run]).unwrap();
        map.insert(vec![run / 3, 1], vec![run]);
        store.close().unwrap();
        disk = disk.abandoned();
        let files = disk.contents();
        let base = u32::from_le_bytes(files["MANIFEST"][48..52].try_into().unwrap());
        merged = merged.max(base);
        assert!(base == 0 || files.contains_key(&format!("{base:08}.idx")));
        most = most.max(files.keys().filter(|n| n.ends_with(".idx")).count());
    }
    assert!(merged > 0 && (40..60).contains(&most), "{merged} {most}");
    let store = options().open_in(disk.storage()).unwrap();
    assert_eq!(store.stats().live_keys, map.len() as u64);
    for (key, value) in &map {
        assert_eq!(store.get(key).unwrap().unwrap(), value[..]);
    }
    assert!(contents(&store) == map && store.verify().unwrap().is_clean());
}

/// No write of these tests seals a segment.
fn roomy() -> Options {
    options().segment_size(64 << 10).durability(Durability::Os)
}

/// A closed store that merges the files of its index with the next write, and the number that the
/// merged one will have.
fn about_to_merge() -> (SimDisk, u32) {
    let mut disk = SimDisk::new();
    for run in 0..100_u8 {
        let before = disk.abandoned();
        let store = roomy().open_in(disk.storage()).unwrap();
        (0..20).for_each(|i| store.put(&[run, i], &[i]).unwrap());
        store.close().unwrap();
        let number = |disk: &SimDisk, at: usize| {
            let bytes = disk.contents().remove("MANIFEST");
            bytes.map_or(0, |b| u32::from_le_bytes(b[at..at + 4].try_into().unwrap()))
        };
        if number(&disk, 48) != 0 {
            let next = number(&before, 44) + 1;
            return (before, next);
        }
        disk = disk.abandoned();
    }
    panic!("nothing was merged");
}

/// Whether the names reached the disk nobody knows then, whoever asked for it.
#[test]
fn a_failed_sync_of_the_directory_stops_writing_in_a_merge_too() {
    let (disk, _) = about_to_merge();
    // The record; then of the merged file: creation, contents, sync, and its name.
    for (operation, poisons) in [(1, false), (2, false), (3, false), (4, true)] {
        let disk = disk.abandoned();
        let options = roomy();
        let store = options.clone().open_in(disk.storage()).unwrap();
        disk.fail_at(
            disk.operations() + operation,
            Fault::Fails(ErrorKind::Other),
        );
        store.put(b"a", b"1").unwrap();
        let then = store.put(b"b", b"2");
        let poisoned = matches!(then, Err(Error::Poisoned { .. }));
        assert_eq!(poisoned, poisons, "{operation}: {then:?}");
        let found = contents(&store);
        drop(store);
        let store = options.open_in(disk.storage()).unwrap();
        assert!(contents(&store) == found && store.verify().unwrap().is_clean());
    }
}

/// Who opens next must not find somebody writing.
#[test]
fn closing_waits_for_a_merge() {
    let (disk, merged) = about_to_merge();
    let hooked = Hooked::new(disk.storage());
    let store = roomy().open_in(Arc::new(hooked.clone())).unwrap();
    let (other, next) = (store.clone(), disk.clone());
    let (closed, is_closed) = std::sync::mpsc::channel();
    hooked.before(Moment::Sync, &format!("{merged:08}.idx"), 0, move || {
        std::thread::spawn(move || closed.send(other.close()));
        for _ in 0..2000 {
            std::thread::yield_now();
            let opened = roomy().open_in(next.storage());
            assert!(matches!(opened, Err(Error::Locked)), "closed too early");
        }
        Ok(())
    });
    store.put(b"a", b"1").unwrap();
    assert!(hooked.happened());
    is_closed.recv().unwrap().unwrap();
    let found = contents(&store);
    drop(store);
    let store = roomy().open_in(disk.storage()).unwrap();
    assert!(contents(&store) == found && store.verify().unwrap().is_clean());
}

/// The space ahead is in the file, takes no disk, is no damage to anybody, and is given back.
#[test]
#[cfg(target_os = "linux")]
fn whole_blocks_leave_a_hole_behind_the_log_and_nothing_else() {
    use std::os::unix::fs::MetadataExt as _;
    const BLOCK: u64 = 2 << 20;
    let dir = tempfile::tempdir().unwrap();
    let options = || {
        let options = Options::new().create(true).durability(Durability::Os);
        options.whole_blocks(true)
    };
    let file = dir.path().join("00000001.seg");
    let store = options().open(dir.path()).unwrap();
    let reader = Options::new().read_only(true).open(dir.path()).unwrap();
    let mut seen = 0;
    for i in 0..70_u8 {
        store.put(&[i], &vec![i; 100_000 + usize::from(i)]).unwrap();
        let (log, len) = (store.stats().log_bytes, file.metadata().unwrap().len());
        if log >= BLOCK {
            assert_eq!(len, log.next_multiple_of(BLOCK), "{i}");
            assert_eq!(store.stats().preallocated_bytes, len - log);
            seen += 1;
        }
        reader.refresh().unwrap();
        assert_eq!(contents(&reader).len(), usize::from(i) + 1);
    }
    assert!(seen > 40, "{seen}");
    store.flush(Durability::Always).unwrap();
    let log = store.stats().log_bytes;
    assert!(file.metadata().unwrap().blocks() * 512 < log + (128 << 10));
    // As a killed writer leaves it.
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let before = contents(&store);
    store.close().unwrap();
    assert_eq!(file.metadata().unwrap().len(), log);
    let left = options().open(copy.path()).unwrap();
    left.put(b"more", b"1").unwrap();
    assert!(contents(&left).len() == before.len() + 1 && left.damage().is_empty());
    assert!(left.verify().unwrap().is_clean());
}

/// What was written in pieces of a record each lies in whole blocks afterwards, which the system caches
/// as one.
#[test]
fn a_compaction_writes_whole_blocks() {
    const BLOCK: u64 = 2 << 20;
    let disk = SimDisk::new();
    let options = options().durability(Durability::Os).segment_size(16 << 20);
    let store = options.open_in(disk.storage()).unwrap();
    for i in 0..120_u8 {
        store.put(&[i % 80], &vec![i; 100_000]).unwrap();
    }
    let before = disk.events().len();
    store.compact().unwrap();
    let large = |event: &Event| match event {
        Event::Write(_, at, bytes) if bytes.len() as u64 > BLOCK / 2 => Some((*at, bytes.len())),
        _ => None,
    };
    let written: Vec<_> = disk.events()[before..].iter().filter_map(large).collect();
    assert!(written.len() >= 3, "{written:?}");
    for (at, len) in &written[..3] {
        assert_eq!((at % BLOCK, *len as u64 % BLOCK), (0, 0), "{written:?}");
    }
    assert_eq!(contents(&store).len(), 80);
}
