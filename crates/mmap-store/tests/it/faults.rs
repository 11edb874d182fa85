//! An error of the system at every operation of a workload.

use std::io::ErrorKind;
use std::sync::Arc;

use mainspring_mmap_store::{Durability, Error, Options, Store};

use crate::crash::{Map, Step, WORKLOAD, contents, model_step, options, store_step};
use crate::hook::{Hooked, Moment};
use crate::sim::{Event, Fault, SimDisk};

/// Runs the workload with one fault; checks the store after the failure and after reopening.
/// False when the fault was never met.
fn run_with(operation: usize, fault: Fault) -> bool {
    let disk = SimDisk::new();
    disk.fail_at(operation, fault);
    let Some(mut store) = open(&disk, 0, operation) else {
        // Creation failed; trying again must work.
        let store = options().open_in(disk.storage()).unwrap();
        store.put(b"k", b"v").unwrap();
        return true;
    };
    let mut map = Map::new();
    for (round, step) in WORKLOAD.into_iter().enumerate() {
        let before = store.clone();
        let mut wanted = map.clone();
        model_step(&mut wanted, step, round);
        match store_step(store, &disk, &options(), step, round) {
            Ok(next) => {
                store = next;
                map = wanted;
            }
            Err(error) => {
                check_failure(&disk, before, &map, &wanted, step, round, &error, fault);
                return true;
            }
        }
    }
    assert_eq!(contents(&store), map);
    disk.operations() > operation
}

fn open(disk: &SimDisk, round: usize, operation: usize) -> Option<Store> {
    match options().open_in(disk.storage()) {
        Ok(store) => Some(store),
        Err(e) => {
            assert!(matches!(e, Error::Io { .. }), "{round} {operation}: {e}");
            None
        }
    }
}

#[allow(clippy::too_many_arguments)]
fn check_failure(
    disk: &SimDisk,
    store: Store,
    map: &Map,
    wanted: &Map,
    step: Step,
    round: usize,
    error: &Error,
    fault: Fault,
) {
    let (Fault::Fails(kind) | Fault::Half(kind)) = fault;
    let place = format!("{step:?} (round {round}), {fault:?}: {error}");
    // Whatever happened, this handle shows exactly what was acknowledged.
    assert_eq!(&contents(&store), map, "{place}");
    if !matches!(step, Step::Reopen) {
        let again = store.put(b"again", b"and again");
        match kind {
            ErrorKind::StorageFull if error.is_full() && again.is_ok() => {
                let mut more = map.clone();
                more.insert(b"again".to_vec(), b"and again".to_vec());
                assert_eq!(contents(&store), more, "{place}");
                let died = options().open_in(disk.abandoned().storage()).unwrap();
                is_consistent(&died, &more, &format!("{place}, after a crash"));
                store.close().unwrap();
                let reopened = options().open_in(disk.storage()).unwrap();
                is_consistent(&reopened, &more, &format!("{place}, after closing"));
                return;
            }
            _ => match again {
                Err(Error::Poisoned { cause }) => assert_eq!(cause.kind(), kind, "{place}"),
                // What failed was not the log: a compaction's output, say.
                Ok(()) => drop(store.delete(b"again").unwrap()),
                Err(e) => panic!("{place}: then {e}"),
            },
        }
        assert_eq!(&contents(&store), map, "{place}");
    }
    drop(store);
    let reopened = options().open_in(disk.storage()).unwrap();
    let found = contents(&reopened);
    assert!(
        &found == map || &found == wanted,
        "{place}: after reopening"
    );
    is_consistent(&reopened, &found, &place);
    assert!(
        reopened.damage().is_empty(),
        "{place}: {:?}",
        reopened.damage()
    );
    assert!(reopened.verify().unwrap().is_clean(), "{place}");
}

/// Scans, look-ups and the count say the same.
fn is_consistent(store: &Store, map: &Map, place: &str) {
    assert_eq!(&contents(store), map, "{place}");
    for (key, value) in map {
        let found = store.get(key);
        assert!(
            matches!(&found, Ok(Some(found)) if found == &value[..]),
            "{place}: {key:?} is {found:?}"
        );
    }
    assert_eq!(store.stats().live_keys, map.len() as u64, "{place}");
}

