//! A backing that knows by its own checks that one of its values is damaged, and says where.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use mainspring_delta_snapshot::{
    Backing, CommitOptions, Entry, Error, MemoryBacking, Retention, Snapshots, VersionId,
};

use crate::basics::options;

/// Where the damage is, in the backing's own words.
const PLACE: &str = "checksum of 0000012.seg at byte 4711";

#[derive(Debug, Default)]
struct Checked {
    inner: MemoryBacking,
    refused: Mutex<Option<(String, io::ErrorKind)>>,
    /// How often it is still given.
    spared: AtomicUsize,
}

impl Checked {
    fn refuse(&self, key: &str, kind: io::ErrorKind) {
        *self.refused.lock().expect("lock") = Some((key.to_owned(), kind));
    }

    fn damage(&self, key: &str) {
        self.refuse(key, io::ErrorKind::InvalidData);
    }

    fn keys(&self, prefix: &str) -> Vec<String> {
        let listed = self.inner.list(prefix).expect("list");
        listed.into_iter().map(|entry| entry.key).collect()
    }
}

impl Backing for Checked {
    fn get(&self, key: &str) -> io::Result<Option<Bytes>> {
        let refused = self.refused.lock().expect("lock");
        if let Some((refused, kind)) = &*refused
            && refused == key
        {
            let less = |spared: usize| spared.checked_sub(1);
            let spared = self
                .spared
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
            spared.map_err(|_| io::Error::new(*kind, PLACE))?;
        }
        self.inner.get(key)
    }

