use std::collections::BTreeMap;
use std::sync::Arc;

use mainspring_delta_snapshot::{
    Change, Cipher, CommitOptions, DirBacking, Error, Kind, MemoryBacking, Options, Retention,
    Snapshots, VersionId,
};

pub(crate) fn memory() -> Snapshots {
    Snapshots::open(MemoryBacking::new(), options()).expect("open")
}

pub(crate) fn options() -> Options {
    Options::new().clock(|| 1_700_000_000_000)
}

#[test]
fn bytes_come_back_as_they_went_in() {
    let snapshots = memory();
    let thread = snapshots.thread("t").expect("thread");
    thread
        .set("", " {\"b\" : 1.50e+3, \"a\":[ 1 , 2 ],\n\"a\":[] } ")
        .expect("set");
    let v1 = thread.commit(CommitOptions::new()).expect("commit");
    assert_eq!(
        snapshots.restore(v1).expect("restore"),
        " {\"b\" : 1.50e+3, \"a\":[ 1 , 2 ],\n\"a\":[] } "
    );
    thread
        .append("/a", &[" 0.10 ", "\"\\u00e9\""])
        .expect("append");
    thread.set("/b", "-0").expect("set");
    thread.set("/c~1\"d", "true").expect("set");
    let v2 = thread.commit(CommitOptions::new()).expect("commit");
    let expected = " {\"b\" :-0, \"a\":[ 1 , 2 ],\n\"a\":[ 0.10 ,\"\\u00e9\"] ,\"c/\\\"d\":true} ";
    assert_eq!(snapshots.restore(v2).expect("restore"), expected);
    thread.remove("/a/0").expect("remove");
    let v3 = thread.commit(CommitOptions::new()).expect("commit");
    assert_eq!(
        snapshots.restore(v3).expect("restore"),
        expected.replace(" 0.10 ,", "")
    );
}

