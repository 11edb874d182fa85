//! Damage heals, sweeps go on past it, checkpoints come when they are due.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mainspring_delta_snapshot::{
    Backing, CommitOptions, Error, MemoryBacking, Retention, Snapshots, Sweeper,
};

use crate::basics::{memory, options};

const DAY: u64 = 24 * 60 * 60 * 1000;

fn large(word: &str) -> String {
    format!("\"{}\"", format!("{word} large value ").repeat(200))
}

#[test]
fn a_damaged_block_that_is_committed_again_heals() {
    for reopen in [false, true] {
        let backing = Arc::new(MemoryBacking::new());
        let open = || Snapshots::open(backing.clone(), options().block_bytes(1024)).expect("open");
        let mut snapshots = open();
        let first = snapshots.thread("a").expect("thread");
        first.set("", large("x")).expect("set");
        let id = first.commit(CommitOptions::new()).expect("commit");
        let key = backing.list("b/").expect("list").remove(0).key;
        let mut bytes = backing.get(&key).expect("get").expect("there").to_vec();
        let last = bytes.len() - 6;
        bytes[last] ^= 1;
        backing.put(&key, &bytes).expect("put");
        if reopen {
            drop(first);
            snapshots = open();
        } else {
            assert!(snapshots.restore(id).is_err());
        }
        let second = snapshots.thread("b").expect("thread");
        second.set("", large("x")).expect("set");
        let other = second.commit(CommitOptions::new()).expect("commit");
        for id in [id, other] {
            assert_eq!(snapshots.restore(id).expect("restore"), large("x"));
        }
        assert!(snapshots.verify().expect("verify").is_clean());
    }
}

#[test]
fn a_retention_goes_on_past_a_damaged_thread() {
    let backing = Arc::new(MemoryBacking::new());
    let open = || Snapshots::open(backing.clone(), options()).expect("open");
    let snapshots = open();
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        let thread = snapshots.thread(name).expect("thread");
        thread.set("", "[]").expect("set");
        for day in 0..3 {
            thread.append("", &["1"]).expect("append");
            let id = thread.commit(CommitOptions::new().time(day * DAY));
            ids.push(id.expect("commit"));
        }
    }
    let bad = ids[0].to_string()[..16].to_owned();
    let key = backing.list(&format!("s/{bad}/")).expect("list").remove(0);
    let mut bytes = backing.get(&key.key).expect("get").expect("there").to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    backing.put(&key.key, &bytes).expect("put");
    let again = open();
    let report = again.retain(&Retention::new(), 60 * DAY).expect("retain");
    assert_eq!(report.removed, 4, "{report:?}");
    let failed: Vec<&str> = report.failed.iter().map(|(name, _)| &**name).collect();
    assert!(
        failed.contains(&"a") && !failed.contains(&"b"),
        "{report:?}"
    );
    let left = backing.get(&key.key).expect("get").expect("there");
    assert_eq!(left, bytes, "what is damaged is left as it is");
}

#[test]
fn a_quota_cuts_no_thread_while_damage_keeps_garbage() {
    let backing = Arc::new(MemoryBacking::new());
    let open = || Snapshots::open(backing.clone(), options()).expect("open");
    let snapshots = open();
    let mut random = fastrand::Rng::with_seed(3);
    for name in ["a", "b", "c"] {
        let thread = snapshots.thread(name).expect("thread");
        thread.set("", "[]").expect("set");
        for day in 50..60 {
            let item: String = (0..500).map(|_| random.alphanumeric()).collect();
            let item = format!("\"{item}\"");
            thread.append("", &[item]).expect("append");
            let commit = CommitOptions::new().time(day * DAY);
            thread.commit(commit).expect("commit");
        }
    }
    let id = snapshots.thread("b").expect("thread").head().expect("head");
    let prefix = format!("s/{}/", &id.to_string()[..16]);
    let key = backing.list(&prefix).expect("list").remove(0).key;
    let mut bytes = backing.get(&key).expect("get").expect("there").to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    backing.put(&key, &bytes).expect("put");
    let again = open();
    let quota = Retention::new().max_bytes(100);
    let report = again.retain(&quota, 60 * DAY).expect("retain");
    assert_eq!(report.removed, 0, "{report:?}");
    assert!(
        !report.within_quota && !report.failed.is_empty(),
        "{report:?}"
    );
    again.delete_thread("b").expect("delete");
    let report = again.retain(&quota, 60 * DAY).expect("retain");
    assert_eq!(report.removed, 18, "{report:?}");
}

#[test]
fn a_thread_of_large_versions_does_not_go_back_and_forth() {
    let backing = Arc::new(MemoryBacking::new());
    let snapshots = Snapshots::open(backing.clone(), options()).expect("open");
    let thread = snapshots.thread("t").expect("thread");
    thread.set("", "[]").expect("set");
    let mut random = fastrand::Rng::with_seed(8);
    for step in 0..200 {
        let len = if step % 4 == 3 { 16_000 } else { 500 };
        let item: String = (0..len).map(|_| random.alphanumeric()).collect();
        thread.append("", &[format!("\"{item}\"")]).expect("append");
        thread.commit(CommitOptions::new()).expect("commit");
    }
    let segments = backing.list("s/").expect("list").len();
    assert!(segments <= 8, "{segments} segments");
}

