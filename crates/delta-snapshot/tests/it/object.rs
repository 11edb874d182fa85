//! The backing over `object_store`, on its in-memory and its local store.

use std::sync::Arc;

use mainspring_delta_snapshot::{Backing, CommitOptions, ObjectBacking, Snapshots};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;

use crate::basics::options;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("runtime")
}

fn works_on(store: Arc<dyn ObjectStore>) {
    let runtime = runtime();
    let backing = || ObjectBacking::new(store.clone(), "some/root", runtime.handle().clone());
    let snapshots = Snapshots::open(backing(), options().block_bytes(1024)).expect("open");
    let thread = snapshots.thread("t").expect("thread");
    thread.set("", "[]").expect("set");
    let mut seen = Vec::new();
    let mut items = Vec::new();
    for n in 0..12 {
        items.push(format!(
            "\"{}\"",
            format!("item {n} ").repeat(if n == 5 { 300 } else { 3 })
        ));
        thread.append("", &items[n..]).expect("append");
        seen.push((
            thread.commit(CommitOptions::new()).expect("commit"),
            format!("[{}]", items.join(",")),
        ));
    }
    let check = |snapshots: &Snapshots, from: usize| {
        for (id, bytes) in &seen[from..] {
            assert_eq!(snapshots.restore(*id).expect("restore"), bytes);
        }
        assert!(snapshots.verify().expect("verify").is_clean());
    };
    check(&snapshots, 0);
    assert_eq!(
        backing().list("").expect("list").len(),
        2,
        "one segment, one block"
    );
    thread.seal().expect("seal");
    check(&snapshots, 0);
    let again = Snapshots::open(backing(), options()).expect("open");
    check(&again, 0);
    let report = again
        .thread("t")
        .expect("thread")
        .prune(|version| version.id >= seen[8].0)
        .expect("prune");
    assert_eq!(report.removed, 8);
    check(&again, 8);
    again.delete_thread("t").expect("delete");
    again.gc().expect("gc");
    assert!(backing().list("").expect("list").is_empty());
}

#[test]
fn versions_live_in_an_in_memory_object_store() {
    works_on(Arc::new(InMemory::new()));
}

#[test]
fn versions_live_in_a_local_object_store() {
    let folder = tempfile::tempdir().expect("tempdir");
    works_on(Arc::new(
        LocalFileSystem::new_with_prefix(folder.path()).expect("store"),
    ));
}

#[test]
fn values_are_put_appended_to_and_replaced() {
    let runtime = runtime();
    let backing = ObjectBacking::new(Arc::new(InMemory::new()), "", runtime.handle().clone());
    assert_eq!(backing.get("s/a/1").expect("get"), None);
    backing.append("s/a/1", b"one ").expect("append");
    backing.append("s/a/1", b"two").expect("append");
    backing.put("s/a/10", b"other").expect("put");
    assert_eq!(
        backing.get("s/a/1").expect("get").expect("there"),
        "one two"
    );
    assert_eq!(backing.list("s/a/1").expect("list").len(), 2);
    backing.put("s/a/1", b"new").expect("put");
    backing.append("s/a/1", b"er").expect("append");
    assert_eq!(backing.get("s/a/1").expect("get").expect("there"), "newer");
    assert_eq!(backing.list("s/a/").expect("list")[0].len, 5);
    backing.delete("s/a/1").expect("delete");
    assert_eq!(backing.get("s/a/1").expect("get"), None);
    let inside = runtime.block_on(async { backing.get("s/a/10") });
    assert!(
        inside.is_err(),
        "an async task is told to use spawn_blocking"
    );
}

#[test]
fn a_blocking_task_of_a_runtime_may_call() {
    let runtime = runtime();
    let backing = ObjectBacking::new(Arc::new(InMemory::new()), "", runtime.handle().clone());
    let called = runtime.block_on(async {
        let task = tokio::task::spawn_blocking(move || {
            backing.append("s/a/1", b"one")?;
            backing.get("s/a/1")
        });
        task.await.expect("the task")
    });
    assert_eq!(called.expect("as documented").expect("there"), "one");
}
