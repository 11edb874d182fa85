//! What calls cost, counted in calls to the backing and in bytes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use mainspring_delta_snapshot::{Backing, CommitOptions, Entry, MemoryBacking, Snapshots};

use crate::basics::options;

/// Counts calls and bytes, read and written.
#[derive(Debug, Default)]
struct Counted {
    inner: MemoryBacking,
    calls: AtomicU64,
    bytes: AtomicU64,
}

impl Counted {
    fn note(&self, bytes: usize) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Calls and bytes since the last time.
    fn take(&self) -> (u64, u64) {
        let zero = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        (zero(&self.calls), zero(&self.bytes))
    }
}

impl Backing for Counted {
    fn get(&self, key: &str) -> io::Result<Option<Bytes>> {
        let found = self.inner.get(key)?;
        self.note(found.as_ref().map_or(0, Bytes::len));
        Ok(found)
    }
    fn put(&self, key: &str, value: &[u8]) -> io::Result<()> {
        self.note(value.len());
        self.inner.put(key, value)
    }
    fn append(&self, key: &str, value: &[u8]) -> io::Result<()> {
        self.note(value.len());
        self.inner.append(key, value)
    }
    fn delete(&self, key: &str) -> io::Result<()> {
        self.note(0);
        self.inner.delete(key)
    }
    fn list(&self, prefix: &str) -> io::Result<Vec<Entry>> {
        self.note(0);
        self.inner.list(prefix)
    }
    fn sync(&self) -> io::Result<()> {
        self.note(0);
        self.inner.sync()
    }
}

fn counted() -> (Arc<Counted>, Snapshots) {
    let backing = Arc::new(Counted::default());
    let snapshots = Snapshots::open(backing.clone(), options()).expect("open");
    (backing, snapshots)
}

fn message(n: usize) -> String {
    let id = digits(n);
    format!(r#"{{"role":"tool","tool_call_id":"call_{n}","content":"{id}"}}"#)
}

/// Digits that do not repeat.
fn digits(n: usize) -> String {
    let mut random = fastrand::Rng::with_seed(n as u64);
    (0..16).map(|_| format!("{:02x}", random.u8(..))).collect()
}

#[test]
fn a_fork_costs_the_same_however_many_versions_there_are() {
    let mut costs = Vec::new();
    for versions in [10, 1000] {
        let (backing, snapshots) = counted();
        let thread = snapshots.thread("t").expect("thread");
        thread.set("", r#"{"messages":[]}"#).expect("set");
        for n in 0..versions {
            thread.append("/messages", &[message(n)]).expect("append");
            thread.commit(CommitOptions::new()).expect("commit");
        }
        let head = thread.head().expect("head");
        let before = snapshots.stats().expect("stats").total;
        backing.take();
        let fork = snapshots.fork(head, "f").expect("fork");
        let (calls, bytes) = backing.take();
        // Whether the name is taken; nothing of the source is read.
        assert!(calls <= 2 && bytes == 0, "{calls} calls, {bytes} bytes");
        fork.append("/messages", &["1"]).expect("append");
        fork.commit(CommitOptions::new()).expect("commit");
        let own = snapshots.stats().expect("stats").total - before;
        assert!(own <= 4 << 10, "{own} bytes");
        costs.push((calls, own));
    }
    assert_eq!(costs[0].0, costs[1].0);
    assert!(costs[0].1.abs_diff(costs[1].1) < 64, "{costs:?}");
}

#[test]
fn a_small_version_costs_its_own_bytes_and_a_few_more() {
    let (backing, snapshots) = counted();
    let thread = snapshots.thread("t").expect("thread");
    thread.set("", r#"{"messages":[]}"#).expect("set");
    thread.commit(CommitOptions::new()).expect("commit");
    backing.take();
    for n in 0..100 {
        thread.append("/messages", &[message(n)]).expect("append");
        thread.commit(CommitOptions::new()).expect("commit");
    }
    let (calls, bytes) = backing.take();
    assert_eq!(calls, 100);
    // 16 bytes of each cannot be guessed, and 17 say what it is and check it.
    assert!(bytes <= 100 * 54, "{bytes} bytes for 100 versions");
}

#[test]
fn a_state_from_a_reader_costs_a_call_or_two_for_each_piece() {
    let mut costs = Vec::new();
    for pieces in [8, 16, 32] {
        let (backing, snapshots) = counted();
        let thread = snapshots.thread("t").expect("thread");
        let len = pieces * (256 << 10);
        let mut random = fastrand::Rng::with_seed(pieces as u64);
        let state: Vec<u8> = (0..len).map(|_| random.u8(..)).collect();
        backing.take();
        thread
            .commit_reader(&state[..], CommitOptions::new())
            .expect("commit");
        costs.push((pieces as u64, backing.take()));
    }
    for (pieces, (calls, bytes)) in costs {
        // Asked for, put; the version's record.
        assert_eq!(calls, 2 * pieces + 1);
        assert!(bytes < pieces * (257 << 10), "{bytes} bytes");
    }
}

#[test]
fn a_working_state_that_is_read_for_nothing_is_one_of_those_that_are_kept() {
    let backing = Arc::new(Counted::default());
    let open = || Snapshots::open(backing.clone(), options().max_streams(2)).expect("open");
    let snapshots = open();
    let names = ["a", "b", "c", "d", "e"];
    let thread = |snapshots: &Snapshots, name| snapshots.thread(name).expect("thread");
    for name in names {
        let thread = thread(&snapshots, name);
        thread.set("", r#"{"n":1}"#).expect("set");
        thread.commit(CommitOptions::new()).expect("commit");
    }
    let snapshots = open();
    let threads = names.map(|name| thread(&snapshots, name));
    backing.take();
    // How long it is need not be read.
    let lens = threads
        .each_ref()
        .map(|thread| thread.working_len().expect("length"));
    assert_eq!((lens, backing.take()), ([7; 5], (0, 0)));
    let edit = |n: usize| {
        assert!(threads[n].remove("/none").is_err());
        backing.take().0
    };
    assert_eq!([0, 1, 2, 3, 4].map(edit), [1; 5]);
    assert_eq!([4, 3, 2].map(edit), [0, 0, 1], "two are kept");
    // What is not committed is kept besides.
    threads[0].set("/n", "2").expect("set");
    backing.take();
    assert_eq!([1, 2, 3, 4].map(edit), [1; 4]);
    assert_eq!(threads[0].working_len().expect("length"), 7);
    threads[0].commit(CommitOptions::new()).expect("commit");
    let head = threads[0].head().expect("head");
    assert_eq!(snapshots.restore(head).expect("restore"), r#"{"n":2}"#);
    let fork = snapshots.fork(head, "fork").expect("fork");
    assert_eq!(fork.working_len().expect("length"), 7);
}