/// A store that was killed with a tail that no file of the index knows.
fn killed_with_a_tail() -> (SimDisk, Map) {
    let disk = SimDisk::new();
    let options = options().checkpoint_every(1 << 20).segment_size(1 << 14);
    let store = options.open_in(disk.storage()).unwrap();
    let mut map = Map::new();
    let mut put = |key: u8, round: u8| {
        store.put(&[key], &[round; 200]).unwrap();
        map.insert(vec![key], vec![round; 200]);
    };
    (0..80).for_each(|key| put(key, 1));
    // The active segment holds nothing dead: a compaction need not seal it, which would save the tail.
    (20..40).for_each(|key| put(key, 2));
    assert_eq!(store.stats().segments, 2);
    (disk.abandoned(), map)
}

/// Compacts a killed store with one fault, then saves what the journal holds.
fn compact_killed(operation: usize, fault: Fault) -> bool {
    let (disk, mut map) = killed_with_a_tail();
    let Ok(store) = options().open_in(disk.storage()) else {
        panic!("nothing failed yet");
    };
    disk.fail_at(disk.operations() + operation, fault);
    let place = format!("operation {operation}, {fault:?}");
    let before = disk.operations();
    let failed = store.compact().is_err();
    let met = disk.operations() > before + operation;
    assert_eq!(contents(&store), map, "{place}");
    if store.put(b"again", b"and again").is_ok() {
        map.insert(b"again".to_vec(), b"and again".to_vec());
    }
    let died = options().open_in(disk.abandoned().storage()).unwrap();
    is_consistent(&died, &map, &format!("{place}, after a crash"));
    drop(store);
    let reopened = options().open_in(disk.storage()).unwrap();
    is_consistent(&reopened, &map, &format!("{place}, failed: {failed}"));
    assert!(reopened.verify().unwrap().is_clean(), "{place}");
    reopened.compact().unwrap();
    reopened.close().unwrap();
    let reopened = options().open_in(disk.storage()).unwrap();
    is_consistent(&reopened, &map, &format!("{place}, compacted again"));
    met
}

#[test]
fn a_fault_while_a_killed_store_is_compacted_loses_nothing() {
    for kind in [ErrorKind::StorageFull, ErrorKind::Other] {
        for fault in [Fault::Fails(kind), Fault::Half(kind)] {
            let mut operation = 0;
            while compact_killed(operation, fault) {
                operation += 1;
            }
            assert!(operation > 10, "{operation}");
        }
    }
}

fn everywhere(fault: Fault) {
    let mut operation = 0;
    while run_with(operation, fault) {
        operation += 1;
    }
    assert!(operation > 100, "{operation}");
}

#[test]
fn an_io_error_at_every_operation_loses_nothing_and_stops_writing() {
    everywhere(Fault::Fails(ErrorKind::Other));
}

#[test]
fn a_full_disk_at_every_operation_loses_nothing() {
    everywhere(Fault::Fails(ErrorKind::StorageFull));
}

#[test]
fn a_write_cut_short_by_a_full_disk_leaves_no_half() {
    everywhere(Fault::Half(ErrorKind::StorageFull));
}

#[test]
fn a_write_cut_short_by_an_io_error_leaves_no_half() {
    everywhere(Fault::Half(ErrorKind::Other));
}

#[test]
fn short_writes_are_continued() {
    let disk = SimDisk::new();
    disk.short_writes(7);
    let store = options().open_in(disk.storage()).unwrap();
    for i in 0..50_u8 {
        store.put(&[i], &[i; 300]).unwrap();
    }
    store.close().unwrap();
    let store = options().open_in(disk.storage()).unwrap();
    assert_eq!(contents(&store).len(), 50);
    assert!(store.verify().unwrap().is_clean());
}

