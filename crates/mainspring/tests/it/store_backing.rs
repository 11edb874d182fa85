//! A session store under delta-snapshot behaves as delta-snapshot's own memory does.

use mainspring::{
    adapters::StoreBacking,
    delta_snapshot::{Backing, CommitOptions, MemoryBacking, Options, Snapshots},
    mmap_store,
};
use proptest::prelude::*;

fn open(dir: &std::path::Path) -> StoreBacking {
    let store = mmap_store::Options::new()
        .create(true)
        .open(dir)
        .expect("a store");
    StoreBacking::new(store).expect("a backing")
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, Vec<u8>),
    Append(u8, Vec<u8>),
    Delete(u8),
    Summarise,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let value = || proptest::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        1 => (0..5u8, value()).prop_map(|(key, value)| Step::Put(key, value)),
        4 => (0..5u8, value()).prop_map(|(key, value)| Step::Append(key, value)),
        1 => (0..5u8).prop_map(Step::Delete),
        1 => Just(Step::Summarise),
        1 => Just(Step::Reopen),
    ]
}

/// Some names are the beginning of others.
fn key(number: u8) -> String {
    ["a", "a/1", "a/10", "b", "ab"][usize::from(number)].to_owned()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_store_keeps_values_as_memory_does(steps in proptest::collection::vec(step(), 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        let (mut ours, model) = (open(dir.path()), MemoryBacking::new());
        for step in steps {
            match step {
                Step::Put(k, v) => {
                    ours.put(&key(k), &v).unwrap();
                    model.put(&key(k), &v).unwrap();
                }
                Step::Append(k, v) => {
                    ours.append(&key(k), &v).unwrap();
                    model.append(&key(k), &v).unwrap();
                }
                Step::Delete(k) => {
                    ours.delete(&key(k)).unwrap();
                    model.delete(&key(k)).unwrap();
                }
                Step::Summarise => ours.summarise().unwrap(),
                Step::Reopen => {
                    drop(ours);
                    ours = open(dir.path());
                }
            }
            for k in 0..5 {
                prop_assert_eq!(ours.get(&key(k)).unwrap(), model.get(&key(k)).unwrap());
            }
            for prefix in ["", "a", "a/", "b", "c"] {
                prop_assert_eq!(ours.list(prefix).unwrap(), model.list(prefix).unwrap());
            }
        }
    }
}

#[test]
fn versions_survive_closing_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::open(open(dir.path()), Options::new()).unwrap();
    let thread = snapshots.thread("t").unwrap();
    thread.set("", r#"{"header":0,"messages":[]}"#).unwrap();
    let mut versions = Vec::new();
    for step in 0..20 {
        thread.set("/header", step.to_string()).unwrap();
        thread
            .append("/messages", &[format!("\"message {step}\"")])
            .unwrap();
        versions.push(thread.commit(CommitOptions::new()).unwrap());
    }
    snapshots.sync().unwrap();
    drop((thread, snapshots));

    let snapshots = Snapshots::open(open(dir.path()), Options::new()).unwrap();
    for (step, version) in versions.iter().enumerate() {
        let messages: Vec<_> = (0..=step).map(|n| format!("\"message {n}\"")).collect();
        let wanted = format!(
            "{{\"header\":{step},\"messages\":[{}]}}",
            messages.join(",")
        );
        assert_eq!(snapshots.restore(*version).unwrap(), wanted.as_bytes());
    }
}

/// Closes with a table, and gives it.
fn summarised(dir: &std::path::Path) -> Vec<u8> {
    let ours = open(dir);
    ours.summarise().unwrap();
    ours.store().get(b"t").unwrap().unwrap().to_vec()
}

#[test]
fn a_table_that_cannot_be_read_does_not_stop_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let ours = open(dir.path());
    ours.put("a", b"one").unwrap();
    ours.append("a", b" two").unwrap();
    drop(ours);
    let table = summarised(dir.path());
    let mut damaged = 0;
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let Ok(mut bytes) = std::fs::read(&path) else {
            continue;
        };
        let found = bytes.windows(table.len()).rposition(|part| part == table);
        if let Some(at) = found {
            bytes[at + table.len() - 1] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            damaged += 1;
        }
    }
    assert_eq!(damaged, 1, "the table lies in one file");
    let store = mmap_store::Options::new().open(dir.path()).unwrap();
    assert!(
        store.get(b"t").is_err(),
        "the scenario needs a damaged table"
    );
    drop(store);
    let ours = open(dir.path());
    assert_eq!(ours.get("a").unwrap().unwrap(), &b"one two"[..]);
    ours.append("a", b" three").unwrap();
    drop(ours);
    assert_eq!(
        open(dir.path()).get("a").unwrap().unwrap(),
        &b"one two three"[..]
    );
}

