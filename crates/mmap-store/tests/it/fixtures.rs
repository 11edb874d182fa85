//! Files that earlier builds wrote. They must be readable for ever, and a build of the same format
//! writes the same bytes from the same input.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mainspring_mmap_store::{Batch, Durability, LazyRecord, LazyRecordBuilder, Options, Store};

use crate::crash::{Map, contents};
use crate::sim::SimDisk;

type Files = BTreeMap<String, Vec<u8>>;

fn folder(name: &str) -> PathBuf {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures");
    tests.join(name)
}

fn load(name: &str) -> Files {
    let entries = std::fs::read_dir(folder(name)).unwrap().map(Result::unwrap);
    let read = |e: std::fs::DirEntry| {
        let name = e.file_name().into_string().unwrap();
        (name, std::fs::read(e.path()).unwrap())
    };
    entries.map(read).collect()
}

fn options() -> Options {
    let options = Options::new().create(true).durability(Durability::Os);
    options.segment_size(4096).store_id(0x6d61_696e)
}

fn value(i: u8) -> Vec<u8> {
    (0..usize::from(i) * 9).map(|n| (n as u8) ^ i).collect()
}

/// Puts, overwrites, deletes, a batch, a lazy record, a compaction, several segments.
fn write(store: &Store) -> Map {
    let mut map = Map::new();
    for i in 0..60_u8 {
        let key = format!("session/{:02}", i % 25).into_bytes();
        store.put(&key, &value(i)).unwrap();
        map.insert(key, value(i));
        if i == 40 {
            store.compact().unwrap();
        }
    }
    let record = LazyRecordBuilder::new()
        .field("title", b"fixture".to_vec())
        .unwrap();
    let record = record.field("body", value(50)).unwrap().finish();
    let mut batch = Batch::new();
    batch
        .put(b"lazy", &record)
        .put(b"empty", b"")
        .delete(b"session/03");
    store.write(batch).unwrap();
    map.insert(b"lazy".to_vec(), record.to_vec());
    map.insert(b"empty".to_vec(), Vec::new());
    map.remove(&b"session/03"[..]);
    store.delete(b"session/24").unwrap();
    map.remove(&b"session/24"[..]);
    map
}

/// The files of a store that was killed, and of one that was closed, with what is in them.
fn made() -> (Files, Files, Map) {
    let disk = SimDisk::new();
    let store = options().open_in(disk.storage()).unwrap();
    let map = write(&store);
    let killed = disk.contents();
    store.close().unwrap();
    (killed, disk.contents(), map)
}

/// With `MAINSPRING_WRITE_FIXTURES` set, for a new version of the format.
fn write_down(name: &str, files: &Files) {
    if std::env::var_os("MAINSPRING_WRITE_FIXTURES").is_none() {
        return;
    }
    std::fs::create_dir_all(folder(name)).unwrap();
    for (file, bytes) in files {
        std::fs::write(folder(name).join(file), bytes).unwrap();
    }
}

#[test]
fn format_1_is_written_byte_for_byte_and_read() {
    let (killed, closed, map) = made();
    for (name, files) in [("v1-killed", killed), ("v1-closed", closed)] {
        write_down(name, &files);
        let kept = load(name);
        let names = |files: &Files| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&kept), names(&files), "{name}");
        for (file, bytes) in &files {
            assert!(kept[file] == *bytes, "{name}/{file} differs");
        }
        let disk = SimDisk::from_contents(&kept);
        let reader = Options::new()
            .read_only(true)
            .open_in(disk.storage())
            .unwrap();
        assert_eq!(contents(&reader), map, "{name}");
        assert!(reader.damage().is_empty());
        let store = Options::new().open_in(disk.storage()).unwrap();
        assert!(store.verify().unwrap().is_clean(), "{name}");
        for (key, value) in &map {
            assert_eq!(store.get(key).unwrap().unwrap(), value[..], "{name}");
        }
        assert_eq!(store.stats().live_keys, map.len() as u64);
        let lazy: LazyRecord = store.get_lazy(b"lazy").unwrap().unwrap();
        assert_eq!(lazy.raw("title").unwrap().unwrap(), "fixture");
        store.put(b"more", b"can be written").unwrap();
        store.compact().unwrap();
        assert_eq!(contents(&store).len(), map.len() + 1);
    }
}
