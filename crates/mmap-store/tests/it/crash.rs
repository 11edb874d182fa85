//! A power cut at every point of a workload, with everything that it could leave behind.

use std::collections::BTreeMap;

use mainspring_mmap_store::{Batch, Durability, Options, Store};

use crate::sim::{CUTS, Cut, Event, Lies, SimDisk, after_cut};

pub(crate) type Map = BTreeMap<Vec<u8>, Vec<u8>>;

pub(crate) fn options() -> Options {
    Options::new()
        .create(true)
        .segment_size(4096)
        .preallocate(512)
        .checkpoint_every(4096)
        .store_id(7)
}

pub(crate) fn contents(store: &Store) -> Map {
    let scan = store.scan_prefix(b"").unwrap();
    scan.map(|pair| pair.map(|(k, v)| (k.to_vec(), v.to_vec())).unwrap())
        .collect()
}

/// Compaction, checkpoint and reopening are steps too.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    Put(u8, usize),
    Delete(u8),
    Batch(u8),
    Swap(u8),
    Compact,
    Reopen,
}

pub(crate) const WORKLOAD: [Step; 28] = [
    Step::Put(1, 10),
    Step::Put(2, 700),
    Step::Batch(10),
    Step::Delete(1),
    Step::Put(3, 1500),
    Step::Put(2, 300),
    Step::Batch(20),
    Step::Put(4, 1200),
    Step::Swap(2),
    Step::Put(5, 900),
    Step::Delete(3),
    Step::Compact,
    Step::Put(1, 40),
    Step::Batch(10),
    Step::Reopen,
    Step::Put(6, 800),
    Step::Put(7, 2200),
    Step::Delete(2),
    Step::Put(8, 5000),
    Step::Put(7, 100),
    Step::Reopen,
    Step::Batch(30),
    Step::Compact,
    Step::Delete(10),
    Step::Put(9, 600),
    Step::Put(1, 1),
    Step::Swap(9),
    Step::Put(2, 77),
];

fn value(key: u8, len: usize, round: usize) -> Vec<u8> {
    (0..len)
        .map(|i| (i as u8).wrapping_mul(31) ^ key ^ round as u8)
        .collect()
}

pub(crate) fn model_step(map: &mut Map, step: Step, round: usize) {
    match step {
        Step::Put(k, len) => {
            map.insert(vec![k], value(k, len, round));
        }
        Step::Delete(k) => {
            map.remove(&vec![k]);
        }
        Step::Batch(k) => {
            for i in 0..4 {
                map.insert(vec![k + i], value(k, 90 * usize::from(i), round));
            }
            map.remove(&vec![1]);
        }
        Step::Swap(k) => {
            map.insert(vec![k], value(k, 222, round));
        }
        Step::Compact | Step::Reopen => {}
    }
}

pub(crate) fn store_step(
    store: Store,
    disk: &SimDisk,
    options: &Options,
    step: Step,
    round: usize,
) -> mainspring_mmap_store::Result<Store> {
    match step {
        Step::Put(k, len) => store.put(&[k], &value(k, len, round))?,
        Step::Delete(k) => drop(store.delete(&[k])?),
        Step::Batch(k) => {
            let mut batch = Batch::new();
            for i in 0..4 {
                batch.put(&[k + i], &value(k, 90 * usize::from(i), round));
            }
            batch.delete(&[1]);
            store.write(batch)?;
        }
        Step::Swap(k) => {
            let old = store.get(&[k])?;
            assert!(store.compare_and_set(&[k], old.as_deref(), Some(&value(k, 222, round)))?);
        }
        Step::Compact => drop(store.compact()?),
        Step::Reopen => {
            store.close()?;
            return options.clone().open_in(disk.storage());
        }
    }
    Ok(store)
}

