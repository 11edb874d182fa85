//! Compaction gives space back, takes little, and keeps what lives.

use mainspring_mmap_store::{Durability, Options};

use crate::crash::contents;
use crate::hook::{Hooked, Moment};
use crate::sim::{Cut, Event, SimDisk, after_cut};

fn options() -> Options {
    Options::new()
        .create(true)
        .segment_size(8192)
        .preallocate(0)
        .durability(Durability::Os)
}

#[test]
fn compacting_leaves_only_what_lives_and_keeps_insertion_order() {
    let disk = SimDisk::new();
    let store = options().open_in(disk.storage()).unwrap();
    for round in 0..10_u8 {
        for i in 0..50_u8 {
            store.put(&[i], &[round; 300]).unwrap();
        }
    }
    for i in 10..50_u8 {
        store.delete(&[i]).unwrap();
    }
    let before = contents(&store);
    let order: Vec<_> = store.scan_inserted(0).map(|i| i.unwrap().number).collect();
    let report = store.compact().unwrap();
    assert_eq!(contents(&store), before);
    assert_eq!(
        store
            .scan_inserted(0)
            .map(|i| i.unwrap().number)
            .collect::<Vec<_>>(),
        order
    );
    assert!(report.bytes_before > 30 * report.bytes_after, "{report:?}");
    // Ten records of 336 bytes, their footer, two headers.
    assert!(
        store.stats().log_bytes < 10 * 336 + 600,
        "{:?}",
        store.stats()
    );
    let idle = store.compact().unwrap();
    assert_eq!(
        (idle.removed, idle.written),
        (0, 0),
        "nothing was left to do"
    );
    store.close().unwrap();
    let store = options().open_in(disk.storage()).unwrap();
    assert_eq!(contents(&store), before);
    assert_eq!(store.scan_inserted(order[4]).count(), 6);
}

#[test]
fn compacting_takes_at_most_one_segment_of_extra_space() {
    let disk = SimDisk::new();
    let store = options().open_in(disk.storage()).unwrap();
    for round in 0..2_u8 {
        for i in 0..200_u8 {
            if round == 0 || i % 3 == 0 {
                store.put(&[i], &[round; 300]).unwrap();
            }
        }
    }
    store.flush(Durability::Always).unwrap();
    // One segment, the index twice over, the manifest.
    let extra = 8192 + 2 * (2100 + 200 * 12) + 2000;
    disk.limit(Some(disk.used() + extra));
    store.compact().unwrap();
    assert_eq!(contents(&store).len(), 200);
}

#[test]
fn a_deleted_key_stays_deleted_through_compaction_and_a_lost_index() {
    let disk = SimDisk::new();
    let store = options().open_in(disk.storage()).unwrap();
    for i in 0..100_u8 {
        store.put(&[i], &[1; 300]).unwrap();
    }
    for i in 0..50_u8 {
        store.delete(&[i * 2]).unwrap();
    }
    store.compact().unwrap();
    store.close().unwrap();
    let mut files = disk.contents();
    files.retain(|name, _| !name.ends_with(".idx"));
    let disk = SimDisk::from_contents(&files);
    let store = options().open_in(disk.storage()).unwrap();
    assert_eq!(contents(&store).len(), 50);
    assert!(store.get(&[4]).unwrap().is_none());
}

#[test]
fn orphans_are_cleaned_up_at_open_and_nothing_else() {
    let disk = SimDisk::new();
    options().open_in(disk.storage()).unwrap().close().unwrap();
    let mut files = disk.contents();
    for name in [
        "00000099.seg",
        "00000077.idx",
        "MANIFEST.tmp",
        "notes.txt",
        "99.seg",
        "x.damaged",
    ] {
        files.insert(name.to_owned(), b"left behind".to_vec());
    }
    let disk = SimDisk::from_contents(&files);
    drop(options().open_in(disk.storage()).unwrap());
    let left: Vec<_> = disk.contents().into_keys().collect();
    assert!(
        !left
            .iter()
            .any(|n| n == "00000099.seg" || n == "00000077.idx" || n == "MANIFEST.tmp"),
        "{left:?}"
    );
    assert!(
        ["notes.txt", "99.seg", "x.damaged"]
            .iter()
            .all(|n| left.contains(&(*n).to_owned()))
    );
}

