//! Two caches over one tier, as two processes have them.

use crate::double::{Slow, Task, pause, run};
use mainspring_cache_tier::{
    BuildError, BytesCodec, EntryOptions, Error, Key, Source, TieredCache,
};
use std::sync::Arc;
use std::sync::atomic::Ordering;

fn shared() -> Arc<Slow> {
    let slow = Slow::new();
    slow.shared.store(true, Ordering::Relaxed);
    slow
}

fn opened(slow: &Arc<Slow>) -> TieredCache<String> {
    run(TieredCache::<String>::builder(BytesCodec)
        .tier(slow.clone())
        .open())
    .unwrap()
}

fn key() -> Key {
    Key::new("team:1", "k")
}

fn options() -> EntryOptions {
    EntryOptions::new().tag("t")
}

#[test]
fn what_one_invalidates_the_other_does_not_find_below_memory() {
    let slow = shared();
    let (a, b) = (opened(&slow), opened(&slow));
    for round in 0..20 {
        run(a.insert(&key(), format!("a{round}"), &options())).unwrap();
        b.clear_memory();
        assert_eq!(
            run(b.get(&key())),
            Some(format!("a{round}")),
            "one reads what the other wrote"
        );
        if round % 2 == 0 {
            run(b.invalidate_tag("t"))
        } else {
            run(b.invalidate_scope("team:*"))
        }
        assert_eq!(run(b.get(&key())), None);
        a.clear_memory();
        assert_eq!(
            run(a.get(&key())),
            None,
            "invalidated by the other in round {round}"
        );
    }
}

#[test]
fn a_load_here_that_began_before_an_invalidation_there_never_publishes_below() {
    for before in 0..30 {
        let slow = shared();
        let (a, b) = (opened(&slow), opened(&slow));
        let (key, options) = (key(), options());
        let mut load = Task::new(a.get_or_try_load(&key, &options, || async {
            pause(2).await;
            Ok::<_, std::io::Error>("old".to_owned())
        }));
        load.steps(before);
        run(b.invalidate_tag("t"));
        let fetched = load.finish().unwrap();
        let seen = run(b.get(&key));
        // Nothing was read yet when the load had not begun by then.
        let began_after = fetched.source == Source::Loaded && before <= 3;
        assert!(seen.is_none() || began_after, "after {before} polls");
    }
}

#[test]
fn a_load_here_that_began_before_its_key_was_invalidated_there_never_publishes_below() {
    for before in 0..30 {
        let slow = shared();
        let (a, b) = (opened(&slow), opened(&slow));
        let (key, options) = (key(), options());
        let mut load = Task::new(a.get_or_try_load(&key, &options, || async {
            pause(2).await;
            Ok::<_, std::io::Error>("old".to_owned())
        }));
        load.steps(before);
        run(b.invalidate(&key));
        let fetched = load.finish().unwrap();
        let seen = run(b.get(&key));
        let began_after = fetched.source == Source::Loaded && before <= 3;
        assert!(seen.is_none() || began_after, "after {before} polls");
    }
}

#[test]
fn what_one_writes_after_the_other_invalidated_is_found_by_both() {
    let slow = shared();
    let (a, b) = (opened(&slow), opened(&slow));
    for round in 0..3 {
        match round {
            0 => run(b.invalidate_tag("t")),
            1 => run(b.invalidate_scope("team:*")),
            _ => drop(run(b.invalidate(&key()))),
        }
        // This one only writes, so it never asked what the other invalidated.
        run(a.insert(&key(), format!("a{round}"), &options())).unwrap();
        b.clear_memory();
        assert_eq!(run(b.get(&key())), Some(format!("a{round}")));
    }
}

#[test]
fn a_tier_that_cannot_tell_what_others_invalidated_is_not_asked() {
    let slow = shared();
    let (a, b) = (opened(&slow), opened(&slow));
    run(a.insert(&key(), "old".into(), &options())).unwrap();
    run(b.invalidate_tag("t"));
    a.clear_memory();
    slow.deaf.store(true, Ordering::Relaxed);
    assert_eq!(run(a.get(&key())), None);
    assert_eq!(run(a.get_many(&[key()])), [None]);
    slow.deaf.store(false, Ordering::Relaxed);
    assert_eq!(run(a.get(&key())), None);
}

#[test]
fn an_invalidation_that_the_shared_tier_missed_is_made_up_for() {
    let slow = shared();
    let (a, b) = (opened(&slow), opened(&slow));
    run(a.insert(&key(), "old".into(), &options())).unwrap();
    slow.broken.store(true, Ordering::Relaxed);
    run(a.invalidate_tag("t"));
    assert_eq!(run(a.get(&key())), None);
    slow.broken.store(false, Ordering::Relaxed);
    assert_eq!(run(a.get(&key())), None, "the tier was emptied first");
    assert_eq!(run(b.get(&key())), None);
    run(a.insert(&key(), "new".into(), &options())).unwrap();
    assert_eq!(run(b.get(&key())).as_deref(), Some("new"));
    run(b.invalidate_tag("t"));
    a.clear_memory();
    assert_eq!(run(a.get(&key())), None, "the clocks are in step again");
}

#[test]
fn a_write_that_failed_leaves_nothing_older_to_be_found() {
    let slow = shared();
    let (a, b) = (opened(&slow), opened(&slow));
    run(a.insert(&key(), "old".into(), &options())).unwrap();
    slow.read_only.store(true, Ordering::Relaxed);
    run(a.insert(&key(), "new".into(), &options())).unwrap();
    slow.read_only.store(false, Ordering::Relaxed);
    assert_eq!(run(b.get(&key())), None);
    a.clear_memory();
    assert_eq!(run(a.get(&key())), None);
}

#[test]
fn two_shared_tiers_are_refused() {
    let builder = TieredCache::<String>::builder(BytesCodec)
        .tier(shared())
        .tier(shared());
    assert!(matches!(
        run(builder.open()),
        Err(Error::Build(BuildError::SharedTiers))
    ));
}