/// The states of the model after each step, and the events of the disk.
fn record(lies: Lies, options: &Options, flush_every: usize) -> (Vec<Map>, Vec<Event>) {
    let disk = SimDisk::new();
    disk.lie(lies);
    let mut map = Map::new();
    let mut states = vec![map.clone()];
    let mut store = options.clone().open_in(disk.storage()).unwrap();
    for (round, step) in WORKLOAD.into_iter().enumerate() {
        store = store_step(store, &disk, options, step, round).unwrap();
        model_step(&mut map, step, round);
        states.push(map.clone());
        if flush_every == 0 || (round + 1) % flush_every == 0 {
            if flush_every > 0 {
                store.flush(Durability::Always).unwrap();
            }
            disk.acknowledge(round + 1);
        }
    }
    assert_eq!(contents(&store), map);
    let events = disk.events();
    drop(store);
    (states, events)
}

/// Opens what a cut left behind; what is wrong with it, if anything.
pub(crate) fn examine(
    disk: &SimDisk,
    states: &[Map],
    acknowledged: usize,
    options: &Options,
) -> Result<(), String> {
    let store = options
        .clone()
        .open_in(disk.storage())
        .map_err(|e| format!("open: {e}"))?;
    if !store.damage().is_empty() {
        return Err(format!("false alarm: {:?}", store.damage()));
    }
    let mut found = Map::new();
    for pair in store.scan_prefix(b"").map_err(|e| e.to_string())? {
        let (k, v) = pair.map_err(|e| format!("scan: {e}"))?;
        found.insert(k.to_vec(), v.to_vec());
    }
    if !states[acknowledged..].contains(&found) {
        return Err(format!(
            "{} keys, not a state from {acknowledged} on",
            found.len()
        ));
    }
    for key in 0..40_u8 {
        let got = store.get(&[key]).map_err(|e| format!("get: {e}"))?;
        if got.as_deref() != found.get(&vec![key]).map(Vec::as_slice) {
            return Err(format!("get and scan differ for {key}"));
        }
    }
    if store.stats().live_keys != found.len() as u64 {
        return Err("live keys are miscounted".into());
    }
    // Life goes on.
    store
        .put(b"after", b"the cut")
        .map_err(|e| format!("put: {e}"))?;
    found.insert(b"after".to_vec(), b"the cut".to_vec());
    drop(store);
    let store = options
        .clone()
        .open_in(disk.storage())
        .map_err(|e| format!("reopen: {e}"))?;
    if contents(&store) != found {
        return Err("the state changed by writing and reopening".into());
    }
    let report = store.verify().map_err(|e| e.to_string())?;
    match report.is_clean() {
        true => Ok(()),
        false => Err(format!("verify: {:?}", report.damage)),
    }
}

pub(crate) fn acknowledged(events: &[Event]) -> usize {
    let last = events.iter().rev().find_map(|e| match e {
        Event::Acknowledged(n) => Some(*n),
        _ => None,
    });
    last.unwrap_or(0)
}

/// True if the checker complains about a disk that lies; it stops at the first complaint.
fn is_caught(lies: Lies) -> bool {
    let (states, events) = record(lies, &options(), 0);
    (0..=events.len()).any(|upto| {
        let floor = acknowledged(&events[..upto]);
        let fails =
            |cut| examine(&after_cut(&events, upto, cut), &states, floor, &options()).is_err();
        CUTS.into_iter().any(fails)
    })
}

/// Every prefix of the events, every kind of cut: the number of cuts and the complaints.
fn enumerate(lies: Lies, options: &Options, flush_every: usize) -> (usize, Vec<String>) {
    let (states, events) = record(lies, options, flush_every);
    let mut complaints = Vec::new();
    let mut cuts = 0;
    for upto in 0..=events.len() {
        let floor = acknowledged(&events[..upto]);
        for cut in CUTS {
            cuts += 1;
            let disk = after_cut(&events, upto, cut);
            if let Err(e) = examine(&disk, &states, floor, options) {
                complaints.push(format!(
                    "event {upto} ({:?}) {cut:?}: {e}",
                    short(events.get(upto))
                ));
            }
        }
    }
    (cuts, complaints)
}