#[test]
fn a_backup_taken_while_writing_is_a_state_that_was() {
    let store = options().open_in(SimDisk::new().storage()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in 0..2000_u32 {
                store.put(format!("{i:08}").as_bytes(), &[5; 100]).unwrap();
            }
        });
        for _ in 0..5 {
            let copy = SimDisk::new();
            store.backup_to(&copy).unwrap();
            let copied = Options::new().open_in(copy.storage()).unwrap();
            assert!(copied.verify().unwrap().is_clean());
            // Keys were written in order: whatever is there is a prefix.
            let keys: Vec<_> = contents(&copied).into_keys().collect();
            let wanted = (0..keys.len()).map(|i| format!("{i:08}").into_bytes());
            assert!(keys.iter().cloned().eq(wanted));
        }
    });
    let copy = SimDisk::new();
    store.backup_to(&copy).unwrap();
    assert_eq!(
        contents(&Options::new().open_in(copy.storage()).unwrap()),
        contents(&store)
    );
    assert!(
        store.backup_to(&copy).is_err(),
        "a backup must not overwrite anything"
    );
}

/// A damaged segment is not compacted, so the tombstones that hide its records must stay.
#[test]
fn a_tombstone_over_a_damaged_segment_survives_compaction() {
    let disk = SimDisk::new();
    let store = options().open_in(disk.storage()).unwrap();
    for i in 0..60_u8 {
        store.put(&[i], &[1; 300]).unwrap();
    }
    for i in 0..10_u8 {
        store.delete(&[i]).unwrap();
    }
    store.close().unwrap();
    let mut files = disk.contents();
    // Not the record of a deleted key, and not the segment's footer.
    files.get_mut("00000001.seg").unwrap()[64 + 15 * 336 + 100] ^= 1;
    let disk = SimDisk::from_contents(&files);
    let store = options().open_in(disk.storage()).unwrap();
    store.put(&[59], b"new").unwrap();
    store.compact().unwrap();
    store.compact().unwrap();
    store.close().unwrap();
    let mut files = disk.contents();
    assert!(files.contains_key("00000001.seg"), "{:?}", files.keys());
    files.retain(|name, _| !name.ends_with(".idx"));
    let store = options()
        .open_in(SimDisk::from_contents(&files).storage())
        .unwrap();
    for i in 0..10_u8 {
        assert_eq!(store.get(&[i]).unwrap(), None, "{i}");
    }
    assert_eq!(store.get(&[59]).unwrap().unwrap(), &b"new"[..]);
}

/// A store of one full segment and a little more, in which key 0 is deleted (and the segment with
/// the tombstone sealed) while a compaction is busy with `output`. The events of the disk.
fn delete_during_compaction(doubled: u8, fillers: u8, output: &str) -> Vec<Event> {
    let disk = SimDisk::new();
    let hooked = Hooked::new(disk.storage());
    let store = options()
        .open_in(std::sync::Arc::new(hooked.clone()))
        .unwrap();
    for i in 0..fillers {
        store.put(&[i], &[1; 300]).unwrap();
        if i == doubled {
            store.put(&[i], &[2; 300]).unwrap();
        }
    }
    let (other, log) = (store.clone(), disk.clone());
    hooked.before(Moment::Sync, output, 0, move || {
        assert!(other.delete(&[0]).unwrap());
        for i in 200..250_u8 {
            other.put(&[i], &[3; 300]).unwrap();
        }
        other.flush(Durability::Always).unwrap();
        log.acknowledge(1);
        Ok(())
    });
    store.compact().unwrap();
    assert!(hooked.happened());
    assert_eq!(store.get(&[0]).unwrap(), None);
    assert!(!contents(&store).contains_key(&[0][..]), "a scan shows it");
    disk.events()
}

fn stays_deleted(events: &[Event]) {
    let told = |e: &Event| matches!(e, Event::Acknowledged(_));
    let from = events.iter().position(told).unwrap();
    for upto in from..=events.len() {
        // Killed here.
        let mut files = after_cut(events, upto, Cut::Everything).contents();
        for lost in [false, true] {
            if lost {
                files.retain(|name, _| !name.ends_with(".idx"));
            }
            let disk = SimDisk::from_contents(&files);
            let store = options().open_in(disk.storage()).unwrap();
            assert_eq!(store.get(&[0]).unwrap(), None, "{upto}, no index: {lost}");
            assert!(!contents(&store).contains_key(&[0][..]), "{upto} {lost}");
            assert_eq!(store.stats().live_keys, contents(&store).len() as u64);
        }
    }
}

