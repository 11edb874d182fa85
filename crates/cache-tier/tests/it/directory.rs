//! The tier of files: restart, damage, bounds.

use crate::double::run;
use bytes::Bytes;
use mainspring_cache_tier::{
    BytesCodec, DirTier, EntryOptions, Error, Key, Label, Tier, TierEntry, TieredCache,
};
use std::fs;
use std::path::Path;
use std::sync::Arc;

fn entry(value: &str) -> TierEntry {
    TierEntry {
        value: Bytes::copy_from_slice(value.as_bytes()),
        birth: 1,
        expires_at: 0,
        soft_at: 0,
        signature: None,
        labels: Vec::new(),
    }
}

fn open(folder: &Path) -> DirTier {
    DirTier::open_with(folder, 100, 1 << 20, false).unwrap()
}

fn value(tier: &DirTier, key: &Key) -> Option<Bytes> {
    run(tier.get(key)).unwrap().map(|entry| entry.value)
}

fn files(folder: &Path, ending: &str) -> Vec<std::path::PathBuf> {
    let all = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    all.filter(|path| path.to_string_lossy().ends_with(ending))
        .collect()
}

#[test]
fn entries_survive_a_restart_and_one_process_has_them() {
    let folder = tempfile::tempdir().unwrap();
    let key = Key::new("s", "k");
    {
        let tier = open(folder.path());
        run(tier.put(&key, &entry("v"))).unwrap();
        let second = DirTier::open(folder.path()).unwrap_err();
        assert!(matches!(second, Error::Unavailable { .. }), "{second}");
    }
    fs::write(folder.path().join("9.tmp"), "left by a crash").unwrap();
    let tier = open(folder.path());
    assert_eq!(value(&tier, &key), Some(Bytes::from("v")));
    assert!(files(folder.path(), ".tmp").is_empty());
    assert_eq!(tier.usage().entries, 1);
    run(tier.remove(&key)).unwrap();
    assert_eq!(value(&tier, &key), None);
}

#[test]
fn damage_at_any_byte_is_an_error_once_and_a_miss_then() {
    let folder = tempfile::tempdir().unwrap();
    let key = Key::new("s", "k");
    let tier = open(folder.path());
    run(tier.put(&key, &entry("v"))).unwrap();
    let path = files(folder.path(), ".entry").remove(0);
    let sound = fs::read(&path).unwrap();
    for at in 0..sound.len() {
        run(tier.put(&key, &entry("v"))).unwrap();
        let mut damaged = sound.clone();
        damaged[at] ^= 1;
        fs::write(&path, damaged).unwrap();
        let answer = run(tier.get(&key));
        assert!(!matches!(answer, Ok(Some(_))), "byte {at} served");
        run(tier.remove(&key)).unwrap();
        for length in [0, at] {
            run(tier.put(&key, &entry("v"))).unwrap();
            fs::write(&path, &sound[..length]).unwrap();
            assert!(run(tier.get(&key)).is_err(), "cut at {length}");
            assert_eq!(value(&tier, &key), None, "the damaged file is gone");
        }
    }
}

#[test]
fn bounds_hold_and_what_is_read_stays() {
    let folder = tempfile::tempdir().unwrap();
    let tier = DirTier::open_with(folder.path(), 10, 10_000, false).unwrap();
    let key = |n: u32| Key::new("s", n.to_string());
    for n in 0..100 {
        run(tier.put(&key(n), &entry("v"))).unwrap();
        assert_eq!(
            value(&tier, &key(0)).is_some(),
            n < 1 || tier.usage().entries <= 10
        );
        assert!(tier.usage().entries <= 10);
    }
    assert!(value(&tier, &key(0)).is_some(), "read all the time");
    assert_eq!(files(folder.path(), ".entry").len(), 10);
    let large = entry(&"x".repeat(9_000));
    run(tier.put(&key(1_000), &large)).unwrap();
    assert!(tier.usage().bytes <= 10_000 && tier.usage().peak_bytes <= 10_000);
    let error = run(tier.put(&key(1_000), &entry(&"x".repeat(20_000)))).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    assert_eq!(
        value(&tier, &key(1_000)),
        None,
        "the older value did not stay"
    );
    drop(tier);
    let smaller = DirTier::open_with(folder.path(), 3, 10_000, false).unwrap();
    assert!(smaller.usage().entries <= 3);
}