#[test]
fn a_sweep_comes_every_half_hour() {
    let now = Arc::new(AtomicU64::new(40 * DAY));
    let clock = now.clone();
    let timed = options().clock(move || clock.load(Ordering::Relaxed));
    let snapshots = Snapshots::open(MemoryBacking::new(), timed).expect("open");
    let thread = snapshots.thread("t").expect("thread");
    for day in 0..3 {
        let state = format!("[{day}]");
        let options = CommitOptions::new().time(day * DAY);
        thread
            .commit_full(state.as_bytes(), options)
            .expect("commit");
    }
    let mut sweeper = Sweeper::new(Retention::new());
    let mut sweep = |minutes: u64| {
        now.fetch_add(minutes * 60_000, Ordering::Relaxed);
        let report = sweeper.sweep(&snapshots).expect("sweep");
        report.map(|report| report.removed)
    };
    assert_eq!([sweep(0), sweep(29), sweep(1)], [Some(2), None, Some(0)]);
    let mut hourly = Sweeper::new(Retention::new()).every(Duration::from_secs(3600));
    assert!(hourly.sweep(&snapshots).expect("sweep").is_some());
    now.fetch_add(59 * 60_000, Ordering::Relaxed);
    assert!(hourly.sweep(&snapshots).expect("sweep").is_none());
}

#[test]
fn ids_as_langgraph_users_know_them() {
    let backing = Arc::new(MemoryBacking::new());
    let open = || Snapshots::open(backing.clone(), options()).expect("open");
    let snapshots = open();
    let (main, inner) = (
        snapshots.thread_in("42", "").expect("thread"),
        snapshots.thread_in("42", "sub").expect("thread"),
    );
    assert_eq!(main.id(), "42");
    let checkpoint = "1ef4f797-8335-6428-8001-8a1503f9b875";
    for (thread, state) in [(&main, "[1]"), (&inner, "[2]")] {
        let options = CommitOptions::new().checkpoint(checkpoint).time(1);
        thread
            .commit_full(state.as_bytes(), options)
            .expect("commit");
        thread
            .commit_full(b"[]", CommitOptions::new().time(2))
            .expect("commit");
    }
    assert!(snapshots.thread_in("a\u{1f}", "b").is_err());
    let long = "x".repeat(5000);
    let refused = main.commit(CommitOptions::new().checkpoint(&long));
    assert!(matches!(refused, Err(Error::TooLarge { .. })));
    drop((main, inner, snapshots));
    let snapshots = open();
    for (namespace, state) in [("", "[1]"), ("sub", "[2]")] {
        let thread = snapshots.thread_in("42", namespace).expect("thread");
        thread.seal().expect("seal");
        let version = thread.version(checkpoint).expect("version");
        assert_eq!(version.checkpoint.as_deref(), Some(checkpoint));
        assert_eq!(thread.restore(version.id).expect("restore"), state);
        assert!(thread.version("no such").is_err());
    }
    // Unlike a label, it keeps nothing.
    let none = Retention::new().delete_after(Duration::ZERO);
    assert_eq!(snapshots.retain(&none, 9).expect("retain").removed, 2);
    let main = snapshots.thread_in("42", "").expect("thread");
    assert!(main.version(checkpoint).is_err());
}

#[test]
fn a_state_is_read_and_written_in_pieces() {
    let snapshots = memory();
    let thread = snapshots.thread("t").expect("thread");
    let mut random = fastrand::Rng::with_seed(11);
    let mut state: Vec<u8> = (0..3_000_000).map(|_| random.u8(..)).collect();
    let first = thread
        .commit_reader(&state[..], CommitOptions::new())
        .expect("commit");
    let once = snapshots.stats().expect("stats").total;
    state[1_500_000] ^= 1;
    state.extend_from_slice(b"more");
    let second = thread
        .commit_reader(&state[..], CommitOptions::new())
        .expect("commit");
    let twice = snapshots.stats().expect("stats").total;
    assert!(twice - once < 800_000, "{} more bytes", twice - once);
    let mut written = Vec::new();
    let len = snapshots.restore_to(second, &mut written).expect("restore");
    assert!(written == state && len == state.len() as u64);
    assert_eq!(snapshots.restore(first).expect("restore").len(), 3_000_000);
    let limited = options().max_state_bytes(2 << 20);
    let limited = Snapshots::open(MemoryBacking::new(), limited).expect("open");
    let thread = limited.thread("t").expect("thread");
    thread.set("", "[1]").expect("set");
    let refused = thread.commit_reader(&state[..], CommitOptions::new());
    assert!(matches!(refused, Err(Error::TooLarge { .. })));
    let kept = thread.commit(CommitOptions::new()).expect("commit");
    assert_eq!(limited.restore(kept).expect("restore"), "[1]");
}

#[test]
fn members_of_a_large_object_are_found_by_an_index() {
    let snapshots = memory();
    let thread = snapshots.thread("t").expect("thread");
    let state = |round: usize| {
        let member = |key: usize| format!("\"k{key}\":\"{}\"", key * (1 + round * (key % 3)));
        let members: Vec<String> = (0..3000).map(member).collect();
        format!("{{{}}}", members.join(","))
    };
    for round in 0..3 {
        let id = thread
            .commit_full(state(round).as_bytes(), CommitOptions::new())
            .expect("commit");
        assert!(snapshots.restore(id).expect("restore") == state(round));
    }
    // Keys that come and go while they are looked for.
    for key in 0..100 {
        thread.set(&format!("/k{key}"), "1").expect("set");
        thread.set(&format!("/new{key}"), "2").expect("set");
        thread.remove(&format!("/k{}", 2000 + key)).expect("remove");
        assert!(thread.remove(&format!("/k{}", 2000 + key)).is_err());
        thread.set(&format!("/new{key}"), "3").expect("set");
    }
    let id = thread.commit(CommitOptions::new()).expect("commit");
    let restored = snapshots.restore(id).expect("restore");
    let read: std::collections::HashMap<String, serde_json::Value> =
        serde_json::from_slice(&restored).expect("JSON");
    assert_eq!(read.len(), 3000);
    assert!((0..100).all(|key| read[&format!("new{key}")] == 3 && read[&format!("k{key}")] == 1));
}
