//! What goes on while versions are sealed, pruned and collected: the backing lets a test act in the middle of it.

use std::io;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use bytes::Bytes;
use mainspring_delta_snapshot::{
    Backing, CommitOptions, Entry, Error, MemoryBacking, Retention, Snapshots, Thread, VersionId,
};

use crate::basics::options;

type Act = Box<dyn FnOnce() + Send>;

/// A backing that does something before the first call that fits.
#[derive(Default)]
struct Hooked {
    inner: MemoryBacking,
    hook: Mutex<Option<(&'static str, String, Act)>>,
}

impl std::fmt::Debug for Hooked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hooked")
    }
}

impl Hooked {
    /// Before the next `call` whose key begins like that.
    fn before(&self, call: &'static str, prefix: &str, act: impl FnOnce() + Send + 'static) {
        *self.hook.lock().expect("lock") = Some((call, prefix.to_owned(), Box::new(act)));
    }

    fn is_armed(&self) -> bool {
        self.hook.lock().expect("lock").is_some()
    }

    fn on(&self, call: &str, key: &str) {
        let mut hook = self.hook.lock().expect("lock");
        let fits = hook
            .as_ref()
            .is_some_and(|(at, prefix, _)| *at == call && key.starts_with(prefix.as_str()));
        let found = if fits { hook.take() } else { None };
        drop(hook);
        if let Some((_, _, act)) = found {
            act();
        }
    }
}

impl Backing for Hooked {
    fn get(&self, key: &str) -> io::Result<Option<Bytes>> {
        self.on("get", key);
        self.inner.get(key)
    }
    fn put(&self, key: &str, value: &[u8]) -> io::Result<()> {
        self.on("put", key);
        self.inner.put(key, value)
    }
    fn append(&self, key: &str, value: &[u8]) -> io::Result<()> {
        self.on("append", key);
        self.inner.append(key, value)
    }
    fn delete(&self, key: &str) -> io::Result<()> {
        self.on("delete", key);
        self.inner.delete(key)
    }
    fn list(&self, prefix: &str) -> io::Result<Vec<Entry>> {
        let call = if prefix.is_empty() { "sum" } else { "list" };
        self.on(call, prefix);
        self.inner.list(prefix)
    }
    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }
}

fn opened() -> (Arc<Hooked>, Snapshots) {
    let backing = Arc::new(Hooked::default());
    let options = options().block_bytes(1024);
    let snapshots = Snapshots::open(backing.clone(), options).expect("open");
    (backing, snapshots)
}

/// Runs it on a thread of its own and fails when it has to wait for whoever called this.
fn at_once<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || tell.send(act()));
    let told = told.recv_timeout(Duration::from_secs(20));
    told.expect("it waited for the call that it came in the middle of")
}

fn grown(snapshots: &Snapshots, name: &str, versions: usize) -> (Thread, Vec<VersionId>) {
    grown_at(snapshots, name, versions, 0)
}