#[test]
fn a_refused_operation_changes_nothing() {
    let snapshots = memory();
    let thread = snapshots.thread("t").expect("thread");
    thread
        .set("", r#"{"list":[1,[2]],"x":{"y":3}}"#)
        .expect("set");
    let v1 = thread.commit(CommitOptions::new()).expect("commit");
    assert!(matches!(
        thread.append("/nowhere", &["1"]),
        Err(Error::NotFound { .. })
    ));
    assert!(matches!(
        thread.append("/x", &["1"]),
        Err(Error::InvalidOperation { .. })
    ));
    assert!(matches!(
        thread.append("/list", &["1,2"]),
        Err(Error::InvalidJson { offset: 1, .. })
    ));
    assert!(matches!(
        thread.set("/list/7", "1"),
        Err(Error::InvalidOperation { .. })
    ));
    assert!(matches!(
        thread.set("/x/y/z", "1"),
        Err(Error::InvalidOperation { .. })
    ));
    assert!(matches!(
        thread.remove("/list/2"),
        Err(Error::NotFound { .. })
    ));
    assert!(matches!(
        thread.splice("/list", 1..3, &["1"]),
        Err(Error::InvalidOperation { .. })
    ));
    assert!(matches!(
        thread.append_bytes("x"),
        Err(Error::InvalidOperation { .. })
    ));
    assert!(!thread.is_changed());
    let v2 = thread.commit(CommitOptions::new()).expect("commit");
    assert_eq!(
        snapshots.restore(v1).expect("v1"),
        snapshots.restore(v2).expect("v2")
    );
}

#[test]
fn only_the_first_of_two_conditional_commits_wins() {
    let snapshots = memory();
    let thread = snapshots.thread("t").expect("thread");
    thread.set("", "1").expect("set");
    let none = CommitOptions::new().expect_parent(None);
    let v1 = thread.commit(none.clone()).expect("first");
    assert!(matches!(thread.commit(none), Err(Error::Conflict { .. })));
    let after = CommitOptions::new().expect_parent(Some(v1));
    let v2 = thread.commit_full(b"2", after.clone()).expect("second");
    assert!(matches!(
        thread.commit_full(b"3", after),
        Err(Error::Conflict { .. })
    ));
    assert_eq!(thread.head(), Some(v2));
    assert!(
        !thread.is_changed(),
        "a refused commit_full leaves the working state alone"
    );
}

#[test]
fn versions_know_time_size_label_kind_and_parent() {
    let snapshots = memory();
    let thread = snapshots.thread("t").expect("thread");
    thread.set("", "[]").expect("set");
    let v1 = thread
        .commit(CommitOptions::new().time(10).label("start"))
        .expect("commit");
    thread.append("", &["1"]).expect("append");
    let v2 = thread.commit(CommitOptions::new().time(5)).expect("commit");
    let versions = thread.versions().expect("versions");
    let row = |i: usize| {
        (
            versions[i].id,
            versions[i].parent,
            versions[i].time,
            versions[i].size,
            versions[i].kind,
            versions[i].base,
        )
    };
    assert_eq!(row(0), (v1, None, 10, 2, Kind::Full, None));
    assert_eq!(row(1), (v2, Some(v1), 5, 3, Kind::Incremental, Some(v1)));
    assert_eq!(thread.labelled("start"), Some(v1));
    let printed = v2.to_string();
    assert_eq!(printed.parse::<VersionId>().expect("parse"), v2);
    assert_eq!(thread.version(&printed).expect("version").size, 3);
    assert!(v1.to_string() < printed);
}

#[test]
fn last_items_without_the_rest() {
    let snapshots = memory();
    let thread = snapshots.thread("t").expect("thread");
    thread
        .set("", r#"{"messages":[ 1, {"a":2} ]}"#)
        .expect("set");
    let v1 = thread.commit(CommitOptions::new()).expect("commit");
    thread.append("/messages", &["3", "[4]"]).expect("append");
    let v2 = thread.commit(CommitOptions::new()).expect("commit");
    assert_eq!(
        snapshots
            .restore_last_items(v1, "/messages", 1)
            .expect("last"),
        ["{\"a\":2}"]
    );
    assert_eq!(
        snapshots
            .restore_last_items(v2, "/messages", 3)
            .expect("last"),
        ["{\"a\":2}", "3", "[4]"]
    );
    assert_eq!(
        snapshots
            .restore_last_items(v2, "/messages", 99)
            .expect("last")
            .len(),
        4
    );
    assert!(snapshots.restore_last_items(v2, "", 1).is_err());
}

#[test]
fn a_difference_applied_gives_the_other_version() {
    let snapshots = memory();
    let thread = snapshots.thread("t").expect("thread");
    let a = thread
        .commit_full(
            br#"{"h":{"n":1},"m":[1,"an item that is longer"]}"#,
            CommitOptions::new(),
        )
        .expect("commit");
    let b = thread
        .commit_full(
            br#"{"h":{"n":2},"m":[1,"an item that is longer",3]}"#,
            CommitOptions::new(),
        )
        .expect("commit");
    let changes = snapshots.diff(a, b).expect("diff");
    let set = Change::Set {
        path: "/h".into(),
        value: r#"{"n":2}"#.into(),
    };
    let append = Change::Append {
        path: "/m".into(),
        items: vec!["3".into()],
    };
    assert_eq!(changes, [set, append]);
    assert!(snapshots.diff(b, b).expect("diff").is_empty());
}

#[test]
fn a_directory_keeps_versions_and_refuses_a_second_process() {
    let folder = tempfile::tempdir().expect("tempdir");
    let snapshots =
        Snapshots::open(DirBacking::open(folder.path()).expect("dir"), options()).expect("open");
    assert!(DirBacking::open(folder.path()).is_err());
    let thread = snapshots
        .thread("a thread / with : odd ü name")
        .expect("thread");
    thread.set("", "{\"n\":[]}").expect("set");
    let mut ids = Vec::new();
    for i in 0..5 {
        thread.append("/n", &[i.to_string()]).expect("append");
        ids.push(thread.commit(CommitOptions::new()).expect("commit"));
    }
    snapshots.sync().expect("sync");
    drop((thread, snapshots));
    let snapshots =
        Snapshots::open(DirBacking::open(folder.path()).expect("dir"), options()).expect("open");
    assert_eq!(
        snapshots.threads().expect("threads"),
        ["a thread / with : odd ü name"]
    );
    let thread = snapshots
        .thread("a thread / with : odd ü name")
        .expect("thread");
    assert_eq!(thread.head(), ids.last().copied());
    thread.append("/n", &["5"]).expect("append");
    ids.push(thread.commit(CommitOptions::new()).expect("commit"));
    thread.seal().expect("seal");
    assert_eq!(
        snapshots.restore(ids[5]).expect("restore"),
        r#"{"n":[0,1,2,3,4,5]}"#
    );
    assert_eq!(
        snapshots.restore(ids[1]).expect("restore"),
        r#"{"n":[0,1]}"#
    );
    assert!(snapshots.verify().expect("verify").is_clean());
}

#[test]
fn byte_states_are_spliced_and_patched() {
    let snapshots = memory();
    let thread = snapshots.thread("t").expect("thread");
    let mut model: Vec<u8> = (0..100_000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let mut seen = BTreeMap::new();
    thread.append_bytes(&model).expect("append");
    seen.insert(
        thread.commit(CommitOptions::new()).expect("commit"),
        model.clone(),
    );
    for i in 0..40usize {
        let at = (i * 7919) % model.len();
        let end = (at + i * 31).min(model.len());
        let data = vec![i as u8; (i * 53) % 9000];
        thread
            .splice_bytes(at as u64..end as u64, &data)
            .expect("splice");
        model.splice(at..end, data);
        seen.insert(
            thread.commit(CommitOptions::new()).expect("commit"),
            model.clone(),
        );
    }
    for i in 0..10 {
        // Scattered changes: a patch.
        for at in (i..model.len()).step_by(10_007) {
            model[at] ^= 0x55;
        }
        seen.insert(
            thread
                .commit_full(&model, CommitOptions::new())
                .expect("commit"),
            model.clone(),
        );
    }
    for (id, bytes) in &seen {
        assert!(snapshots.restore(*id).expect("restore") == bytes, "{id}");
    }
    assert!(snapshots.stats().expect("stats").total < 450_000);
}

#[derive(Debug)]
struct Toy;

impl Cipher for Toy {
    fn seal(&self, context: &str, plain: &[u8]) -> Result<Vec<u8>, String> {
        let mut sealed: Vec<u8> = plain.iter().map(|byte| byte ^ 0xa5).collect();
        sealed.push(context.bytes().fold(0, |a, b| a ^ b));
        Ok(sealed)
    }

    fn open(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>, String> {
        match sealed.split_last() {
            Some((tag, rest)) if *tag == context.bytes().fold(0, |a, b| a ^ b) => {
                Ok(rest.iter().map(|byte| byte ^ 0xa5).collect())
            }
            _ => Err("wrong tag".into()),
        }
    }

    fn address_key(&self) -> [u8; 32] {
        [7; 32]
    }
}

#[test]
fn a_cipher_covers_every_record() {
    let backing = Arc::new(MemoryBacking::new());
    let with = || options().cipher(Arc::new(Toy)).block_bytes(1024);
    let secret = "a secret that must not be seen ".repeat(100);
    let snapshots = Snapshots::open(backing.clone(), with()).expect("open");
    let thread = snapshots.thread("t").expect("thread");
    thread.set("", format!("[\"{secret}\"]")).expect("set");
    let v1 = thread
        .commit(CommitOptions::new().label("secret label"))
        .expect("commit");
    let again = Snapshots::open(backing.clone(), with()).expect("open");
    assert_eq!(
        again.restore(v1).expect("restore"),
        format!("[\"{secret}\"]")
    );
    use mainspring_delta_snapshot::Backing;
    for entry in backing.list("").expect("list") {
        let bytes = backing.get(&entry.key).expect("get").expect("there");
        assert!(
            !bytes.windows(6).any(|window| window == b"secret"),
            "{}",
            entry.key
        );
    }
    let without = Snapshots::open(backing, options()).expect("open");
    assert!(without.restore(v1).is_err());
}

#[test]
fn branches_of_a_thread_live_side_by_side() {
    let snapshots = memory();
    let thread = snapshots.thread("t").expect("thread");
    thread.set("", "[]").expect("set");
    let v1 = thread.commit(CommitOptions::new()).expect("commit");
    thread.append("", &["1"]).expect("append");
    let v2 = thread.commit(CommitOptions::new()).expect("commit");
    thread.checkout(v1).expect("checkout");
    thread.append("", &["2"]).expect("append");
    let v3 = thread.commit(CommitOptions::new()).expect("commit");
    thread.seal().expect("seal");
    for (id, bytes) in [(v1, "[]"), (v2, "[1]"), (v3, "[2]")] {
        assert_eq!(snapshots.restore(id).expect("restore"), bytes);
    }
    let parents: Vec<_> = thread
        .versions()
        .expect("versions")
        .into_iter()
        .map(|v| v.parent)
        .collect();
    assert_eq!(parents, [None, Some(v1), Some(v1)]);
    assert_eq!(thread.head(), Some(v3));
}

#[test]
fn retention_seals_after_a_week_and_deletes_after_a_month() {
    const DAY: u64 = 24 * 60 * 60 * 1000;
    let snapshots = memory();
    let thread = snapshots.thread("t").expect("thread");
    thread.set("", "[]").expect("set");
    for day in 0..40u64 {
        thread
            .append("", &[format!("\"{day} {}\"", "text ".repeat(50))])
            .expect("append");
        let labelled = CommitOptions::new().time(day * DAY).label("keep");
        let plain = CommitOptions::new().time(day * DAY);
        thread
            .commit(if day == 3 { labelled } else { plain })
            .expect("commit");
    }
    let report = snapshots
        .retain(&Retention::new(), 40 * DAY)
        .expect("retain");
    assert_eq!((report.removed, report.sealed), (9, 0));
    let kept: Vec<u64> = thread
        .versions()
        .expect("versions")
        .iter()
        .map(|v| v.time / DAY)
        .collect();
    assert_eq!(kept[..3], [3, 10, 11]);
    let report = snapshots
        .retain(&Retention::new(), 47 * DAY)
        .expect("retain");
    assert_eq!(report.sealed, 0, "the prune has sealed it already");
    let report = snapshots
        .retain(&Retention::new().max_bytes(1), 47 * DAY)
        .expect("retain");
    assert!(!report.within_quota, "{report:?}");
    assert_eq!(thread.versions().expect("versions").len(), 2);
    assert!(snapshots.verify().expect("verify").is_clean());
    assert_eq!(
        snapshots
            .restore_last_items(thread.head().expect("head"), "", 50)
            .expect("items")
            .len(),
        40
    );
}

#[test]
fn a_deleted_thread_is_gone_unless_a_fork_needs_it() {
    let snapshots = memory();
    let thread = snapshots.thread("t").expect("thread");
    thread.set("", "[1]").expect("set");
    let v1 = thread.commit(CommitOptions::new()).expect("commit");
    let fork = snapshots.fork(v1, "f").expect("fork");
    assert!(matches!(
        snapshots.delete_thread("t"),
        Err(Error::InUse { .. })
    ));
    fork.append("", &["2"]).expect("append");
    fork.commit(CommitOptions::new()).expect("commit");
    assert!(matches!(
        snapshots.delete_thread("t"),
        Err(Error::InUse { .. })
    ));
    snapshots.delete_thread("f").expect("delete");
    snapshots.delete_thread("t").expect("delete");
    assert_eq!(snapshots.stats().expect("stats").total, 0);
    assert!(snapshots.thread("t").expect("thread").head().is_none());
}

#[test]
fn threads_commit_while_others_are_sealed_pruned_and_collected() {
    let snapshots = Snapshots::open(
        MemoryBacking::new(),
        options().block_bytes(1024).max_streams(2),
    )
    .expect("open");
    let worker = |n: usize| {
        let snapshots = snapshots.clone();
        move || {
            let thread = snapshots.thread(&format!("t{n}")).expect("thread");
            thread.set("", "[]").expect("set");
            let mut items: Vec<String> = Vec::new();
            for i in 0..40 {
                items.push(format!(
                    "\"{}\"",
                    format!("{n} {} ", i % 7).repeat(if i % 5 == 0 { 400 } else { 2 })
                ));
                thread.append("", &items[i..]).expect("append");
                let id = thread.commit(CommitOptions::new()).expect("commit");
                assert_eq!(
                    snapshots.restore(id).expect("restore"),
                    format!("[{}]", items.join(","))
                );
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|n| scope.spawn(worker(n))).collect();
        while workers.iter().any(|worker| !worker.is_finished()) {
            for n in 0..4 {
                let thread = snapshots.thread(&format!("t{n}")).expect("thread");
                thread.seal().expect("seal");
                thread
                    .prune(|version| version.id.sequence() % 3 == 0)
                    .expect("prune");
            }
            snapshots.gc().expect("gc");
            assert!(snapshots.verify().expect("verify").is_clean());
        }
    });
    assert!(snapshots.verify().expect("verify").is_clean());
}
