//! A writer in one process, readers in others, on real files.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use mainspring_mmap_store::{Durability, Error, Options};

pub(crate) const DIR: &str = "MMAP_STORE_TEST_DIR";

/// Runs one test of this binary in another process.
pub(crate) fn child(test: &str, dir: &std::path::Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn options() -> Options {
    Options::new()
        .create(true)
        .segment_size(16 << 10)
        .durability(Durability::Os)
}

/// Child: answers "number of keys, sum, clean" after each line on its input.
#[test]
fn child_reader() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let store = Options::new().read_only(true).open(dir).unwrap();
    assert!(matches!(store.put(b"x", b"y"), Err(Error::ReadOnly)));
    for line in std::io::stdin().lines() {
        drop(line.unwrap());
        store.refresh().unwrap();
        let pairs: Vec<_> = store
            .scan_prefix(b"k")
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let same = pairs
            .iter()
            .all(|(k, v)| store.get(k).unwrap().as_ref() == Some(v));
        let generation = pairs.first().map_or(0, |(_, v)| v[0]);
        println!(
            "answer {} {generation} {same} {}",
            pairs.len(),
            store.damage().len()
        );
        std::io::stdout().flush().unwrap();
    }
}

#[test]
fn a_reader_in_another_process_follows_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    let store = options().open(dir.path()).unwrap();
    store.put(b"k000", &[0; 100]).unwrap();
    let mut reader = child("processes::child_reader", dir.path());
    let mut input = reader.stdin.take().unwrap();
    let mut lines = BufReader::new(reader.stdout.take().unwrap()).lines();
    let mut ask = || loop {
        let line = lines.next().unwrap().unwrap();
        if let Some(at) = line.find("answer ") {
            return line[at + 7..].to_owned();
        }
    };
    for round in 1..=20_u8 {
        for i in 0..40 {
            store
                .put(format!("k{i:03}").as_bytes(), &[round; 500])
                .unwrap();
        }
        if round % 3 == 0 {
            store.compact().unwrap();
        }
        writeln!(input, "go").unwrap();
        assert_eq!(ask(), format!("40 {round} true 0"));
    }
    drop(input);
    assert!(reader.wait().unwrap().success());
}

#[test]
fn a_second_writer_is_refused_and_a_reader_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let store = options().open(dir.path()).unwrap();
    store.put(b"a", b"1").unwrap();
    assert!(matches!(options().open(dir.path()), Err(Error::Locked)));
    let reader = Options::new().read_only(true).open(dir.path()).unwrap();
    assert_eq!(reader.get(b"a").unwrap().unwrap(), &b"1"[..]);
    store.put(b"b", b"2").unwrap();
    assert!(
        reader.get(b"b").unwrap().is_none(),
        "a reader moves when it is told to"
    );
    assert!(reader.refresh().unwrap());
    assert_eq!(reader.get(b"b").unwrap().unwrap(), &b"2"[..]);
    assert!(!reader.refresh().unwrap());
    store.close().unwrap();
    options().open(dir.path()).unwrap().close().unwrap();
}

#[test]
fn nothing_is_made_where_nothing_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let inside = dir.path().join("none");
    for options in [Options::new(), Options::new().read_only(true)] {
        assert!(matches!(options.open(&inside), Err(Error::Missing)));
    }
    assert!(!inside.exists());
    assert!(matches!(
        Options::new().open(dir.path()),
        Err(Error::Missing)
    ));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn files_that_others_truncate_are_an_error_and_no_crash() {
    let dir = tempfile::tempdir().unwrap();
    let store = options().open(dir.path()).unwrap();
    for i in 0..100_u8 {
        store.put(&[i], &[i; 500]).unwrap();
    }
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(dir.path().join("00000001.seg"))
        .unwrap();
    file.set_len(100).unwrap();
    let refused = (0..100_u8)
        .filter(|i| matches!(store.get(&[*i]), Err(Error::Damaged { .. })))
        .count();
    assert!(refused > 20, "{refused}");
    assert_eq!(store.get(&[99]).unwrap().unwrap(), [99_u8; 500][..]);
}

#[test]
#[allow(unsafe_code)]
fn mapped_reads_show_the_same() {
    let dir = tempfile::tempdir().unwrap();
    // SAFETY: nobody else touches the temporary directory.
    let open = || unsafe { options().mapped() }.open(dir.path()).unwrap();
    let store = open();
    for round in 0..3_u8 {
        for i in 0..100_u8 {
            store
                .put(&[i], &vec![i ^ round; 500 + usize::from(i)])
                .unwrap();
        }
    }
    let check = |store: &mainspring_mmap_store::Store| {
        for i in 0..100_u8 {
            assert_eq!(
                store.get(&[i]).unwrap().unwrap(),
                vec![i ^ 2; 500 + usize::from(i)]
            );
        }
        assert_eq!(store.scan_prefix(b"").unwrap().rev().count(), 100);
        assert!(store.verify().unwrap().is_clean());
    };
    check(&store);
    let held = store.get(&[7]).unwrap().unwrap();
    store.compact().unwrap();
    check(&store);
    assert_eq!(
        held,
        vec![7 ^ 2; 507],
        "a value outlives the segment it came from"
    );
    store.close().unwrap();
    check(&open());
}

/// What a compaction or a merge removed is let go of: nobody keeps its space or a descriptor of it.
#[cfg(target_os = "linux")]
#[test]
fn no_file_that_was_removed_stays_open() {
    let held = |dir: &std::path::Path| {
        let open = std::fs::read_dir("/proc/self/fd").unwrap();
        let names = open.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok());
        let names = names.map(|name| name.to_string_lossy().into_owned());
        let gone = |name: &String| {
            name.starts_with(&*dir.to_string_lossy()) && name.ends_with("(deleted)")
        };
        names.filter(gone).collect::<Vec<_>>()
    };
    let dir = tempfile::tempdir().unwrap();
    let write = |store: &mainspring_mmap_store::Store, round: u8| {
        for i in 0..200_u8 {
            store.put(&[i], &[round; 300]).unwrap();
        }
    };
    for round in 0..3 {
        let store = options().open(dir.path()).unwrap();
        let reader = Options::new().read_only(true).open(dir.path()).unwrap();
        assert_eq!(reader.get(&[7]).unwrap().is_some(), round > 0);
        write(&store, round);
        store.compact().unwrap();
        assert!(reader.refresh().unwrap());
        assert_eq!(held(dir.path()), [""; 0], "round {round}");
        // The others are left to their handle's drop.
        if round % 2 == 0 {
            store.close().unwrap();
        }
    }
}

/// A read that has the system note its time is a write on the side.
#[cfg(target_os = "linux")]
#[test]
fn a_read_leaves_the_time_of_access_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = options().open(dir.path()).unwrap();
    store.put(b"a", b"1").unwrap();
    store.close().unwrap();
    let path = dir.path().join("00000001.seg");
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1 << 30);
    let age = |path: &std::path::Path| {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_times(std::fs::FileTimes::new().set_accessed(old))
            .unwrap();
    };
    let accessed = |path: &std::path::Path| path.metadata().unwrap().accessed().unwrap();
    let plain = dir.path().join("plain");
    std::fs::write(&plain, b"read like any other").unwrap();
    age(&plain);
    std::fs::read(&plain).unwrap();
    if accessed(&plain) == old {
        println!("skipped: this file system notes no times of access");
        return;
    }
    age(&path);
    let store = Options::new().read_only(true).open(dir.path()).unwrap();
    assert_eq!(store.get(b"a").unwrap().unwrap(), "1");
    assert_eq!(accessed(&path), old);
}