fn short(event: Option<&Event>) -> String {
    match event {
        Some(Event::Write(f, at, bytes)) => format!("write of {} to {f} at {at}", bytes.len()),
        other => format!("{other:?}"),
    }
}

#[test]
fn every_cut_leaves_every_acknowledged_write_and_no_half() {
    let (cuts, complaints) = enumerate(Lies::default(), &options(), 0);
    assert!(cuts > 1000, "{cuts}");
    assert!(
        complaints.is_empty(),
        "{} of {cuts}: {:#?}",
        complaints.len(),
        &complaints[..complaints.len().min(5)]
    );
}

#[test]
fn without_syncs_every_cut_leaves_a_prefix_and_what_was_flushed() {
    let options = options().durability(Durability::Os);
    let (cuts, complaints) = enumerate(Lies::default(), &options, 5);
    assert!(cuts > 500, "{cuts}");
    assert!(
        complaints.is_empty(),
        "{} of {cuts}: {:#?}",
        complaints.len(),
        &complaints[..complaints.len().min(5)]
    );
}

#[test]
fn the_checker_catches_a_missing_directory_sync() {
    let lies = Lies {
        sync_dir: true,
        ..Lies::default()
    };
    assert!(is_caught(lies));
}

#[test]
fn the_checker_catches_an_early_acknowledgement() {
    let lies = Lies {
        sync_segments: true,
        ..Lies::default()
    };
    assert!(is_caught(lies));
}

#[test]
fn the_checker_catches_a_manifest_swapped_too_soon() {
    let lies = Lies {
        sync_manifest: true,
        ..Lies::default()
    };
    assert!(is_caught(lies));
    let lies = Lies {
        sync_index: true,
        ..Lies::default()
    };
    assert!(is_caught(lies));
}

#[test]
fn a_cut_during_recovery_is_survived_too() {
    cut_in_recovery(&options(), 0, 7);
    // Then what a killed writer left is not synced before it is written behind.
    cut_in_recovery(&options().durability(Durability::Os), 5, 5);
}

fn cut_in_recovery(options: &Options, flush_every: usize, step: usize) {
    let (states, events) = record(Lies::default(), options, flush_every);
    for upto in (0..events.len()).step_by(step) {
        let floor = acknowledged(&events[..upto]);
        let first = after_cut(&events, upto, Cut::Random(upto as u64));
        let before = first.contents();
        // The recovery and one more write, cut at each of their own events.
        let store = options.clone().open_in(first.storage()).unwrap();
        drop(store);
        let second = first.events();
        for again in 0..=second.len() {
            for cut in [Cut::Nothing, Cut::Everything, Cut::Random(9)] {
                let disk = resume(&before, &second, again, cut);
                if let Err(e) = examine(&disk, &states, floor, options) {
                    panic!("event {upto}, then {again} {cut:?}: {e}");
                }
            }
        }
    }
}

/// A disk that held `before` when the second run began and was cut in it.
fn resume(before: &BTreeMap<String, Vec<u8>>, events: &[Event], upto: usize, cut: Cut) -> SimDisk {
    let mut all = Vec::new();
    for (file, (name, bytes)) in before.iter().enumerate() {
        all.push(Event::Create(name.clone(), file));
        all.push(Event::Write(file, 0, bytes.clone()));
        all.push(Event::Sync(file));
    }
    all.push(Event::SyncDir);
    let base = all.len();
    all.extend_from_slice(events);
    after_cut(&all, base + upto, cut)
}

