//! A backing that knows by its own checks that one of its values is damaged.

use std::{io, sync::Mutex};

use bytes::Bytes;
use mainspring_delta_snapshot::{
    Backing, CommitOptions, Entry, MemoryBacking, Options, Retention, Snapshots,
};

#[derive(Debug, Default)]
struct Checked {
    inner: MemoryBacking,
    damaged: Mutex<Option<String>>,
}

impl Backing for Checked {
    fn get(&self, key: &str) -> io::Result<Option<Bytes>> {
        if self.damaged.lock().unwrap().as_deref() == Some(key) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.inner.get(key)
    }

    fn put(&self, key: &str, value: &[u8]) -> io::Result<()> {
        self.inner.put(key, value)
    }

    fn append(&self, key: &str, value: &[u8]) -> io::Result<()> {
        self.inner.append(key, value)
    }

    fn delete(&self, key: &str) -> io::Result<()> {
        self.inner.delete(key)
    }

    fn list(&self, prefix: &str) -> io::Result<Vec<Entry>> {
        self.inner.list(prefix)
    }

    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }
}

#[test]
fn a_value_that_the_backing_calls_damaged_takes_its_own_thread_down_and_no_other() {
    let backing = std::sync::Arc::new(Checked::default());
    let open = || Snapshots::open(std::sync::Arc::clone(&backing), Options::new()).unwrap();
    let snapshots = open();
    let mut versions = Vec::new();
    let mut before: Vec<Entry> = Vec::new();
    let mut keys = Vec::new();
    for name in ["one", "two"] {
        let thread = snapshots.thread(name).unwrap();
        thread.set("", format!("{{\"name\":\"{name}\"}}")).unwrap();
        versions.push(thread.commit(CommitOptions::new()).unwrap());
        let now = backing.list("").unwrap();
        let new = now
            .iter()
            .find(|entry| !before.iter().any(|old| old.key == entry.key));
        keys.push(new.expect("a segment").key.clone());
        before = now;
    }
    drop(snapshots);
    *backing.damaged.lock().unwrap() = Some(keys[0].clone());

    let snapshots = open();
    let lost = snapshots.restore(versions[0]).unwrap_err();
    assert!(lost.is_damage(), "{lost}");
    assert_eq!(
        snapshots.restore(versions[1]).unwrap(),
        &b"{\"name\":\"two\"}"[..]
    );
    let two = snapshots.thread("two").unwrap();
    two.set("/name", "\"three\"").unwrap();
    two.commit(CommitOptions::new()).unwrap();
    snapshots
        .retain(&Retention::new(), 0)
        .expect("retention passes over what it cannot read");
    let report = snapshots.verify().unwrap();
    assert!(!report.is_clean());
}