#[test]
fn a_disk_that_fills_up_and_empties_again() {
    let disk = SimDisk::new();
    let store = options().open_in(disk.storage()).unwrap();
    disk.limit(Some(20_000));
    let mut map = Map::new();
    let mut refused = 0;
    for i in 0..200_u8 {
        match store.put(&[i], &[i; 400]) {
            Ok(()) => drop(map.insert(vec![i], vec![i; 400])),
            Err(e) => {
                assert!(e.is_full(), "{e}");
                refused += 1;
            }
        }
        assert_eq!(contents(&store), map);
    }
    assert!(refused > 100 && map.len() > 30, "{refused} {}", map.len());
    assert!(disk.used() <= 20_000);
    let died = options().open_in(disk.abandoned().storage()).unwrap();
    assert_eq!(contents(&died), map);
    disk.limit(None);
    store.put(b"room", b"again").unwrap();
    map.insert(b"room".to_vec(), b"again".to_vec());
    store.close().unwrap();
    assert_eq!(contents(&options().open_in(disk.storage()).unwrap()), map);
}

/// Where there is no room for a file of the index, not every write tries whether there is by now.
#[test]
fn on_a_full_disk_the_index_is_saved_no_more_often() {
    let disk = SimDisk::new();
    let options = options().durability(Durability::Os).segment_size(1 << 20);
    let store = options
        .preallocate(0)
        .checkpoint_every(4096)
        .open_in(disk.storage());
    let store = store.unwrap();
    let tries = || disk.count(|e| matches!(e, Event::Create(name, _) if name.ends_with(".idx")));
    let put = |i: u16| store.put(&i.to_le_bytes(), b"1");
    (0..1000).for_each(|i| put(i).unwrap());
    let before = tries();
    assert!(before > 5, "{before}");
    // Less than a file of the index takes by now.
    disk.limit(Some(disk.used() + 12_000));
    let puts = (1000..2000).take_while(|i| put(*i).is_ok()).count();
    assert!(puts > 290, "{puts}");
    assert!((1..=3).contains(&(tries() - before)), "{}", tries());
    disk.limit(None);
    (3000..3400).for_each(|i| put(i).unwrap());
    assert!(tries() > before + 2);
    let found = contents(&store);
    drop(store);
    let died = options_of(&disk);
    assert_eq!(contents(&died), found);
}

fn options_of(disk: &SimDisk) -> Store {
    options().open_in(disk.abandoned().storage()).unwrap()
}

