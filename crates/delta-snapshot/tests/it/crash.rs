//! A crash at every call to the backing: what was acknowledged stays, what was kept can be restored.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mainspring_delta_snapshot::{
    CommitOptions, Error, MemoryBacking, Result, Snapshots, Thread, VersionId,
};

use crate::basics::options;
use crate::faulty::{Fate, Faulty};

const FATES: [Fate; 3] = [Fate::Lost, Fate::Half, Fate::Done];

type Seen = BTreeMap<VersionId, String>;

fn open(
    backing: &Arc<MemoryBacking>,
    fail_at: usize,
    fate: Fate,
    lasting: bool,
) -> (Faulty, Snapshots) {
    let faulty = Faulty::new(backing.clone(), fail_at, fate, lasting);
    let options = options().block_bytes(1024).sync_each_commit(true);
    let snapshots = Snapshots::open(faulty.clone(), options).expect("open");
    (faulty, snapshots)
}

fn state(n: usize) -> String {
    let large = format!("{} large ", n / 3).repeat(200);
    let items: Vec<String> = (0..=n).map(|i| format!("\"item {i}\"")).collect();
    format!("{{\"large\":\"{large}\",\"items\":[{}]}}", items.join(","))
}

fn step(thread: &Thread, n: usize) -> Result<VersionId> {
    thread.commit_full(state(n).as_bytes(), CommitOptions::new())
}

/// A thread with versions, a branch and a fork on an old version.
fn prepared() -> (Arc<MemoryBacking>, Seen) {
    let backing = Arc::new(MemoryBacking::new());
    let (_, snapshots) = open(&backing, usize::MAX, Fate::Lost, true);
    let thread = snapshots.thread("t").expect("thread");
    let mut seen = Seen::new();
    let mut ids = Vec::new();
    for n in 0..8 {
        ids.push(step(&thread, n).expect("commit"));
        seen.insert(ids[n], state(n));
    }
    let fork = snapshots.fork(ids[2], "f").expect("fork");
    seen.insert(step(&fork, 20).expect("commit"), state(20));
    thread.checkout(ids[4]).expect("checkout");
    seen.insert(step(&thread, 9).expect("commit"), state(9));
    (backing, seen)
}

fn copy(backing: &Arc<MemoryBacking>) -> Arc<MemoryBacking> {
    use mainspring_delta_snapshot::Backing;
    let fresh = MemoryBacking::new();
    for entry in backing.list("").expect("list") {
        let value = backing.get(&entry.key).expect("get").expect("there");
        fresh.put(&entry.key, &value).expect("put");
    }
    Arc::new(fresh)
}

fn check(snapshots: &Snapshots, seen: &Seen, context: &str) {
    for (id, bytes) in seen {
        let restored = snapshots
            .restore(*id)
            .unwrap_or_else(|error| panic!("{context}: {id}: {error}"));
        assert!(restored == bytes, "{context}: {id} differs");
    }
}

/// Runs `act` with a failure at each call in turn, until none is left.
fn at_every_call(act: impl Fn(&Snapshots) -> Result<()>, kept: impl Fn(&VersionId) -> bool) {
    let (prepared, seen) = prepared();
    let kept: Seen = seen.into_iter().filter(|(id, _)| kept(id)).collect();
    for fate in FATES {
        for call in 0.. {
            let context = format!("{fate:?} at call {call}");
            let backing = copy(&prepared);
            let (faulty, snapshots) = open(&backing, call, fate, true);
            let outcome = act(&snapshots);
            if !faulty.tripped() {
                outcome.expect("without a failure");
                break;
            }
            assert!(
                matches!(outcome, Err(Error::Io { .. })),
                "{context}: {outcome:?}"
            );
            // The process goes on reading, then dies, and the next one opens what is there.
            check(&snapshots, &kept, &context);
            let (_, again) = open(&backing, usize::MAX, fate, true);
            check(&again, &kept, &context);
            act(&again).expect("the next attempt");
            check(&again, &kept, &context);
            again.gc().expect("gc");
            check(&again, &kept, &context);
            let report = again.verify().expect("verify");
            assert!(report.is_clean(), "{context}: {report:?}");
        }
    }
}

/// Odd versions of the main thread go, everything else stays.
fn kept(id: &VersionId) -> bool {
    id.sequence() % 2 == 1
}

#[test]
fn langgraph_8531_a_prune_that_crashes_leaves_every_kept_version() {
    at_every_call(
        |snapshots| {
            snapshots
                .thread("t")?
                .prune(|version| kept(&version.id))
                .map(drop)
        },
        kept,
    );
}

/// A fork is durable with its first commit; a crash before or in it leaves everything else, and the name free.
#[test]
fn a_fork_that_crashes_leaves_every_version() {
    let act = |snapshots: &Snapshots| {
        let source = snapshots.thread("t")?.versions()?;
        let fork = match snapshots.fork(source[1].id, "late") {
            // The first attempt had reached the store after all.
            Err(Error::InUse { .. }) => snapshots.thread("late")?,
            fork => fork?,
        };
        let id = fork.commit_full(state(30).as_bytes(), CommitOptions::new())?;
        assert!(snapshots.restore(id)? == state(30));
        Ok(())
    };
    at_every_call(act, |_| true);
}