    /// What is written anew is good again.
    fn put(&self, key: &str, value: &[u8]) -> io::Result<()> {
        let mut refused = self.refused.lock().expect("lock");
        refused.take_if(|(refused, _)| refused == key);
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

fn open(backing: &Arc<Checked>) -> Snapshots {
    Snapshots::open(backing.clone(), options().block_bytes(1024)).expect("open")
}

/// Commits `{"name":NAME,"n":0}` and so on at the times 0, 1, ...
fn grow(snapshots: &Snapshots, name: &str, versions: u64) -> Vec<VersionId> {
    let thread = snapshots.thread(name).expect("thread");
    let commit = |n: u64| {
        let state = format!("{{\"name\":\"{name}\",\"n\":{n}}}");
        let options = CommitOptions::new().time(n);
        thread
            .commit_full(state.as_bytes(), options)
            .expect("commit")
    };
    (0..versions).map(commit).collect()
}

fn folder(id: VersionId) -> String {
    format!("s/{}/", &id.to_string()[..16])
}

#[track_caller]
fn names_the_place<T: std::fmt::Debug>(result: Result<T, Error>) {
    let error = result.expect_err("it is damaged");
    assert!(error.is_damage(), "{error}");
    assert!(error.to_string().contains(PLACE), "{error}");
    assert!(!error.to_string().contains("try again"), "{error}");
}

#[test]
fn what_a_backing_calls_damaged_takes_its_own_thread_down_and_no_other() {
    // Opened anew, so that not even the name is known, and met while all is known.
    for anew in [true, false] {
        let backing = Arc::new(Checked::default());
        let mut snapshots = open(&backing);
        let (one, two) = (grow(&snapshots, "one", 3), grow(&snapshots, "two", 6));
        let key = backing.keys(&folder(one[0])).remove(0);
        backing.damage(&key);
        if anew {
            snapshots = open(&backing);
            names_the_place(snapshots.thread("one"));
        }
        one.iter()
            .for_each(|id| names_the_place(snapshots.restore(*id)));

        let retention = Retention::new().delete_after(Duration::from_millis(2));
        let report = snapshots
            .retain(&retention, 6)
            .expect("it passes over damage");
        assert_eq!(report.removed, 4);
        assert!(
            report.failed.iter().any(|(_, why)| why.contains(PLACE)),
            "{report:?}"
        );
        let left = snapshots.restore(two[4]).expect("restore");
        assert_eq!(left, r#"{"name":"two","n":4}"#);
        let more = snapshots.thread("two").expect("thread");
        more.set("/n", "7").expect("set");
        let head = more.commit(CommitOptions::new()).expect("commit");

        let report = snapshots.verify().expect("verify");
        assert_eq!((report.versions, report.damage.len()), (3, 1), "{report:?}");
        assert_eq!(report.damage[0].key, key);
        assert!(report.damage[0].what.contains(PLACE), "{report:?}");
        assert!(!report.damage[0].at_end);
        let known = if anew { &[][..] } else { &one[..] };
        assert_eq!(report.damage[0].versions, known);

        // Nobody knows which blocks it refers to; once it is gone, everybody does.
        if anew {
            names_the_place(snapshots.gc());
        }
        snapshots.delete_thread("one").expect("delete");
        snapshots.gc().expect("gc");
        assert!(snapshots.verify().expect("verify").is_clean());
        assert_eq!(
            snapshots.restore(head).expect("restore"),
            r#"{"name":"two","n":7}"#
        );
    }
}

#[test]
fn of_a_thread_of_several_values_the_others_are_read_and_the_lost_versions_say_why() {
    let backing = Arc::new(Checked::default());
    let first = grow(&open(&backing), "t", 2);
    let key = backing.keys(&folder(first[0])).remove(0);
    // Another process, another segment.
    let snapshots = open(&backing);
    let thread = snapshots.thread("t").expect("thread");
    thread.checkout(first[0]).expect("checkout");
    thread.set("", "[2]").expect("set");
    let second = thread.commit(CommitOptions::new()).expect("commit");
    assert_eq!(backing.keys("s/").len(), 2);

    backing.damage(&key);
    let snapshots = open(&backing);
    let thread = snapshots.thread("t").expect("its name is known");
    for id in [first[0], first[1], second] {
        names_the_place(snapshots.restore(id));
    }
    names_the_place(thread.version(&first[1].to_string()));
    names_the_place(snapshots.fork(first[1], "fork"));
    names_the_place(thread.set("/0", "3"));
    names_the_place(thread.seal());
    let report = snapshots.verify().expect("verify");
    let found = report.damage.iter().find(|damage| damage.key == key);
    assert!(
        found.is_some_and(|damage| damage.what.contains(PLACE)),
        "{report:?}"
    );
}

#[test]
fn a_block_that_the_backing_calls_damaged_is_named_and_written_anew() {
    let backing = Arc::new(Checked::default());
    let snapshots = open(&backing);
    let thread = snapshots.thread("t").expect("thread");
    let large = format!("[\"{}\"]", "x".repeat(2000));
    let commit = || {
        thread.set("", "[]").expect("set");
        thread.set("", &large).expect("set");
        thread.commit(CommitOptions::new())
    };
    let id = commit().expect("commit");
    let key = backing.keys("b/").remove(0);
    backing.damage(&key);
    names_the_place(snapshots.restore(id));
    let report = snapshots.verify().expect("verify");
    assert_eq!(report.damage.len(), 1);
    assert_eq!(report.damage[0].key, key);
    assert!(report.damage[0].what.contains(PLACE), "{report:?}");
    assert_eq!(report.damage[0].versions, [id]);
    snapshots
        .retain(&Retention::new(), 0)
        .expect("it passes over damage");
    commit().expect("commit");
    assert_eq!(snapshots.restore(id).expect("restore"), large);
    assert!(snapshots.verify().expect("verify").is_clean());
}

#[test]
fn a_backing_that_fails_in_another_way_is_no_damage() {
    let backing = Arc::new(Checked::default());
    let one = grow(&open(&backing), "one", 3);
    backing.refuse(
        &backing.keys(&folder(one[0])).remove(0),
        io::ErrorKind::TimedOut,
    );
    let snapshots = open(&backing);
    let fails = |error: Error| {
        assert!(!error.is_damage(), "{error}");
        assert!(error.to_string().ends_with("try again"), "{error}");
    };
    fails(snapshots.restore(one[0]).expect_err("restore"));
    fails(snapshots.verify().expect_err("verify"));
    fails(snapshots.gc().expect_err("gc"));
    fails(
        snapshots
            .retain(&Retention::new(), 0)
            .expect_err("retention"),
    );
    // In the middle: a patch is played back onto the whole state, which is a block.
    let backing = Arc::new(Checked::default());
    let snapshots = open(&backing);
    let thread = snapshots.thread("t").expect("thread");
    let mut random = fastrand::Rng::with_seed(3);
    let mut state: Vec<u8> = (0..100_000).map(|_| random.u8(128..)).collect();
    for _ in 0..2 {
        thread
            .commit_full(&state, CommitOptions::new())
            .expect("commit");
        (0..state.len())
            .step_by(10_007)
            .for_each(|at| state[at] ^= 1);
    }
    let block = backing.keys("b/").remove(0);
    backing.refuse(&block, io::ErrorKind::TimedOut);
    backing.spared.store(1, Ordering::Relaxed);
    fails(snapshots.verify().expect_err("verify"));
    assert_eq!(backing.spared.load(Ordering::Relaxed), 0, "it got that far");
    // Written to, a value is not looked at: what kind the error has says nothing.
    let error = Error::Io {
        action: "put",
        key: "s/1".to_owned(),
        source: io::ErrorKind::InvalidData.into(),
    };
    assert!(!error.is_damage());
}