/// The compaction has passed the segment of the deleted key when it meets the tombstone.
#[test]
fn what_is_deleted_behind_a_compaction_stays_deleted() {
    stays_deleted(&delete_during_compaction(30, 60, "00000004.seg"));
}

/// The compaction has copied the deleted key, and a checkpoint that knows of the deletion is taken
/// before the copy takes its place.
#[test]
fn what_is_deleted_while_a_compaction_copies_it_stays_deleted() {
    stays_deleted(&delete_during_compaction(1, 30, "00000003.seg"));
}

/// The copy goes on counting where the store was, not where the reader was when it was opened.
#[test]
fn a_backup_by_a_reader_that_moved_on_can_be_written_to() {
    let disk = SimDisk::new();
    let store = options().open_in(disk.storage()).unwrap();
    store.put(&[0], &[0; 300]).unwrap();
    let reader = Options::new().read_only(true).open_in(disk.storage());
    let reader = reader.unwrap();
    for round in 0..110_u8 {
        store.put(&[round % 5], &[round; 300]).unwrap();
    }
    // Leaves the active segment empty.
    store.compact().unwrap();
    assert!(reader.refresh().unwrap());
    let copy = SimDisk::new();
    reader.backup_to(&copy).unwrap();
    let copied = Options::new().segment_size(8192);
    for round in 0..3_u8 {
        let store = copied.clone().open_in(copy.storage()).unwrap();
        for i in 0..60_u8 {
            store.put(&[i], &[round; 300]).unwrap();
        }
        assert!(store.verify().unwrap().is_clean());
        store.close().unwrap();
    }
}

/// Nobody calls for it: the dead share stays bounded, readers and writers go on, closing is prompt.
#[test]
fn a_background_compaction_keeps_the_dead_share_down() {
    let disk = SimDisk::new();
    let options = || options().durability(Durability::Os).compact_above(50);
    let store = options().open_in(disk.storage()).unwrap();
    let begun = std::time::Instant::now();
    let mut rounds = 0_u32;
    // Each round writes ten times what lives.
    while rounds < 20 || store.stats().log_bytes > 120_000 {
        assert!(begun.elapsed().as_secs() < 30, "{:?}", store.stats());
        for i in 0..200_u32 {
            store
                .put(&[i as u8 % 20], &rounds.to_le_bytes().repeat(100))
                .unwrap();
        }
        rounds += 1;
        for i in 0..20_u8 {
            let found = store.get(&[i]).unwrap().unwrap();
            assert_eq!(found, (rounds - 1).to_le_bytes().repeat(100));
        }
    }
    let before = contents(&store);
    drop(store);
    // The lock is free at once, whatever the thread was doing.
    let store = options().open_in(disk.storage()).unwrap();
    assert!(contents(&store) == before && store.damage().is_empty());
    assert!(store.verify().unwrap().is_clean());
}

/// Found out only while compacting, a damaged part of the index makes the next one a whole one: it
/// must not say where records were before.
#[test]
fn a_damaged_index_that_a_compaction_meets_says_where_records_are() {
    let disk = SimDisk::new();
    let store = options().open_in(disk.storage()).unwrap();
    for i in 0..100_u8 {
        store.put(&[i], &[1; 300]).unwrap();
    }
    for i in 0..40_u8 {
        store.put(&[i * 2], &[2; 300]).unwrap();
    }
    let map = contents(&store);
    store.close().unwrap();
    let files = disk.contents();
    let index = files.keys().rfind(|n| n.ends_with(".idx")).unwrap();
    // Behind the head: in the first, a middle and the last part.
    let len = files[index].len();
    for at in [40 + 256 * 12 + 4, len - 600, len - 1] {
        let mut files = files.clone();
        files.get_mut(index).unwrap()[at] ^= 1;
        let disk = SimDisk::from_contents(&files);
        let store = options().open_in(disk.storage()).unwrap();
        assert!(store.compact().unwrap().removed > 0);
        for died in [disk.abandoned(), {
            store.close().unwrap();
            disk
        }] {
            let store = options().open_in(died.storage()).unwrap();
            for (key, value) in &map {
                let found = store.get(key).unwrap().unwrap();
                assert_eq!(found, value[..], "{at} {key:?}");
            }
            assert_eq!(store.stats().live_keys, map.len() as u64, "{at}");
            assert!(store.verify().unwrap().is_clean(), "{at}");
        }
    }
}