/// Zeros that did not fit are gone for good before a record takes their place.
#[test]
fn what_a_full_disk_took_of_the_space_ahead_is_cut_durably() {
    let disk = SimDisk::new();
    let options = options().segment_size(1 << 20).checkpoint_every(1 << 20);
    let store = options.preallocate(8192).open_in(disk.storage()).unwrap();
    store.put(b"a", &[1; 300]).unwrap();
    disk.limit(Some(disk.used() + 4000));
    let before = disk.events().len();
    let puts = (0..100_u8).take_while(|i| store.put(&[*i], &[*i; 300]).is_ok());
    assert!(puts.count() > 30);
    let events = disk.events().split_off(before);
    let cuts = events.iter().enumerate().filter_map(|(i, e)| match e {
        Event::SetLen(file, _) => Some((i, *file)),
        _ => None,
    });
    let mut count = 0;
    for (i, cut) in cuts {
        let next = events[i + 1..].iter().find_map(|e| match e {
            Event::Write(file, ..) if *file == cut => Some(false),
            Event::Sync(file) if *file == cut => Some(true),
            _ => None,
        });
        assert_eq!(next, Some(true), "{i}");
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn a_poisoned_handle_says_why_and_reads_on() {
    let disk = SimDisk::new();
    let store = options()
        .durability(Durability::Os)
        .open_in(disk.storage())
        .unwrap();
    store.put(b"a", b"1").unwrap();
    disk.fail_at(disk.operations(), Fault::Fails(ErrorKind::PermissionDenied));
    assert!(matches!(
        store.flush(Durability::Always),
        Err(Error::Io { .. })
    ));
    let error = store.put(b"b", b"2").unwrap_err();
    assert!(error.to_string().contains("permission denied"), "{error}");
    assert_eq!(store.get(b"a").unwrap().unwrap(), &b"1"[..]);
    assert!(matches!(store.close(), Err(Error::Poisoned { .. })));
}

#[test]
fn an_interval_syncs_by_itself() {
    let disk = SimDisk::new();
    let every = std::time::Duration::from_millis(1);
    let store = Options::new()
        .create(true)
        .durability(Durability::Interval(every))
        .open_in(disk.storage())
        .unwrap();
    store.put(b"a", b"1").unwrap();
    let begun = std::time::Instant::now();
    while store.stats().syncs == 0 {
        assert!(begun.elapsed().as_secs() < 20, "no sync came");
        std::thread::yield_now();
    }
}

/// However long the interval is: what a killed writer left behind is older than it may be.
#[test]
fn what_a_killed_writer_left_is_synced_at_once() {
    let disk = SimDisk::new();
    let every = std::time::Duration::from_secs(3600);
    let options = options().durability(Durability::Interval(every));
    let store = options.clone().open_in(disk.storage()).unwrap();
    store.put(b"a", b"1").unwrap();
    std::mem::forget(store);
    let store = options.open_in(disk.abandoned().storage()).unwrap();
    let begun = std::time::Instant::now();
    while store.stats().syncs == 0 {
        assert!(begun.elapsed().as_secs() < 20, "no sync came");
        std::thread::yield_now();
    }
}

/// A reader may see a write that then fails for want of space; what takes its place is seen too.
#[test]
fn a_reader_gets_over_a_write_that_was_taken_back() {
    for len in [100, 230, 400] {
        let disk = SimDisk::new();
        let options = options().preallocate(0).durability(Durability::Os);
        let store = options.open_in(disk.storage()).unwrap();
        store.put(b"a", &[1; 100]).unwrap();
        let reader = Options::new()
            .read_only(true)
            .open_in(disk.storage())
            .unwrap();
        // Two records of one batch: the first is written whole, then the disk is full.
        let mut batch = mainspring_mmap_store::Batch::new();
        batch.put(b"b", &[2; 200]).put(b"c", &[3; 150]);
        disk.fail_at(disk.operations(), Fault::Half(ErrorKind::StorageFull));
        assert!(store.write(batch).unwrap_err().is_full());
        reader.refresh().unwrap();
        assert_eq!(contents(&reader).len(), 1);
        store.put(b"d", &vec![4; len]).unwrap();
        store.put(b"e", &[5; 10]).unwrap();
        reader.refresh().unwrap();
        assert_eq!(contents(&reader), contents(&store));
    }
}

/// A store that could not be opened is left as it was found.
#[test]
fn a_read_that_fails_while_opening_costs_nothing() {
    let disk = SimDisk::new();
    let store = options().open_in(disk.storage()).unwrap();
    for i in 0..30_u8 {
        store.put(&[i], &[i; 300]).unwrap();
    }
    let (map, files) = (contents(&store), disk.contents());
    let mut failed = 0;
    for name in files.keys().filter(|n| n.ends_with(".seg")) {
        for skip in 0..12 {
            let disk = SimDisk::from_contents(&files);
            let hooked = Hooked::new(disk.storage());
            hooked.before(Moment::Read, name, skip, || Err(ErrorKind::Other.into()));
            match options().open_in(std::sync::Arc::new(hooked)) {
                Ok(store) => drop(store),
                Err(e) => {
                    assert!(matches!(e, Error::Io { .. }), "{name} {skip}: {e}");
                    failed += 1;
                }
            }
            let store = options().open_in(disk.storage()).unwrap();
            assert!(contents(&store) == map, "{name}, read {skip}");
            assert!(store.damage().is_empty(), "{name}, read {skip}");
        }
    }
    assert!(failed > 3, "{failed}");
}

/// The system tells a failed sync to one of those who wait for it.
#[test]
fn of_flushes_at_once_none_takes_the_failure_of_another_for_success() {
    for _ in 0..50 {
        let disk = SimDisk::new();
        let options = options().durability(Durability::Os);
        let store = options.open_in(disk.storage()).unwrap();
        store.put(b"a", b"1").unwrap();
        disk.slow_syncs(50);
        disk.fail_at(disk.operations(), Fault::Fails(ErrorKind::Other));
        let flush = || store.flush(Durability::Always);
        let told = std::thread::scope(|scope| {
            let both = [scope.spawn(flush), scope.spawn(flush)];
            both.map(|thread| thread.join().unwrap())
        });
        assert!(told.iter().all(Result::is_err), "{told:?}");
    }
}

/// A killed writer left half a record: there is nothing new in it, however often one asks.
#[test]
fn a_torn_tail_is_no_news_to_a_reader() {
    let disk = SimDisk::new();
    let store = options().open_in(disk.storage()).unwrap();
    store.put(b"a", &[1; 100]).unwrap();
    store.close().unwrap();
    let mut files = disk.contents();
    let segment = files.get_mut("00000001.seg").unwrap();
    segment.extend_from_slice(&[7; 20]);
    let disk = SimDisk::from_contents(&files);
    let reader = Options::new().read_only(true).open_in(disk.storage());
    let reader = reader.unwrap();
    assert!(!reader.refresh().unwrap());
    let store = options().open_in(disk.storage()).unwrap();
    store.put(b"b", &[2; 100]).unwrap();
    assert!(reader.refresh().unwrap());
    assert_eq!(contents(&reader), contents(&store));
    assert!(!reader.refresh().unwrap());
}

/// The flusher is at work when the last handle goes: who opens next finds the lock free.
#[test]
fn the_last_drop_lets_go_of_the_lock_even_while_a_sync_runs() {
    for _ in 0..20 {
        let disk = SimDisk::new();
        let hooked = Hooked::new(disk.storage());
        let every = std::time::Duration::from_millis(1);
        let options = options().durability(Durability::Interval(every));
        let store = options.clone().open_in(Arc::new(hooked.clone())).unwrap();
        let (begun, syncing) = std::sync::mpsc::channel();
        hooked.before(Moment::Sync, "00000001.seg", 1, move || {
            begun.send(()).unwrap();
            (0..2000).for_each(|_| std::thread::yield_now());
            Ok(())
        });
        store.put(b"a", b"1").unwrap();
        syncing.recv().unwrap();
        drop(store);
        let store = options.open_in(disk.storage()).unwrap();
        assert_eq!(store.get(b"a").unwrap().unwrap(), "1");
    }
}

/// The zeros that a reader has before it may be records by now, and later records prove that they
/// were durable.
#[test]
fn a_writer_that_overtakes_a_reader_is_no_damage_to_it() {
    let mut overtaken = 0;
    for skip in 0..8 {
        let disk = SimDisk::new();
        let options = options().segment_size(8 << 20).preallocate(1 << 20);
        let store = options.open_in(disk.storage()).unwrap();
        store.put(b"a", &[1; 100]).unwrap();
        let hooked = Hooked::new(disk.storage());
        let reader = Options::new()
            .read_only(true)
            .open_in(Arc::new(hooked.clone()))
            .unwrap();
        let writer = store.clone();
        hooked.before(Moment::Read, "00000001.seg", skip, move || {
            // Larger than what a reader reads at once.
            writer.put(b"b", &[2; 300 << 10]).unwrap();
            writer.put(b"c", &[3; 100]).unwrap();
            Ok(())
        });
        reader.refresh().unwrap();
        overtaken += usize::from(hooked.happened());
        assert!(reader.damage().is_empty(), "{skip}: {:?}", reader.damage());
        reader.refresh().unwrap();
        for (key, _) in contents(&store) {
            assert!(reader.get(&key).unwrap().is_some(), "{skip}: {key:?}");
        }
    }
    assert!(overtaken > 1, "{overtaken}");
}

/// The files that a reader knew of the index may be gone since.
#[test]
fn a_reader_that_fell_behind_verifies_what_is_there() {
    let disk = SimDisk::new();
    let store = options().open_in(disk.storage()).unwrap();
    for i in 0..40_u8 {
        store.put(&[i], &[1; 300]).unwrap();
    }
    let reader = Options::new()
        .read_only(true)
        .open_in(disk.storage())
        .unwrap();
    let known = disk.contents();
    for i in 0..40_u8 {
        store.put(&[i], &[2; 300]).unwrap();
    }
    store.compact().unwrap();
    let now = disk.contents();
    let gone = |n: &&String| n.ends_with(".idx") && !now.contains_key(*n);
    assert!(known.keys().any(|n| gone(&n)));
    let report = reader.verify().unwrap();
    assert!(report.is_clean(), "{:?}", report.damage);
}