/// What a killed writer left is in the page cache only; a record that is written behind it without a
/// sync between must not vouch for it.
#[test]
fn what_a_killed_writer_left_may_still_go_with_the_power() {
    let options = options().durability(Durability::Os);
    let disk = SimDisk::new();
    let store = options.clone().open_in(disk.storage()).unwrap();
    store.put(b"0", &[0; 50]).unwrap();
    store.flush(Durability::Always).unwrap();
    store.put(b"a", &[1; 50]).unwrap();
    std::mem::forget(store);
    let mut events = Vec::new();
    for (file, (name, bytes)) in disk.contents().into_iter().enumerate() {
        // Behind a header of 64 bytes the flush reached one record of 88.
        let synced = if name.ends_with(".seg") {
            152
        } else {
            bytes.len()
        };
        let (front, rest) = bytes.split_at(synced);
        events.push(Event::Create(name, file));
        events.push(Event::Write(file, 0, front.to_vec()));
        events.push(Event::Sync(file));
        events.push(Event::SyncDir);
        if !rest.is_empty() {
            events.push(Event::Write(file, 152, rest.to_vec()));
        }
    }
    let known = events.len();
    let disk = disk.abandoned();
    let store = options.clone().open_in(disk.storage()).unwrap();
    store.put(b"b", &[2; 50]).unwrap();
    events.extend(disk.events());
    for upto in known..=events.len() {
        for cut in CUTS {
            let disk = after_cut(&events, upto, cut);
            let store = options.clone().open_in(disk.storage()).unwrap();
            assert!(
                store.damage().is_empty(),
                "{upto} {cut:?}: {:?}",
                store.damage()
            );
            let keys: Vec<_> = contents(&store).into_keys().collect();
            let all: [&[u8]; 3] = [b"0", b"a", b"b"];
            assert!(
                (1..=3).any(|n| keys == all[..n]),
                "{upto} {cut:?}: {keys:?}"
            );
        }
    }
}

/// What a lost write leaves behind it must not come back as the successor of a newer one, which
/// happens to fill the gap exactly.
#[test]
fn what_lies_behind_a_lost_write_never_comes_back() {
    let options = options().durability(Durability::Os);
    let disk = SimDisk::new();
    let store = options.clone().open_in(disk.storage()).unwrap();
    store.put(b"0", &[0; 50]).unwrap();
    store.flush(Durability::Always).unwrap();
    store.put(b"a", &[1; 50]).unwrap();
    store.put(b"b", &[2; 50]).unwrap();
    let torn = after_cut(&disk.events(), disk.events().len(), Cut::AllButFirst);
    let before = torn.contents();
    drop(store);
    // The first of two writes is lost, the second is there.
    let store = options.clone().open_in(torn.storage()).unwrap();
    assert_eq!(contents(&store).into_keys().collect::<Vec<_>>(), [b"0"]);
    assert!(store.stats().torn_bytes > 0);
    store.put(b"c", &[3; 50]).unwrap();
    let events = torn.events();
    let again = torn.abandoned();
    let reopened = options.clone().open_in(again.storage()).unwrap();
    assert_eq!(
        contents(&reopened).into_keys().collect::<Vec<_>>(),
        [b"0", b"c"]
    );
    for upto in 0..=events.len() {
        for cut in CUTS {
            let disk = resume(&before, &events, upto, cut);
            let store = options.clone().open_in(disk.storage()).unwrap();
            let keys: Vec<_> = contents(&store).into_keys().collect();
            assert!(
                keys == [b"0"] || keys == [b"0", b"c"],
                "{upto} {cut:?}: {keys:?}"
            );
        }
    }
}