/// Everything at once: sealed, pruned by age and collected.
#[test]
fn a_retention_that_crashes_leaves_every_kept_version() {
    let act = |snapshots: &Snapshots| {
        let month = mainspring_delta_snapshot::Retention::new();
        snapshots.retain(&month, 1_700_000_000_000 + 8 * 86_400_000)?;
        let none = month.delete_after(std::time::Duration::ZERO);
        snapshots
            .retain(&none, 1_700_000_000_000 + 9 * 86_400_000)
            .map(drop)
    };
    // Heads, and what the fork is stored on top of.
    at_every_call(act, |id| id.sequence() == 9);
}

#[test]
fn a_seal_that_crashes_leaves_every_version() {
    at_every_call(|snapshots| snapshots.thread("t")?.seal(), |_| true);
}

#[test]
fn a_collection_that_crashes_leaves_every_version() {
    let act = |snapshots: &Snapshots| {
        snapshots.thread("t")?.prune(|version| kept(&version.id))?;
        snapshots.gc().map(drop)
    };
    at_every_call(act, kept);
}

/// Commits with a failure at each call; a failed one is tried again, in the same process or the next one.
#[test]
fn a_commit_that_fails_keeps_its_changes_and_every_acknowledged_version() {
    for fate in FATES {
        for lasting in [false, true] {
            for call in 0.. {
                let context = format!("{fate:?} at call {call}, lasting: {lasting}");
                let backing = Arc::new(MemoryBacking::new());
                let (faulty, mut snapshots) = open(&backing, call, fate, lasting);
                let mut seen = Seen::new();
                for n in 0..7 {
                    let thread = snapshots.thread("t").expect("thread");
                    let id = match step(&thread, n) {
                        Ok(id) => id,
                        Err(_) if lasting => {
                            snapshots = open(&backing, usize::MAX, fate, false).1;
                            check(&snapshots, &seen, &context);
                            step(&snapshots.thread("t").expect("thread"), n)
                                .expect("the next process")
                        }
                        Err(_) => thread.commit(CommitOptions::new()).expect("again"),
                    };
                    seen.insert(id, state(n));
                }
                check(&snapshots, &seen, &context);
                if !lasting {
                    snapshots.gc().expect("gc");
                    let report = snapshots.verify().expect("verify");
                    assert!(report.is_clean(), "{context}: {report:?}");
                    check(&snapshots, &seen, &context);
                }
                let (_, again) = open(&backing, usize::MAX, fate, true);
                check(&again, &seen, &context);
                assert_eq!(
                    again.thread("t").expect("thread").head(),
                    seen.keys().next_back().copied()
                );
                again.gc().expect("gc");
                check(&again, &seen, &context);
                assert!(again.verify().expect("verify").is_clean(), "{context}");
                if !faulty.tripped() {
                    break;
                }
            }
        }
    }
}

/// The lost version's name must not come to mean another one, however the clock goes; the order stays.
#[test]
fn the_name_of_a_version_that_a_power_cut_took_is_given_to_no_other() {
    const NOW: u64 = 1_700_000_000_000;
    // When it is opened again: later, set back, at the end of time (and once more there), and a clock that does not go.
    for (later, stands) in [(NOW + 1, false), (5, false), (u64::MAX, false), (NOW, true)] {
        let backing = Arc::new(MemoryBacking::new());
        let now = Arc::new(AtomicU64::new(NOW));
        let open = |backing: &Arc<MemoryBacking>| {
            let now = now.clone();
            let options = options().clock(move || now.load(Ordering::Relaxed));
            Snapshots::open(backing.clone(), options).expect("open")
        };
        let thread = open(&backing).thread("t").expect("thread");
        let kept = step(&thread, 0).expect("commit");
        let cut = copy(&backing);
        let lost = step(&thread, 1).expect("commit");
        assert_eq!(lost.sequence(), kept.sequence() + 1);

        now.store(later, Ordering::Relaxed);
        let snapshots = open(&cut);
        let thread = snapshots.thread("t").expect("thread");
        let next = step(&thread, 2).expect("commit");
        assert!(next > kept, "{next} after {kept}");
        if later > NOW {
            assert!(next > lost, "{next} was given before");
        }
        // Without a clock that goes on nothing can tell.
        assert_eq!(next == lost, stands || later < NOW, "{next}, {lost}");
        let last = step(&open(&cut).thread("t").expect("thread"), 3).expect("commit");
        assert!(last > next, "{last} after {next}");
        assert_eq!(snapshots.restore(kept).expect("restore"), state(0));
        assert_eq!(open(&cut).restore(last).expect("restore"), state(3));
        assert!(open(&cut).verify().expect("verify").is_clean());

        // Nor does a thread that was deleted leave its names to the next one.
        snapshots.delete_thread("t").expect("delete");
        now.fetch_add(u64::from(later == NOW + 1), Ordering::Relaxed);
        let anew = step(&open(&cut).thread("t").expect("thread"), 4).expect("commit");
        assert_eq!(anew > last, later == NOW + 1);
    }
}