fn grown_at(
    snapshots: &Snapshots,
    name: &str,
    versions: usize,
    from: u64,
) -> (Thread, Vec<VersionId>) {
    let thread = snapshots.thread(name).expect("thread");
    thread.set("", r#"{"messages":[]}"#).expect("set");
    let ids = (0..versions)
        .map(|n| add(&thread, &n.to_string(), from + n as u64))
        .collect();
    (thread, ids)
}

fn add(thread: &Thread, item: &str, time: u64) -> VersionId {
    thread.append("/messages", &[item]).expect("append");
    let options = CommitOptions::new().time(time);
    thread.commit(options).expect("commit")
}

/// Where the segments of a thread are.
fn folder(id: VersionId) -> String {
    format!("s/{}/", &id.to_string()[..16])
}

#[test]
fn commits_and_restores_of_other_threads_go_on_in_the_middle_of_a_sweep() {
    for (call, what) in [("put", "s"), ("delete", "s"), ("list", "b/")] {
        let (backing, snapshots) = opened();
        let (_, old) = grown(&snapshots, "old", 20);
        let (other, theirs) = grown_at(&snapshots, "other", 3, 3_000);
        let (tell, told) = mpsc::channel();
        let prefix = match what {
            "s" => folder(old[0]),
            other => other.to_owned(),
        };
        let inside = snapshots.clone();
        backing.before(call, &prefix, move || {
            let result = at_once(move || {
                let new = add(&other, "\"while\"", 4_000);
                let fork = inside.fork(theirs[1], "fork").expect("fork");
                let on_fork = add(&fork, "\"fork\"", 4_000);
                let read = |id| inside.restore(id).expect("restore");
                (read(new), read(on_fork), read(theirs[0]))
            });
            tell.send(result).expect("told");
        });
        // Some of `old` is too old; nothing of `other` is.
        let retention = Retention::new()
            .delete_after(Duration::from_millis(3_000))
            .compress_after(Duration::from_millis(1_000));
        let report = snapshots.retain(&retention, 3_010).expect("retain");
        assert_eq!(report.failed, []);
        assert!(!backing.is_armed(), "{call} {what} was never called");
        let (new, fork, first) = told.recv().expect("told");
        assert_eq!(new, r#"{"messages":[0,1,2,"while"]}"#);
        assert_eq!(fork, r#"{"messages":[0,1,"fork"]}"#);
        assert_eq!(first, r#"{"messages":[0]}"#);
        assert!(snapshots.verify().expect("verify").is_clean());
        let head = snapshots.restore(old[19]).expect("restore");
        assert!(head.ends_with(b"18,19]}"));
    }
}

#[test]
fn a_commit_to_the_thread_that_is_verified_is_no_damage() {
    let (backing, snapshots) = opened();
    let (thread, ids) = grown(&snapshots, "t", 5);
    let done = Arc::new(Mutex::new(None));
    let told = done.clone();
    backing.before("get", &folder(ids[0]), move || {
        std::thread::spawn(move || *told.lock().expect("lock") = Some(add(&thread, "5", 5)));
        // If it does not wait for the end of this, it is through by then.
        for _ in 0..20_000 {
            std::thread::yield_now();
        }
    });
    let report = snapshots.verify().expect("verify");
    assert!(report.is_clean(), "{report:?}");
    let new = loop {
        match *done.lock().expect("lock") {
            Some(new) => break new,
            None => std::thread::yield_now(),
        }
    };
    assert_eq!(
        snapshots.restore(new).expect("restore"),
        r#"{"messages":[0,1,2,3,4,5]}"#
    );
}

/// The prune has chosen what goes when the fork comes: before it has asked for forks, and after.
#[test]
fn what_is_forked_in_the_middle_of_a_prune_stays_or_is_refused() {
    let (backing, snapshots) = opened();
    let (thread, ids) = grown(&snapshots, "t", 10);
    let (inside, at) = (snapshots.clone(), ids[3]);
    // The size before is asked for after the versions were, and before forks are.
    backing.before("list", &folder(ids[0]), move || {
        let forked = at_once(move || inside.fork(at, "early").map(|fork| add(&fork, "\"e\"", 9)));
        forked.expect("fork");
    });
    let report = thread.prune(|_| false).expect("prune");
    assert_eq!(report.kept_for_forks, [ids[3]]);
    let early = snapshots.thread("early").expect("thread").head();
    assert_eq!(
        snapshots
            .restore(early.expect("head"))
            .expect("early restores"),
        r#"{"messages":[0,1,2,3,"e"]}"#
    );

    let (backing, snapshots) = opened();
    let (thread, ids) = grown(&snapshots, "t", 10);
    let (inside, at) = (snapshots.clone(), ids[3]);
    let (tell, told) = mpsc::channel();
    let late = snapshots.thread("late").expect("thread");
    // What is kept is being read, nothing is written yet.
    backing.before("get", &folder(ids[0]), move || {
        std::thread::spawn(move || {
            tell.send(inside.fork(at, "late").map(|fork| add(&fork, "1", 9)))
        });
        // It has taken the version for its head and found that it is about to go.
        while late.head().is_none() {
            std::thread::yield_now();
        }
    });
    assert_eq!(thread.prune(|_| false).expect("prune").removed, 9);
    let late = told.recv().expect("told");
    assert!(matches!(late, Err(Error::NotFound { .. })), "{late:?}");
    assert!(snapshots.verify().expect("verify").is_clean());
    assert_eq!(snapshots.thread("late").expect("thread").head(), None);
}

#[test]
fn a_value_that_is_given_while_its_block_is_garbage_keeps_it() {
    let (backing, snapshots) = opened();
    let long = format!("\"{}\"", "long value ".repeat(500));
    let (thread, ids) = grown(&snapshots, "t", 2);
    let with_block = add(&thread, &long, 3);
    thread.checkout(ids[1]).expect("checkout");
    add(&thread, "\"other\"", 4);
    let report = thread.prune(|version| version.id != with_block);
    assert_eq!(report.expect("prune").removed, 1);
    let (again, theirs) = grown(&snapshots, "again", 1);
    let (inside, value) = (snapshots.clone(), long.clone());
    // What is needed has been collected, nothing is deleted yet.
    backing.before("list", "b/", move || {
        let restored = at_once(move || {
            let id = add(&again, &value, 9);
            inside.restore(id).expect("restore")
        });
        assert!(restored.len() > 5_000);
    });
    assert_eq!(snapshots.gc().expect("gc").blocks, 0);
    assert!(!backing.is_armed());
    let again = snapshots.thread("again").expect("thread");
    let head = again.head().expect("head");
    assert_ne!(head, theirs[0]);
    assert!(snapshots.restore(head).expect("restore").len() > 5_000);
    assert!(snapshots.verify().expect("verify").is_clean());
    drop(again);
    snapshots.delete_thread("again").expect("delete");
    assert_eq!(snapshots.gc().expect("gc").blocks, 1);
}

/// A restore has looked up where its segment is when the thread is written anew: the old one stays until it is done.
#[test]
fn a_restore_that_began_before_a_prune_ends_well() {
    let (backing, snapshots) = opened();
    let (thread, ids) = grown(&snapshots, "t", 10);
    let (tell, told) = mpsc::channel();
    let pruned = Arc::new(Mutex::new(None));
    let handle = pruned.clone();
    let watched = backing.clone();
    let before = watched.inner.list("s/").expect("list");
    backing.before("get", &folder(ids[0]), move || {
        let prune =
            std::thread::spawn(move || thread.prune(|_| false).map(|report| report.removed));
        // Written anew, which the restore need not know.
        while watched.inner.list("s/").expect("list") == before {
            std::thread::yield_now();
        }
        *handle.lock().expect("lock") = Some(prune);
        tell.send(()).expect("told");
    });
    let restored = snapshots.restore(ids[3]).expect("restore");
    assert_eq!(restored, r#"{"messages":[0,1,2,3]}"#);
    told.recv().expect("told");
    let prune = pruned.lock().expect("lock").take().expect("prune");
    assert_eq!(prune.join().expect("join").expect("prune"), 9);
    assert!(snapshots.restore(ids[3]).is_err());
    assert_eq!(backing.inner.list("s/").expect("list").len(), 1);
}

/// A writer that does something before the first bytes are written.
struct Once<F>(Option<F>);

impl<F: FnOnce()> io::Write for Once<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.take().into_iter().for_each(|act| act());
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A reader's writer may commit, also to a thread that somebody is deleting: the delete waits for the reader.
#[test]
fn a_commit_from_a_reader_does_not_wait_for_a_delete_that_waits_for_the_reader() {
    let (backing, snapshots) = opened();
    let (_, read) = grown(&snapshots, "read", 2);
    let (gone, ids) = grown(&snapshots, "gone", 3);
    gone.seal().expect("seal");
    add(&gone, "3", 3);
    let (listed, begun) = mpsc::channel();
    // All of the thread is asked for when it has been locked.
    backing.before("list", &folder(ids[0]), move || {
        listed.send(()).expect("told")
    });
    let (tell, told) = mpsc::channel();
    let (inside, handle) = (snapshots.clone(), gone.clone());
    let act = move || {
        std::thread::spawn(move || tell.send(inside.delete_thread("gone")));
        begun.recv().expect("begun");
        at_once(move || {
            // What a commit sees is the old thread or a new one, never a part of it.
            while handle.head().is_some() {
                std::thread::yield_now();
            }
            handle.set("", "[\"new\"]").expect("set");
            handle.commit(CommitOptions::new()).expect("commit");
        });
    };
    let written = snapshots.restore_to(read[1], Once(Some(act)));
    assert_eq!(written.expect("restore"), 18);
    told.recv().expect("told").expect("delete");
    let left = backing.inner.list(&folder(ids[0])).expect("list");
    assert_eq!(left.len(), 1, "{left:?}");
    let again = Snapshots::open(backing, options()).expect("open");
    let thread = again.thread("gone").expect("thread");
    assert_eq!(thread.versions().expect("versions").len(), 1);
    let head = thread.head().expect("head");
    assert_eq!(again.restore(head).expect("restore"), r#"["new"]"#);
    assert!(snapshots.restore(ids[2]).is_err());
}

/// What a reader holds on to is left where it is; everything else is done, and the rest after it.
#[test]
fn a_reader_that_stands_still_holds_up_deletions_and_nothing_else() {
    let backing = Arc::new(Hooked::default());
    let options = || options().block_bytes(1024).reader_patience(Duration::ZERO);
    let snapshots = Snapshots::open(backing.clone(), options()).expect("open");
    let long = format!("\"{}\"", "long value ".repeat(500));
    let (read, theirs) = grown(&snapshots, "read", 3);
    let with_block = add(&read, &long, 3);
    read.checkout(theirs[1]).expect("checkout");
    let head = add(&read, "\"head\"", 4);
    grown(&snapshots, "gone", 3);
    let segments = || backing.inner.list("s/").expect("list").len();
    let mut written = Vec::new();
    let during = || {
        // Each of them would wait for its own caller.
        assert_eq!(read.prune(|_| false).expect("prune").removed, 4);
        assert!(snapshots.restore(with_block).is_err(), "it is gone");
        assert_eq!(snapshots.restore(head).expect("restore").len(), 25);
        let report = snapshots.gc().expect("gc");
        assert_eq!((report.blocks, report.segments), (0, 0));
        let deleted = snapshots.delete_thread("gone");
        assert!(matches!(deleted, Err(Error::InUse { .. })), "{deleted:?}");
        assert_eq!(snapshots.threads().expect("threads"), ["read"]);
        add(&read, "\"more\"", 5);
        // Nothing can be given back, so nobody is cut down for it.
        let quota = Retention::new().max_bytes(1);
        let report = snapshots.retain(&quota, 9).expect("retain");
        assert_eq!((report.removed, report.within_quota), (0, false));
        assert_eq!(report.failed.len(), 1, "{report:?}");
        assert!(report.failed[0].1.contains("still reading"), "{report:?}");
        assert!(snapshots.verify().expect("verify").is_clean());
    };
    let writer = Tee(&mut written, Once(Some(during)));
    snapshots.restore_to(with_block, writer).expect("restore");
    assert!(written.ends_with(b"value \"]}"), "it ended well");

    let before = segments();
    let report = snapshots.gc().expect("gc");
    assert_eq!((report.blocks, before - segments()), (1, 3), "{report:?}");
    assert_eq!(report.segments, 3);
    let again = Snapshots::open(backing.clone(), options()).expect("open");
    assert_eq!(again.threads().expect("threads"), ["read"]);
    assert!(again.verify().expect("verify").is_clean());
}

/// The garbage that it kept is still there: no reason to cut a thread down.
#[test]
fn a_reader_that_ends_while_garbage_is_collected_costs_nobody_a_version() {
    let backing = Arc::new(Hooked::default());
    let options = options().reader_patience(Duration::ZERO);
    let snapshots = Snapshots::open(backing.clone(), options).expect("open");
    let (read, ids) = grown(&snapshots, "read", 3);
    grown(&snapshots, "other", 3);
    let (begin, begun) = mpsc::channel();
    let (end, ended) = mpsc::channel::<()>();
    let (inside, id) = (snapshots.clone(), ids[0]);
    let reader = std::thread::spawn(move || {
        let stand_still = move || {
            begin.send(()).expect("begun");
            ended.recv().expect("ended");
        };
        inside.restore_to(id, Once(Some(stand_still)))
    });
    begun.recv().expect("begun");
    assert_eq!(read.prune(|_| false).expect("prune").removed, 2);
    // What is stored is summed up before the collection and after it.
    let hooked = backing.clone();
    backing.before("sum", "", move || {
        hooked.before("sum", "", move || {
            end.send(()).expect("end");
            reader.join().expect("reader").expect("restore");
        });
    });
    let quota = Retention::new().max_bytes(1);
    let report = snapshots.retain(&quota, 9).expect("retain");
    assert!(!backing.is_armed(), "it got that far");
    assert_eq!(report.removed, 0, "{report:?}");
    assert!(report.failed[0].1.contains("still reading"), "{report:?}");
    let report = snapshots.retain(&quota, 9).expect("retain");
    assert_eq!((report.removed, report.failed.len()), (2, 0), "{report:?}");
}

/// Writes to both.
struct Tee<A, B>(A, B);

impl<A: io::Write, B: io::Write> io::Write for Tee<A, B> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1.write_all(bytes)?;
        self.0.write_all(bytes)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
