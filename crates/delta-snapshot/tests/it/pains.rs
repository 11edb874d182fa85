//! Complaints from trackers of agent runtimes, each as a scenario that must pass here.

use mainspring_delta_snapshot::{Backing, CommitOptions, MemoryBacking, Snapshots};
use std::sync::Arc;

use crate::basics::{memory, options};
use crate::recorded::{floor, session_message};

/// 98 GB of inline base64: the same image appended 1,000 times is stored once.
#[test]
fn codex_40111_the_same_image_a_thousand_times_is_stored_once() {
    let snapshots = memory();
    let mut random = fastrand::Rng::with_seed(1);
    let image: String = (0..200_000).map(|_| random.alphanumeric()).collect();
    let message = format!(r#"{{"role":"user","content":[{{"type":"image","data":"{image}"}}]}}"#);
    let (one, two) = (
        snapshots.thread("one").expect("thread"),
        snapshots.thread("two").expect("thread"),
    );
    let mut last = None;
    for thread in [&one, &two] {
        thread.set("", r#"{"messages":[]}"#).expect("set");
        for _ in 0..500 {
            thread.append("/messages", &[&message]).expect("append");
            last = Some(thread.commit(CommitOptions::new()).expect("commit"));
        }
    }
    let stats = snapshots.stats().expect("stats");
    assert!(stats.total < 300_000, "{stats:?}");
    let items = snapshots
        .restore_last_items(last.expect("last"), "/messages", 2)
        .expect("items");
    assert!(items.iter().all(|item| item == message.as_bytes()));
}

/// Forks re-emit their parents: 100 forks of a 10 MB session cost less than 1 MB.
#[test]
fn codex_34061_a_hundred_forks_of_ten_megabytes_cost_less_than_one() {
    let snapshots = memory();
    let parent = snapshots.thread("parent").expect("thread");
    parent.set("", r#"{"messages":[]}"#).expect("set");
    let mut random = fastrand::Rng::with_seed(2);
    let items: Vec<String> = (0..2_500)
        .map(|i| session_message(&mut random, i, 4_000))
        .collect();
    parent.append("/messages", &items).expect("append");
    let head = parent.commit(CommitOptions::new()).expect("commit");
    let before = snapshots.stats().expect("stats");
    assert!(before.logical > 10_000_000);
    for i in 0..100 {
        let fork = snapshots.fork(head, &format!("fork {i}")).expect("fork");
        if i % 25 == 0 {
            fork.append("/messages", &[format!("\"fork {i}\"")])
                .expect("append");
            let id = fork.commit(CommitOptions::new()).expect("commit");
            let last = snapshots
                .restore_last_items(id, "/messages", 1)
                .expect("items");
            assert_eq!(last, [format!("\"fork {i}\"")]);
        }
    }
    let after = snapshots.stats().expect("stats");
    // 4 of the 100 commit here: each costs far less than a hundredth of the budget.
    assert!(
        (after.total - before.total) / 4 < 10_000,
        "{} bytes a fork",
        (after.total - before.total) / 4
    );
}

/// 31-533 GB of orphaned snapshots: garbage is collected, orphans are cleaned at open.
#[test]
fn hive_mind_2186_orphans_are_collected() {
    let backing = Arc::new(MemoryBacking::new());
    let snapshots = Snapshots::open(backing.clone(), options().block_bytes(1024)).expect("open");
    let thread = snapshots.thread("t").expect("thread");
    thread.set("", r#"{"big":"","n":0}"#).expect("set");
    for i in 0..10 {
        thread
            .set(
                "/big",
                format!("\"{}\"", format!("{i} large value ").repeat(1000)),
            )
            .expect("set");
        thread.commit(CommitOptions::new()).expect("commit");
    }
    assert_eq!(backing.list("b/").expect("list").len(), 10);
    let report = thread.prune(|_| false).expect("prune");
    assert_eq!((report.removed, report.kept), (9, 1));
    let report = snapshots.gc().expect("gc");
    assert_eq!(report.blocks, 9);
    assert!(report.bytes > 0);
    assert_eq!(backing.list("b/").expect("list").len(), 1);
    // A replaced segment that a crash left behind.
    let key = backing.list("s/").expect("list")[0].key.clone();
    let old = key
        .rsplit_once('/')
        .map(|(thread, _)| format!("{thread}/1"))
        .expect("key");
    let bytes = backing.get(&key).expect("get").expect("there");
    backing.put(&old, &bytes).expect("put");
    let again = Snapshots::open(backing.clone(), options()).expect("open");
    assert_eq!(again.gc().expect("gc").segments, 1);
    assert_eq!(backing.list("s/").expect("list").len(), 1);
    assert!(again.verify().expect("verify").is_clean());
}

/// 17 GB for one thread of 1,732 steps: 2,000 steps of a growing state take at most 1.6 times the floor.
#[test]
fn gaia_818_two_thousand_steps_stay_near_the_floor() {
    let snapshots = memory();
    let thread = snapshots.thread("t").expect("thread");
    thread
        .set("", r#"{"header":{},"messages":[]}"#)
        .expect("set");
    let mut random = fastrand::Rng::with_seed(3);
    let mut expected = Vec::new();
    for step in 0..2_000 {
        thread
            .set(
                "/header",
                format!(r#"{{"step":{step},"status":"running"}}"#),
            )
            .expect("set");
        let item = session_message(&mut random, step, 600);
        thread.append("/messages", &[&item]).expect("append");
        expected.extend_from_slice(item.as_bytes());
        expected.push(b',');
        thread
            .commit(CommitOptions::new().time(step as u64 * 1000))
            .expect("commit");
    }
    expected.pop();
    let head = snapshots
        .restore(thread.head().expect("head"))
        .expect("restore");
    let end = head.len() - 2;
    assert!(head[end - expected.len()..end] == expected[..]);
    let floor = floor(&head);
    let live = snapshots.stats().expect("stats").total;
    assert!(live * 10 <= floor * 16, "live {live}, floor {floor}");
    thread.seal().expect("seal");
    let sealed = snapshots.stats().expect("stats").total;
    assert!(
        sealed * 100 <= floor * 135,
        "sealed {sealed}, floor {floor}"
    );
}