/// What the threads of a group commit were told holds at every cut.
#[test]
fn every_cut_of_a_group_commit_leaves_what_each_writer_was_told() {
    let value = |id: u64| vec![id as u8; 40 + id as usize % 7 * 50];
    let disk = SimDisk::new();
    disk.slow_syncs(50);
    let store = options().open_in(disk.storage()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (store, disk) = (&store, &disk);
            scope.spawn(move || {
                for id in (0..15_u64).map(|i| thread * 50 + i) {
                    store.put(&id.to_le_bytes(), &value(id)).unwrap();
                    disk.acknowledge(id as usize);
                }
            });
        }
    });
    let events = disk.events();
    drop(store);
    for upto in 0..=events.len() {
        let told: Vec<usize> = events[..upto]
            .iter()
            .filter_map(|e| match e {
                Event::Acknowledged(id) => Some(*id),
                _ => None,
            })
            .collect();
        for cut in [
            Cut::Nothing,
            Cut::AllButFirst,
            Cut::TornLast,
            Cut::Random(upto as u64),
        ] {
            let store = options()
                .open_in(after_cut(&events, upto, cut).storage())
                .unwrap();
            assert!(store.damage().is_empty(), "{upto} {cut:?}");
            for id in 0..200_u64 {
                match store.get(&id.to_le_bytes()).unwrap() {
                    Some(found) => assert_eq!(found, value(id), "{upto} {cut:?}"),
                    None => assert!(
                        !told.contains(&(id as usize)),
                        "{upto} {cut:?}: {id} was acknowledged"
                    ),
                }
            }
        }
    }
}

/// A checkpoint says that the log before it is durable, so it makes it so.
#[test]
fn a_checkpoint_vouches_for_durable_bytes_only() {
    let options = options().durability(Durability::Os);
    let disk = SimDisk::new();
    let store = options.clone().open_in(disk.storage()).unwrap();
    for round in 0..3_u8 {
        store.put(b"again", &[round; 500]).unwrap();
    }
    // Each fills a segment; the active one holds nothing dead, so that compacting leaves it alone.
    store.put(b"x", &[1; 3500]).unwrap();
    store.put(b"y", &[2; 3500]).unwrap();
    let active = store.stats();
    store.compact().unwrap();
    assert!(store.stats().log_bytes < active.log_bytes);
    let known = contents(&store);
    let events = disk.events();
    for cut in CUTS {
        let store = options
            .clone()
            .open_in(after_cut(&events, events.len(), cut).storage())
            .unwrap();
        assert!(store.damage().is_empty(), "{cut:?}: {:?}", store.damage());
        assert_eq!(contents(&store), known, "{cut:?}");
    }
}

/// A program that is always killed must not have more and more to read when it starts: neither the
/// records nor the index, but the heads of the files and the end of the log.
#[test]
fn opening_after_a_kill_reads_heads_and_a_tail_however_many_records_there_are() {
    const TAIL: u64 = 64 << 10;
    let options = || {
        let options = options().durability(Durability::Os);
        options.segment_size(1 << 20).checkpoint_every(TAIL)
    };
    let mut disk = SimDisk::new();
    for run in 0..12_u64 {
        let store = options().open_in(disk.storage()).unwrap();
        for i in 0..2_000_u64 {
            let key = [run.to_le_bytes(), i.to_le_bytes()].concat();
            store.put(&key, &[i as u8; 30]).unwrap();
        }
        std::mem::forget(store);
        disk = disk.abandoned();
        let store = options().open_in(disk.storage()).unwrap();
        let read = disk.read();
        let count = |end: &str| disk.contents().keys().filter(|n| n.ends_with(end)).count() as u64;
        let heads = 2 * (56 + count(".seg") * 50 + 4) + count(".seg") * 64 + count(".idx") * 3116;
        // The tail, and what the walk's last window takes twice.
        assert!(
            read <= heads + 2 * TAIL,
            "run {run}: {read} bytes, heads {heads}"
        );
        assert!(count(".idx") < 60, "{} files of the index", count(".idx"));
        assert_eq!(store.stats().live_keys, (run + 1) * 2_000);
        let old = [(run / 2).to_le_bytes(), 77_u64.to_le_bytes()].concat();
        assert_eq!(store.get(&old).unwrap().unwrap(), vec![77; 30]);
        std::mem::forget(store);
        disk = disk.abandoned();
    }
}
