//! Power cuts at chosen moments: while the index is saved, behind a full disk, behind a repair.

use std::io::ErrorKind;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use mainspring_mmap_store::{Batch, Durability, Store};

use crate::crash::{Map, acknowledged, contents, examine, options};
use crate::hook::{Hooked, Moment};
use crate::sim::{CUTS, Cut, Event, Fault, SimDisk, after_cut};

/// A writer goes on while the index is saved, and what it adds meanwhile is in no file of the index yet:
/// every cut leaves it in the log, where the manifest says that the files end.
#[test]
fn writers_go_on_while_the_index_is_saved() {
    let disk = SimDisk::new();
    let hooked = Hooked::new(disk.storage());
    let options = options().segment_size(1 << 20);
    let store = options.clone().open_in(Arc::new(hooked.clone())).unwrap();
    let (other, (done, is_done)) = (store.clone(), mpsc::channel());
    hooked.before(Moment::Sync, "00000001.idx", 0, move || {
        std::thread::spawn(move || {
            other.put(&[20], &[20; 330]).unwrap();
            other.delete(&[0]).unwrap();
            done.send(()).unwrap();
        });
        let waited = is_done.recv_timeout(Duration::from_secs(20));
        waited.map_err(|_| ErrorKind::TimedOut.into())
    });
    (0..12).for_each(|i| store.put(&[i], &[i; 330]).unwrap());
    assert!(hooked.happened(), "the index was saved");
    disk.acknowledge(14);
    store.put(&[21], &[21; 330]).unwrap();
    disk.acknowledge(15);
    let events = disk.events();
    let all: Vec<_> = (0..12).chain([20, 21]).collect();
    let all: Vec<_> = all.iter().map(|i: &u8| (vec![*i], vec![*i; 330])).collect();
    let mut states: Vec<Map> = (0..=13)
        .map(|n| Map::from_iter(all[..n].to_vec()))
        .collect();
    states.extend([13, 14].map(|n| Map::from_iter(all[1..n].to_vec())));
    for upto in 0..=events.len() {
        let floor = acknowledged(&events[..upto]);
        for cut in CUTS {
            let found = examine(&after_cut(&events, upto, cut), &states, floor, &options);
            assert_eq!(found, Ok(()), "{upto} {cut:?}");
        }
    }
}

/// Where there is a thread that syncs, it saves the index too: a writer that is alone does not wait.
#[test]
fn the_thread_that_syncs_saves_the_index() {
    let hooked = Hooked::new(SimDisk::new().storage());
    let hour = Durability::Interval(Duration::from_secs(3600));
    let options = options().segment_size(1 << 20).durability(hour);
    let store = options.open_in(Arc::new(hooked.clone())).unwrap();
    let (done, is_done) = mpsc::channel();
    hooked.before(Moment::Sync, "00000001.idx", 0, move || {
        let waited = is_done.recv_timeout(Duration::from_secs(20));
        waited.map_err(|_| ErrorKind::TimedOut.into())
    });
    (0..40).for_each(|i| store.put(&[i], &[i; 330]).unwrap());
    done.send(()).unwrap();
    let begun = Instant::now();
    while !hooked.happened() {
        assert!(begun.elapsed() < Duration::from_secs(20), "nobody saves it");
        std::thread::yield_now();
    }
    store.close().unwrap();
}