#[test]
fn a_table_that_came_back_from_before_hides_nothing() {
    for change in ["a new name", "another piece", "another value"] {
        let dir = tempfile::tempdir().unwrap();
        let ours = open(dir.path());
        ours.put("a", b"one").unwrap();
        drop(ours);
        let old = summarised(dir.path());
        let ours = open(dir.path());
        match change {
            "a new name" => ours.put("b", b"two").unwrap(),
            "another piece" => ours.append("a", b" and two").unwrap(),
            _ => ours.put("a", b"another").unwrap(),
        }
        ours.store().put(b"t", &old).unwrap();
        let (names, value) = (ours.list("").unwrap(), ours.get("a").unwrap());
        drop(ours);
        let ours = open(dir.path());
        assert_eq!(ours.list("").unwrap(), names, "{change}");
        assert_eq!(ours.get("a").unwrap(), value, "{change}");
    }
}

#[test]
fn a_table_that_is_good_is_read_and_no_pass_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let ours = open(dir.path());
    for number in 0..40 {
        ours.put(&format!("a{number}"), &[7; 100]).unwrap();
        ours.append(&format!("a{}", number / 2), &[8; 50]).unwrap();
    }
    drop(ours);
    let mut table = summarised(dir.path());
    // A pass would not find this name.
    let at = table.windows(3).position(|part| part == b"a17").unwrap();
    table[at] = b'z';
    open(dir.path()).store().put(b"t", &table).unwrap();
    assert_eq!(open(dir.path()).list("z").unwrap().len(), 1);
}

/// Flips one byte of `part` where it lies in the only file that has it.
fn flip(dir: &std::path::Path, part: &[u8]) {
    let mut flipped = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap_or_default();
        let at = bytes.windows(part.len()).position(|found| found == part);
        if let Some(at) = at {
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            flipped += 1;
        }
    }
    assert_eq!(flipped, 1);
}

#[test]
fn a_damaged_piece_is_told_wherever_it_lies_and_hides_nothing_else() {
    let pieces: [&[u8]; 3] = [b"first piece", b"second piece", b"third piece"];
    for damaged in pieces {
        let dir = tempfile::tempdir().unwrap();
        let ours = open(dir.path());
        ours.put("other", b"value").unwrap();
        for piece in pieces {
            ours.append("value", piece).unwrap();
        }
        drop(ours);
        flip(dir.path(), damaged);
        // As after a kill: there is no table.
        let ours = open(dir.path());
        let told = ours.get("value").unwrap_err();
        assert_eq!(told.kind(), std::io::ErrorKind::InvalidData, "{told}");
        assert_eq!(ours.get("other").unwrap().unwrap(), &b"value"[..]);
        // What comes after does not take its place.
        ours.append("value", b"fourth piece").unwrap();
        assert!(ours.get("value").is_err());
        drop(ours);
        assert!(open(dir.path()).get("value").is_err());
        let ours = open(dir.path());
        ours.put("value", b"anew").unwrap();
        assert_eq!(ours.get("value").unwrap().unwrap(), &b"anew"[..]);
    }
}

#[test]
fn a_table_of_impossible_sizes_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let ours = open(dir.path());
    ours.put("a", b"one").unwrap();
    let row = |number: u32, len: u64, name: &[u8]| {
        let numbers = [number, 0, 0].map(u32::to_le_bytes).concat();
        let length = (name.len() as u16).to_le_bytes();
        [&numbers[..], &len.to_le_bytes(), &length, name].concat()
    };
    // With what the table itself takes, all that there can be.
    let most = u64::MAX - (1 + 4 + 2 * 23) - 6;
    let rows = [row(0, most, b"a"), row(1, 1, b"b")].concat();
    let table = [&2u32.to_le_bytes()[..], &rows].concat();
    ours.store().put(b"t", &table).unwrap();
    drop(ours);
    assert_eq!(open(dir.path()).get("a").unwrap().unwrap(), &b"one"[..]);
}

#[test]
fn a_damaged_name_is_told_and_not_taken_for_a_value_that_was_never_there() {
    let dir = tempfile::tempdir().unwrap();
    let ours = open(dir.path());
    ours.put("other", b"value").unwrap();
    ours.append("damaged name", b"piece").unwrap();
    ours.append("last", b"value").unwrap();
    drop(ours);
    flip(dir.path(), b"damaged name");
    // Twice: what the first opening writes down must not hide it from the second.
    for _ in 0..2 {
        let ours = open(dir.path());
        let kind = |told: std::io::Error| told.kind();
        let told = std::io::ErrorKind::InvalidData;
        assert_eq!(ours.get("damaged name").map_err(kind), Err(told));
        assert_eq!(ours.append("damaged name", b"x").map_err(kind), Err(told));
        assert_eq!(ours.delete("damaged name").map_err(kind), Err(told));
        assert_eq!(ours.get("never there").unwrap(), None);
        assert_eq!(ours.get("other").unwrap().unwrap(), &b"value"[..]);
        assert_eq!(ours.get("last").unwrap().unwrap(), &b"value"[..]);
        ours.summarise().unwrap();
    }
    let ours = open(dir.path());
    ours.put("damaged name", b"anew").unwrap();
    ours.append("damaged name", b" and more").unwrap();
    drop(ours);
    let found = open(dir.path()).get("damaged name").unwrap().unwrap();
    assert_eq!(found, &b"anew and more"[..]);
}
