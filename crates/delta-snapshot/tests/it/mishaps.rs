//! What goes wrong around a thread: odd states and limits, failed writes, damage, calls from within calls.

use std::io;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use bytes::Bytes;
use mainspring_delta_snapshot::{
    Backing, Cipher, CommitOptions, DirBacking, Entry, Error, Kind, MemoryBacking, Snapshots,
};

use crate::basics::{memory, options};
use crate::faulty::{Fate, Faulty};

fn new() -> CommitOptions<'static> {
    CommitOptions::new()
}

fn noise(seed: u64, len: usize) -> String {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..len).map(|_| random.alphanumeric()).collect()
}

#[test]
fn a_key_as_long_as_a_block_is_still_a_key() {
    let snapshots = Snapshots::open(MemoryBacking::new(), options().block_bytes(1024));
    let snapshots = snapshots.expect("open");
    let thread = snapshots.thread("t").expect("thread");
    let key = noise(1, 3000);
    thread
        .set("", format!(r#"{{"":1,"{key}":{{"a":2}}}}"#))
        .expect("set");
    thread.set("/", "3").expect("the member with the empty key");
    thread.set(&format!("/{key}/a"), "4").expect("set");
    let id = thread.commit(new()).expect("commit");
    assert_eq!(
        snapshots.restore(id).expect("restore"),
        format!(r#"{{"":3,"{key}":{{"a":4}}}}"#)
    );
}

#[test]
fn an_array_at_the_greatest_depth_survives_being_stored_whole() {
    let snapshots = memory();
    let thread = snapshots.thread("t").expect("thread");
    let nest = |n: usize| "[".repeat(n) + &"]".repeat(n);
    thread.set("", nest(200)).expect("set");
    thread
        .append(&"/0".repeat(199), &[nest(100)])
        .expect("append");
    for depth in 254..=256 {
        let _ = thread.append(&"/0".repeat(depth), &["1"]);
    }
    thread.commit(new()).expect("commit");
    thread.commit(new()).expect("commit");
    // The first version is folded into the second, which is written whole.
    thread.prune(|_| false).expect("prune");
    let head = thread.head().expect("head");
    assert!(snapshots.restore(head).is_ok());
    assert!(snapshots.verify().expect("verify").is_clean());
}

#[test]
fn what_a_small_limit_lets_in_it_lets_out_again() {
    let limited = options().max_state_bytes(64 << 10);
    let snapshots = Snapshots::open(MemoryBacking::new(), limited).expect("open");
    let thread = snapshots.thread("t").expect("thread");
    thread.set("", "{}").expect("set");
    for n in 0..60 {
        thread
            .set("/a", format!("\"{}\"", noise(n, 10_000)))
            .expect("set");
    }
    let mut seen = vec![thread.commit(new()).expect("commit")];
    for n in 0..60 {
        thread
            .set("/a", format!("\"{}\"", noise(n, 10_000)))
            .expect("set");
        seen.push(thread.commit(new()).expect("commit"));
    }
    for id in &seen {
        snapshots.restore(*id).expect("restore");
    }
    // Branches, and a fork, that a rewrite puts on top of rewritten versions.
    for n in 0..6 {
        thread.checkout(seen[20 + n]).expect("checkout");
        for m in 0..8 {
            thread
                .set("/a", format!("\"{}\"", noise(n as u64 * m, 10_000)))
                .expect("set");
            seen.push(thread.commit(new()).expect("commit"));
        }
    }
    thread.seal().expect("seal");
    for id in &seen {
        snapshots.restore(*id).expect("restore");
    }
}

#[test]
fn a_replay_bound_without_end_restores() {
    let endless = options().replay_bound(u64::MAX, u64::MAX);
    let snapshots = Snapshots::open(MemoryBacking::new(), endless).expect("open");
    let thread = snapshots.thread("t").expect("thread");
    let id = thread.commit_full(b"[1]", new()).expect("commit");
    assert_eq!(snapshots.restore(id).expect("restore"), "[1]");
}

#[test]
fn sealed_patches_do_not_pile_up() {
    let snapshots = Snapshots::open(MemoryBacking::new(), options().replay_bound(3, 0));
    let snapshots = snapshots.expect("open");
    let thread = snapshots.thread("t").expect("thread");
    let mut state = noise(3, 100_000).into_bytes();
    state[0] = b'x';
    let mut seen = Vec::new();
    for i in 0..40 {
        for at in (i..state.len()).step_by(10_007) {
            state[at] ^= 0x55;
        }
        let id = thread.commit_full(&state, new()).expect("commit");
        seen.push((id, state.clone()));
    }
    thread.seal().expect("seal");
    let versions = thread.versions().expect("versions");
    let whole = versions.iter().filter(|v| v.kind == Kind::Full).count();
    assert!(whole > 10, "{whole} of 40 are whole");
    for (id, state) in seen {
        assert!(snapshots.restore(id).expect("restore") == state);
    }
}

#[test]
fn a_flipped_bit_in_a_long_record_is_not_an_unfinished_write() {
    let backing = Arc::new(MemoryBacking::new());
    let whole_strings = options().block_bytes(64 << 20);
    let snapshots = Snapshots::open(backing.clone(), whole_strings.clone()).expect("open");
    let thread = snapshots.thread("t").expect("thread");
    thread.set("", "[]").expect("set");
    thread.commit(new()).expect("commit");
    let long = format!("\"{}\"", noise(4, 2_000_000));
    thread.append("", &[long]).expect("append");
    thread.commit(new()).expect("commit");
    for n in 0..3 {
        thread.append("", &[n.to_string()]).expect("append");
        thread.commit(new()).expect("commit");
    }
    let head = thread.head();
    drop((thread, snapshots));
    let key = backing.list("s/").expect("list").remove(0).key;
    let mut bytes = backing.get(&key).expect("get").expect("there").to_vec();
    bytes[1000] ^= 4;
    backing.put(&key, &bytes).expect("put");
    let again = Snapshots::open(backing.clone(), whole_strings).expect("open");
    assert_eq!(again.thread("t").expect("thread").head(), head);
    assert!(again.gc().is_err(), "damage is left as it is");
    let left = backing.get(&key).expect("get").expect("there");
    assert_eq!(left.len(), bytes.len());
    assert!(!again.verify().expect("verify").damage[0].at_end);
}

/// Sealed bytes look like noise, so that nothing but the sum tells a record from them.
#[derive(Debug)]
struct Noise;

impl Noise {
    fn apply(context: &str, bytes: &[u8]) -> Vec<u8> {
        let seed = context
            .bytes()
            .fold(7, |seed: u64, b| seed.wrapping_mul(31) ^ u64::from(b));
        let mut random = fastrand::Rng::with_seed(seed);
        bytes.iter().map(|byte| byte ^ random.u8(..)).collect()
    }
}

impl Cipher for Noise {
    fn seal(&self, context: &str, plain: &[u8]) -> Result<Vec<u8>, String> {
        Ok(Self::apply(context, plain))
    }

    fn open(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>, String> {
        Ok(Self::apply(context, sealed))
    }

    fn address_key(&self) -> [u8; 32] {
        [1; 32]
    }
}

/// A torn append, and damage within a record that others follow, in a store whose records are noise.
#[test]
fn an_encrypted_tail_is_a_tail_and_encrypted_damage_is_damage() {
    let sealed = || {
        let whole_strings = options().block_bytes(64 << 20);
        whole_strings.cipher(Arc::new(Noise))
    };
    for (len, behind) in [(60_000, 0), (900_000, 0), (900_000, 1)] {
        let backing = Arc::new(MemoryBacking::new());
        let snapshots = Snapshots::open(backing.clone(), sealed()).expect("open");
        let thread = snapshots.thread("t").expect("thread");
        thread.set("", "[]").expect("set");
        let first = thread.commit(new()).expect("commit");
        let key = backing.list("s/").expect("list").remove(0).key;
        let good = backing.get(&key).expect("get").expect("there").len();
        let long = format!("\"{}\"", noise(6, len));
        thread.append("", &[long]).expect("append");
        thread.commit(new()).expect("commit");
        for _ in 0..behind {
            thread.append("", &["1"]).expect("append");
            thread.commit(new()).expect("commit");
        }
        drop((thread, snapshots));
        let mut bytes = backing.get(&key).expect("get").expect("there").to_vec();
        if behind == 0 {
            bytes.truncate(bytes.len() - 100);
        } else {
            // The length, so that it does not lead to the next record.
            bytes[good] ^= 1;
            bytes[good + 1] ^= 1;
        }
        backing.put(&key, &bytes).expect("put");
        let again = Snapshots::open(backing.clone(), sealed()).expect("open");
        again.thread("t").expect("thread");
        let collected = again.gc();
        let left = backing.get(&key).expect("get").expect("there").len();
        if behind == 0 {
            collected.expect("a tail is cut off");
            assert_eq!(left, good);
            assert_eq!(again.restore(first).expect("restore"), "[]");
            assert!(again.verify().expect("verify").is_clean());
        } else {
            assert!(collected.is_err(), "damage is left as it is");
            assert_eq!(left, bytes.len());
        }
    }
}

#[test]
fn damage_before_a_whole_version_is_not_an_unfinished_write() {
    let backing = Arc::new(MemoryBacking::new());
    let often = options().replay_bound(1, 0);
    let snapshots = Snapshots::open(backing.clone(), often.clone()).expect("open");
    let thread = snapshots.thread("t").expect("thread");
    for n in 0..3 {
        thread
            .set("", format!("\"{}\"", noise(n, 3000)))
            .expect("set");
        thread.commit(new()).expect("commit");
    }
    let versions = thread.versions().expect("versions");
    assert!(versions.iter().all(|version| version.kind == Kind::Full));
    drop((thread, snapshots));
    let key = backing.list("s/").expect("list").remove(0).key;
    let mut bytes = backing.get(&key).expect("get").expect("there").to_vec();
    *bytes.last_mut().expect("last") ^= 1;
    backing.put(&key, &bytes).expect("put");
    let again = Snapshots::open(backing.clone(), often).expect("open");
    assert!(again.gc().is_err(), "damage is left as it is");
    assert_eq!(
        backing.get(&key).expect("get").expect("there").len(),
        bytes.len()
    );
}

#[test]
fn a_damaged_thread_can_be_deleted_and_begun_again() {
    let backing = Arc::new(MemoryBacking::new());
    for _ in 0..2 {
        let snapshots = Snapshots::open(backing.clone(), options()).expect("open");
        let thread = snapshots.thread("t").expect("thread");
        thread
            .append("", &["1"])
            .or_else(|_| thread.set("", "[]"))
            .expect("edit");
        thread.commit(new()).expect("commit");
    }
    // One of its two segments, then all there is.
    for (damaged, value) in [(1, "[2]"), (0, "[3]")] {
        let key = backing.list("s/").expect("list").remove(damaged).key;
        backing.put(&key, b"nothing of ours").expect("put");
        let snapshots = Snapshots::open(backing.clone(), options()).expect("open");
        assert!(snapshots.gc().is_err());
        snapshots.delete_thread("t").expect("delete");
        assert!(backing.list("s/").expect("list").is_empty());
        let thread = snapshots.thread("t").expect("thread");
        thread.set("", value).expect("set");
        thread.commit(new()).expect("commit");
        snapshots.gc().expect("gc");
    }
}

/// A store whose backing fails once, at the given call, after having done it.
fn done_but_failed(backing: &Arc<MemoryBacking>, call: usize) -> Snapshots {
    let faulty = Faulty::new(backing.clone(), call, Fate::Done, false);
    Snapshots::open(faulty, options().block_bytes(1024)).expect("open")
}

#[test]
fn a_commit_that_failed_and_was_given_up_does_not_come_back_after_a_collection() {
    let backing = Arc::new(MemoryBacking::new());
    // Calls: append; put of the block, append.
    let snapshots = done_but_failed(&backing, 2);
    let thread = snapshots.thread("t").expect("thread");
    thread.set("", "[]").expect("set");
    let first = thread.commit(new()).expect("commit");
    thread
        .append("", &[format!("\"{}\"", noise(5, 2000))])
        .expect("append");
    assert!(matches!(thread.commit(new()), Err(Error::Io { .. })));
    thread.rollback();
    snapshots.gc().expect("gc");
    assert!(backing.list("b/").expect("list").is_empty());
    let again = Snapshots::open(backing, options()).expect("open");
    assert_eq!(again.thread("t").expect("thread").head(), Some(first));
    assert!(again.verify().expect("verify").is_clean());
}

#[test]
fn a_seal_takes_away_what_failed_writes_have_left() {
    let backing = Arc::new(MemoryBacking::new());
    let snapshots = done_but_failed(&backing, 0);
    let thread = snapshots.thread("t").expect("thread");
    thread.set("", "[]").expect("set");
    assert!(thread.commit(new()).is_err());
    thread.commit(new()).expect("the next attempt");
    thread.seal().expect("seal");
    assert_eq!(backing.list("s/").expect("list").len(), 1);
}

#[test]
fn a_seal_after_a_checkout_leaves_the_newest_version_the_newest() {
    let backing = Arc::new(MemoryBacking::new());
    let snapshots = Snapshots::open(backing.clone(), options()).expect("open");
    let thread = snapshots.thread("t").expect("thread");
    thread.set("", "[]").expect("set");
    let commit = || {
        thread.append("", &["1"]).expect("append");
        thread.commit(new()).expect("commit")
    };
    let line = [commit(), commit(), commit()];
    thread.checkout(line[0]).expect("checkout");
    commit();
    thread.checkout(line[2]).expect("checkout");
    let newest = commit();
    thread.checkout(line[1]).expect("checkout");
    let reopened = || {
        let again = Snapshots::open(backing.clone(), options()).expect("open");
        again.thread("t").expect("thread").head()
    };
    assert_eq!(reopened(), Some(newest));
    thread.seal().expect("seal");
    assert_eq!(reopened(), Some(newest));
}

#[test]
fn what_decides_over_versions_may_look_into_them() {
    let (done, waits) = mpsc::channel();
    std::thread::spawn(move || {
        let snapshots = memory();
        let thread = snapshots.thread("t").expect("thread");
        for n in 0..4 {
            thread
                .commit_full(format!("[{n}]").as_bytes(), new())
                .expect("commit");
        }
        let report = thread.prune(|v| snapshots.restore(v.id).is_ok_and(|s| s == "[1]"));
        done.send(report.expect("prune").kept).expect("send");
    });
    assert_eq!(waits.recv_timeout(Duration::from_secs(20)), Ok(2));
}

#[test]
fn a_label_that_is_refused_leaves_the_working_state() {
    let snapshots = memory();
    let thread = snapshots.thread("t").expect("thread");
    thread.commit_full(b"[1]", new()).expect("commit");
    let label = "x".repeat(5000);
    let refused = thread.commit_full(b"[2]", new().label(&label));
    assert!(matches!(refused, Err(Error::TooLarge { .. })));
    assert!(!thread.is_changed());
}

#[test]
fn a_directory_lists_one_block_and_keeps_no_empty_directories() {
    let folder = tempfile::tempdir().expect("tempdir");
    let backing = DirBacking::open(folder.path()).expect("dir");
    let block = format!("b/{}", "0a".repeat(32));
    assert!(backing.list(&block).expect("list").is_empty());
    backing.put(&block, b"12345").expect("put");
    let found = backing.list(&block).expect("list");
    assert_eq!((found[0].key.as_str(), found[0].len), (&*block, 5));
    backing
        .append("s/0000000000000001/1", b"1")
        .expect("append");
    backing.delete("s/0000000000000001/1").expect("delete");
    backing.delete(&block).expect("delete");
    backing.sync().expect("sync");
    assert!(!folder.path().join("s/0000000000000001").exists());
    assert!(backing.list("").expect("list").is_empty());
    backing.append("s/0000000000000001/2", b"1").expect("again");
    assert_eq!(backing.list("s/").expect("list").len(), 1);
}

/// Runs an action once, inside the first call of `list` after it was set.
#[derive(Clone, Default)]
struct Meanwhile {
    inner: Arc<MemoryBacking>,
    act: Arc<Mutex<Option<Act>>>,
}

type Act = Box<dyn FnOnce() + Send>;

impl std::fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

impl Backing for Meanwhile {
    fn get(&self, key: &str) -> io::Result<Option<Bytes>> {
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
        let act = self.act.lock().expect("lock").take();
        if let Some(act) = act {
            act();
        }
        self.inner.list(prefix)
    }
    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }
}

#[test]
fn a_checkout_during_a_prune_does_not_lose_its_version() {
    let backing = Meanwhile::default();
    let snapshots = Snapshots::open(backing.clone(), options()).expect("open");
    let thread = snapshots.thread("t").expect("thread");
    let old = thread.commit_full(b"[1]", new()).expect("commit");
    for n in 2..5 {
        thread
            .commit_full(format!("[{n}]").as_bytes(), new())
            .expect("commit");
    }
    let (done, waits) = mpsc::channel();
    let other = thread.clone();
    *backing.act.lock().expect("lock") = Some(Box::new(move || {
        let (begun, begins) = mpsc::channel();
        std::thread::spawn(move || {
            let outcome = other.checkout(old).is_ok();
            // Nobody listens when the prune had to end first.
            let _ = begun.send(());
            done.send(outcome).expect("send");
        });
        let _ = begins.recv_timeout(Duration::from_millis(200));
    }));
    thread.prune(|_| false).expect("prune");
    let checked_out = waits
        .recv_timeout(Duration::from_secs(20))
        .expect("outcome");
    let head = thread.head().expect("head");
    assert_eq!(checked_out, head == old);
    snapshots.restore(head).expect("the head is there");
}

#[test]
fn a_version_on_a_block_that_was_found_damaged_meanwhile_is_not_acknowledged() {
    let backing = Arc::new(MemoryBacking::new());
    let snapshots = Snapshots::open(backing.clone(), options().block_bytes(1024)).expect("open");
    let long = format!("\"{}\"", noise(8, 2000));
    let source = snapshots.thread("source").expect("thread");
    source.set("", &long).expect("set");
    source.commit(new()).expect("commit");
    let thread = snapshots.thread("t").expect("thread");
    // Known to be stored, so its bytes are not kept.
    thread.set("", &long).expect("set");
    let key = backing.list("b/").expect("list").remove(0).key;
    let good = backing.get(&key).expect("get").expect("there");
    backing.put(&key, &good[..100]).expect("put");
    assert!(!snapshots.verify().expect("verify").is_clean());
    let refused = thread.commit(new());
    assert!(matches!(refused, Err(Error::Damaged { .. })), "{refused:?}");
    // Given again, it is stored again.
    thread.set("", &long).expect("set");
    let id = thread.commit(new()).expect("commit");
    assert!(snapshots.restore(id).expect("restore") == long);
    assert!(snapshots.verify().expect("verify").is_clean());
}

#[test]
fn two_spellings_of_one_path_are_pruned_in_their_order() {
    let snapshots = memory();
    let thread = snapshots.thread("a~thread").expect("thread");
    thread.set("", r#"{"a~":0,"b":{"c~x":0}}"#).expect("set");
    thread.commit(new()).expect("commit");
    // A tilde that is no escape stands for itself.
    let steps = [
        ("/a~0", "1"),
        ("/a~", "2"),
        ("/a~0", "3"),
        ("/b/c~x", "4"),
        ("/b/c~0x", "5"),
    ];
    for (path, value) in steps {
        thread.set(path, value).expect("set");
        thread.commit(new()).expect("commit");
    }
    let head = thread.head().expect("head");
    let before = snapshots.restore(head).expect("restore");
    assert_eq!(before, r#"{"a~":3,"b":{"c~x":5}}"#);
    thread
        .prune(|version| version.id.sequence() == 1)
        .expect("prune");
    assert_eq!(snapshots.restore(head).expect("restore"), before);
    assert!(snapshots.verify().expect("verify").is_clean());
}

/// Its length does not lead to the next record, which has to be found among the bytes behind it.
#[test]
fn damage_to_the_length_of_a_short_record_is_no_unfinished_write() {
    let backing = Arc::new(MemoryBacking::new());
    let snapshots = Snapshots::open(backing.clone(), options()).expect("open");
    let thread = snapshots.thread("t").expect("thread");
    thread.set("", "[]").expect("set");
    thread.commit(new()).expect("commit");
    let key = backing.list("s/").expect("list").remove(0).key;
    let mut ends = Vec::new();
    for n in 0..6 {
        let text = format!("\"{n} the same words, {n} the same words again\"");
        thread.append("", &[text]).expect("append");
        thread.commit(new()).expect("commit");
        ends.push(backing.get(&key).expect("get").expect("there").len());
    }
    drop((thread, snapshots));
    let good = backing.get(&key).expect("get").expect("there");
    for at in &ends[..5] {
        for bit in [1, 2, 4, 64] {
            let mut bytes = good.to_vec();
            bytes[*at] ^= bit;
            backing.put(&key, &bytes).expect("put");
            let again = Snapshots::open(backing.clone(), options()).expect("open");
            // Of the last record there is nothing behind it to tell.
            let last = *at == ends[4];
            assert_eq!(again.gc().is_ok(), last, "bit {bit} at {at}");
            let left = backing.get(&key).expect("get").expect("there").len();
            assert_eq!(left, if last { *at } else { good.len() });
        }
    }
}

/// More than zstd's count of calls that move nothing.
#[test]
fn versions_that_change_nothing_can_be_many_in_a_row() {
    let snapshots = memory();
    let thread = snapshots.thread("t").expect("thread");
    let state = format!(r#"{{"a":"{}"}}"#, noise(3, 2 << 20));
    thread.set("", &state).expect("set");
    let mut ids = vec![thread.commit(new()).expect("commit")];
    for _ in 0..40 {
        ids.push(thread.commit(new()).expect("commit"));
    }
    thread.set("/b", "1").expect("set");
    let last = thread.commit(new()).expect("commit");
    for id in ids {
        assert_eq!(snapshots.restore(id).expect("restore"), state);
    }
    assert!(
        snapshots
            .restore(last)
            .expect("restore")
            .ends_with(br#","b":1}"#)
    );
    assert!(snapshots.verify().expect("verify").is_clean());
    thread.seal().expect("seal");
    assert!(snapshots.restore(last).is_ok());
}