#[test]
fn invalidations_survive_and_a_damaged_log_drops_the_entries() {
    let folder = tempfile::tempdir().unwrap();
    let key = Key::new("agent:7", "k");
    let cached = |tier| {
        run(TieredCache::<String>::builder(BytesCodec)
            .tier(Arc::new(tier))
            .open())
        .unwrap()
    };
    {
        let cache = cached(open(folder.path()));
        run(cache.insert(&key, "v".into(), &EntryOptions::new())).unwrap();
        run(cache.invalidate_scope("agent:*"));
        run(cache.insert(&Key::new("other", "k"), "kept".into(), &EntryOptions::new())).unwrap();
    }
    {
        let cache = cached(open(folder.path()));
        assert_eq!(run(cache.get(&key)), None);
        assert_eq!(
            run(cache.get(&Key::new("other", "k"))).as_deref(),
            Some("kept")
        );
        run(cache.insert(&key, "new".into(), &EntryOptions::new())).unwrap();
    }
    let log = folder.path().join("marks");
    let sound = fs::read(&log).unwrap();
    assert_eq!(sound.len() % 32, 0);
    for damaged in [
        &sound[..sound.len() - 1],
        &[7; 32],
        &[sound.as_slice(), &[0; 32]].concat(),
    ] {
        fs::write(&log, damaged).unwrap();
        let tier = open(folder.path());
        assert_eq!(
            tier.usage().entries,
            0,
            "without its log no entry can be trusted"
        );
        run(tier.put(&key, &entry("v"))).unwrap();
        drop(tier);
        assert_eq!(
            open(folder.path()).usage().entries,
            1,
            "the log is sound again"
        );
    }
}

#[test]
fn the_log_of_invalidations_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let tier = open(folder.path());
    let labels: Vec<Label> = (0..200_000).map(|n| Label::tag(&n.to_string())).collect();
    for (n, batch) in labels.chunks(10_000).enumerate() {
        run(tier.mark(batch, n as u64 + 1)).unwrap();
    }
    let length = fs::metadata(folder.path().join("marks")).unwrap().len();
    assert!(length <= 65_536 * 32, "{length}");
    drop(tier);
    let marks = run(open(folder.path()).marks()).unwrap();
    assert_eq!(marks.latest, 20);
    assert!(marks.floor >= 10, "{}", marks.floor);
    let known: std::collections::HashMap<Label, u64> = marks.marks.into_iter().collect();
    for (n, batch) in labels.chunks(10_000).enumerate() {
        let epoch = n as u64 + 1;
        let remembered = |label: &Label| known.get(label).is_some_and(|at| *at >= epoch);
        assert!(
            marks.floor >= epoch || batch.iter().all(remembered),
            "an invalidation at {epoch} was forgotten"
        );
    }
}

#[test]
fn a_file_replaced_while_it_is_read_stays_known() {
    // In memory, where there is such a folder: a disk may write out each file that takes another's place.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let folder = folder.unwrap();
    let tier = open(folder.path());
    let key = Key::new("s", "k");
    run(tier.put(&key, &entry("v"))).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = run(tier.get(&key));
            }
        });
        // Fewer on a machine with no time for it.
        let started = std::time::Instant::now();
        let in_time = |_: &u32| started.elapsed() < std::time::Duration::from_secs(1);
        let lost = (0..2_000).take_while(in_time).find(|_| {
            run(tier.put(&key, &entry("v"))).unwrap();
            (0..4).any(|_| {
                std::thread::yield_now();
                tier.usage().entries != 1
            })
        });
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(lost, None, "the file is there and nobody knows it");
    });
    run(tier.remove(&key)).unwrap();
    assert!(
        files(folder.path(), ".entry").is_empty(),
        "it would come back after a restart"
    );
}

#[test]
fn entries_without_a_sound_log_are_dropped_before_it_is_mended() {
    for missing in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("marks");
        run(open(folder.path()).put(&Key::new("s", "k"), &entry("v"))).unwrap();
        if missing {
            fs::remove_file(&log).unwrap();
        } else {
            fs::write(&log, [7; 32]).unwrap();
        }
        // What cannot be removed ends the opening half-way, as a crash would.
        let stubborn = folder.path().join(format!("{:032x}.entry", 7));
        fs::create_dir(&stubborn).unwrap();
        for _ in 0..2 {
            assert!(DirTier::open(folder.path()).is_err());
        }
        fs::remove_dir(&stubborn).unwrap();
        assert_eq!(open(folder.path()).usage().entries, 0, "{missing}");
    }
}

#[test]
fn a_damaged_file_does_not_spoil_its_batch() {
    let folder = tempfile::tempdir().unwrap();
    let keys: Vec<Key> = (0..3).map(|n| Key::new("s", n.to_string())).collect();
    let tier = open(folder.path());
    for key in &keys {
        run(tier.put(key, &entry("v"))).unwrap();
    }
    fs::write(files(folder.path(), ".entry").remove(0), "damaged").unwrap();
    let found = run(tier.get_many(&keys)).unwrap();
    assert_eq!(found.iter().flatten().count(), 2);
}

#[test]
fn the_clock_does_not_fall_behind_what_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let stored = TierEntry {
        birth: 1_000_000,
        ..entry("v")
    };
    run(open(folder.path()).put(&Key::new("s", "k"), &stored)).unwrap();
    let marks = run(open(folder.path()).marks()).unwrap();
    assert!(marks.latest >= stored.birth, "{}", marks.latest);
}
