//! Every flipped byte is detected and named, with the versions it affects.

use std::collections::BTreeSet;
use std::sync::Arc;

use mainspring_delta_snapshot::{Backing, CommitOptions, MemoryBacking, Snapshots, VersionId};

use crate::basics::options;

fn open(backing: &Arc<MemoryBacking>) -> Snapshots {
    Snapshots::open(backing.clone(), options().block_bytes(1024)).expect("open")
}

/// A live thread with a block, a sealed one and a fork of it.
fn prepared() -> (Arc<MemoryBacking>, Vec<(VersionId, String)>) {
    let backing = Arc::new(MemoryBacking::new());
    let snapshots = open(&backing);
    let mut seen = Vec::new();
    for name in ["live", "sealed"] {
        let thread = snapshots.thread(name).expect("thread");
        let mut items = Vec::new();
        for n in 0..6 {
            items.push(if n == 3 {
                format!("\"{name}{}\"", "x".repeat(1500))
            } else {
                format!("\"{name} {n}\"")
            });
            let state = format!("{{\"n\":{n},\"items\":[{}]}}", items.join(","));
            let id = thread
                .commit_full(state.as_bytes(), CommitOptions::new().label("l"))
                .expect("commit");
            seen.push((id, state));
        }
    }
    snapshots
        .thread("sealed")
        .expect("thread")
        .seal()
        .expect("seal");
    let fork = snapshots.fork(seen[8].0, "fork").expect("fork");
    let id = fork
        .commit_full(b"[1,2,3]", CommitOptions::new())
        .expect("commit");
    seen.push((id, "[1,2,3]".into()));
    (backing, seen)
}

#[test]
fn every_flipped_byte_is_detected_and_named() {
    let (backing, seen) = prepared();
    let all: BTreeSet<VersionId> = seen.iter().map(|(id, _)| *id).collect();
    let mut flips = 0;
    for entry in backing.list("").expect("list") {
        let good = backing.get(&entry.key).expect("get").expect("there");
        for at in 0..good.len() {
            let mut bad = good.to_vec();
            bad[at] ^= 1 << (at % 8);
            backing.put(&entry.key, &bad).expect("put");
            let snapshots = open(&backing);
            let report = snapshots.verify().expect("verify");
            let named = report.damage.iter().find(|damage| damage.key == entry.key);
            let damage =
                named.unwrap_or_else(|| panic!("{} byte {at}: not found: {report:?}", entry.key));
            assert!(
                damage.offset <= at as u64,
                "{} byte {at}: {damage:?}",
                entry.key
            );
            // A version either comes back right or not at all; what the report does not name comes back.
            let lost: BTreeSet<VersionId> = report
                .damage
                .iter()
                .flat_map(|damage| damage.versions.clone())
                .collect();
            for (id, bytes) in &seen {
                match snapshots.restore(*id) {
                    Ok(restored) => {
                        assert!(restored == bytes, "{} byte {at}: {id} is wrong", entry.key)
                    }
                    // Nobody knows what stood behind a header that cannot be read (offsets 0 to 5), and the very last
                    // record of a log may look like a write that never finished.
                    Err(_) => {
                        let unknown = damage.offset <= 5 || damage.at_end;
                        assert!(
                            lost.contains(id) || unknown,
                            "{} byte {at}: {id} is not named",
                            entry.key
                        );
                    }
                }
            }
            assert!(lost.is_subset(&all));
            flips += 1;
        }
        backing.put(&entry.key, &good).expect("put");
    }
    assert!(flips > 500);
    assert!(open(&backing).verify().expect("verify").is_clean());
}

#[test]
fn damage_met_while_open_names_every_version_behind_it() {
    let (backing, seen) = prepared();
    let snapshots = open(&backing);
    for name in ["live", "sealed", "fork"] {
        snapshots
            .thread(name)
            .expect("thread")
            .versions()
            .expect("versions");
    }
    let live = format!(
        "{:016x}",
        u64::from_str_radix(&seen[0].0.to_string()[..16], 16).expect("hex")
    );
    let entry = backing.list(&format!("s/{live}/")).expect("list").remove(0);
    let good = backing.get(&entry.key).expect("get").expect("there");
    // The end is cut off: the last version is known to be missing.
    backing
        .put(&entry.key, &good[..good.len() - 3])
        .expect("put");
    let report = snapshots.verify().expect("verify");
    assert_eq!(report.damage.len(), 1);
    assert_eq!(report.damage[0].versions, [seen[5].0]);
    // All of it is gone.
    backing.delete(&entry.key).expect("delete");
    let report = snapshots.verify().expect("verify");
    let lost: Vec<VersionId> = seen[..6].iter().map(|(id, _)| *id).collect();
    assert_eq!(report.damage[0].versions, lost);
    backing.put(&entry.key, &good).expect("put");
    assert!(snapshots.verify().expect("verify").is_clean());
}

#[test]
fn a_damaged_base_takes_the_fork_with_it_and_a_missing_block_is_named() {
    let (backing, seen) = prepared();
    let sealed = seen[6].0.to_string()[..16].to_owned();
    let entry = backing
        .list(&format!("s/{sealed}/"))
        .expect("list")
        .remove(0);
    let good = backing.get(&entry.key).expect("get").expect("there");
    let mut bad = good.to_vec();
    let last = bad.len() - 10;
    bad[last] ^= 1;
    let snapshots = open(&backing);
    snapshots.threads().expect("threads");
    backing.put(&entry.key, &bad).expect("put");
    let report = snapshots.verify().expect("verify");
    let named = &report.damage[0].versions;
    assert!(
        named.contains(&seen[12].0) && named.contains(&seen[6].0),
        "{report:?}"
    );
    backing.put(&entry.key, &good).expect("put");
    for block in backing.list("b/").expect("list") {
        backing.delete(&block.key).expect("delete");
    }
    let report = snapshots.verify().expect("verify");
    let lost: BTreeSet<VersionId> = report
        .damage
        .iter()
        .flat_map(|damage| damage.versions.clone())
        .collect();
    assert_eq!(lost.len(), 6, "versions 4 to 6 of both: {report:?}");
}

#[test]
fn a_damaged_head_stops_commits_until_an_older_version_is_checked_out() {
    let (backing, seen) = prepared();
    let live = seen[0].0.to_string()[..16].to_owned();
    let entry = backing.list(&format!("s/{live}/")).expect("list").remove(0);
    let mut bad = backing
        .get(&entry.key)
        .expect("get")
        .expect("there")
        .to_vec();
    let middle = bad.len() * 3 / 4;
    bad[middle] ^= 0x10;
    backing.put(&entry.key, &bad).expect("put");
    let snapshots = open(&backing);
    let thread = snapshots.thread("live").expect("thread");
    assert_eq!(
        thread.head(),
        Some(seen[5].0),
        "later records are still readable"
    );
    assert!(thread.set("/n", "1").is_err());
    thread.checkout(seen[1].0).expect("checkout");
    thread.set("/n", "77").expect("set");
    let id = thread.commit(CommitOptions::new()).expect("commit");
    assert!(id > seen[5].0);
    assert_eq!(
        snapshots.restore(id).expect("restore"),
        r#"{"n":77,"items":["live 0","live 1"]}"#
    );
}