/// Where the disk lets that thread wait, the index must not fall behind without end: writers wait too.
#[test]
fn writers_wait_for_a_thread_that_does_not_keep_up() {
    let hooked = Hooked::new(SimDisk::new().storage());
    let hour = Durability::Interval(Duration::from_secs(3600));
    let options = options().segment_size(1 << 20).durability(hour);
    let store = options.open_in(Arc::new(hooked.clone())).unwrap();
    let (written, progress) = mpsc::channel();
    let (told, stalled) = mpsc::channel();
    // The first sync is that of the new file.
    hooked.before(Moment::Sync, "00000001.seg", 1, move || {
        let mut puts = 0;
        while let Ok(()) = progress.recv_timeout(Duration::from_millis(300)) {
            puts += 1;
        }
        told.send(puts).unwrap();
        Ok(())
    });
    for i in 0..400_u16 {
        store.put(&i.to_le_bytes(), &[1; 326]).unwrap();
        // Nobody listens any more once it has stalled.
        let _ = written.send(());
    }
    let puts: usize = stalled.recv().unwrap();
    // Due after eight groups or 4 KiB; four times that is the limit.
    assert!(puts * 360 <= 5 * 4096, "{puts}");
    store.close().unwrap();
}

/// What a full disk cut short is gone before anything is written in its place: else its first half,
/// kept in a cut, could take the place of a later write that was lost.
#[test]
fn a_write_that_was_taken_back_does_not_stand_in_for_a_lost_one() {
    let options = options().durability(Durability::Os).preallocate(0);
    let disk = SimDisk::new();
    let store = options.clone().open_in(disk.storage()).unwrap();
    store.put(b"0", &[0; 50]).unwrap();
    store.flush(Durability::Always).unwrap();
    let mut batch = Batch::new();
    batch.put(b"x", &[1; 50]).put(b"y", &[1; 50]);
    disk.fail_at(disk.operations(), Fault::Half(ErrorKind::StorageFull));
    assert!(store.write(batch).unwrap_err().is_full());
    store.put(b"a", &[2; 50]).unwrap();
    store.put(b"b", &[3; 50]).unwrap();
    let events = disk.events();
    for bits in 0..1 << 6 {
        let disk = after_cut(&events, events.len(), Cut::Chosen(bits));
        let store = options.clone().open_in(disk.storage()).unwrap();
        let keys: Vec<_> = contents(&store).into_keys().collect();
        let right = [&[b"0"][..], &[b"0", b"a"], &[b"0", b"a", b"b"]];
        assert!(right.iter().any(|r| keys == *r), "{bits:b}: {keys:?}");
    }
}

/// A manifest made anew says that what it lists is durable, and a killed writer's last records were
/// not: what power takes of them before the repair is done is no damage after it.
#[test]
fn a_rebuilt_manifest_lists_durable_bytes_only() {
    let options = options().durability(Durability::Os);
    let disk = SimDisk::new();
    let store = options.clone().open_in(disk.storage()).unwrap();
    store.put(b"0", &[0; 50]).unwrap();
    store.put(b"a", &[1; 50]).unwrap();
    std::mem::forget(store);
    let mut events = Vec::new();
    let mut files = disk.contents();
    files.remove("MANIFEST");
    for (file, (name, bytes)) in files.iter().enumerate() {
        events.push(Event::Create(name.clone(), file));
        events.push(Event::Write(file, 0, bytes[..64].to_vec()));
        events.push(Event::Sync(file));
        events.push(Event::Write(file, 64, bytes[64..].to_vec()));
    }
    let disk = SimDisk::from_contents(&files);
    assert_eq!(Store::repair_in(disk.storage()).unwrap().keys, 2);
    let after = disk.events();
    for (upto, seen) in after.iter().enumerate() {
        let is_new = |e: &Event| matches!(e, Event::Rename(_, to) if to == "MANIFEST");
        if !is_new(seen) {
            continue;
        }
        let mut all = events.clone();
        all.extend_from_slice(&after[..=upto]);
        for cut in CUTS {
            let disk = after_cut(&all, all.len(), cut);
            if !disk.contents().contains_key("MANIFEST") {
                continue;
            }
            let store = options.clone().open_in(disk.storage()).unwrap();
            let damage = store.damage();
            assert!(damage.is_empty(), "{upto} {cut:?}: {damage:?}");
            assert_eq!(contents(&store).len(), 2, "{upto} {cut:?}");
        }
    }
}
