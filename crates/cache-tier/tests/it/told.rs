//! What a cache serves of its own while others change the tier that they share, told of it or not.

use crate::double::{Hands, Slow, Task, run};
use mainspring_cache_tier::{
    BytesCodec, Change, DirTier, EntryOptions, Error, Key, Source, Tier, TierSettings, TieredCache,
};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

fn shared() -> Arc<Slow> {
    let slow = Slow::new();
    slow.shared.store(true, Ordering::Relaxed);
    slow.telling.store(true, Ordering::Relaxed);
    slow
}

fn opened(tiers: &[Arc<dyn Tier>], hands: &Hands) -> TieredCache<String> {
    let builder = TieredCache::<String>::builder(BytesCodec).clock(hands.clock());
    let builder = tiers
        .iter()
        .fold(builder, |builder, tier| builder.tier(tier.clone()));
    run(builder.open()).unwrap()
}

fn over(slow: &Arc<Slow>, hands: &Hands) -> TieredCache<String> {
    let tier: Arc<dyn Tier> = slow.clone();
    opened(&[tier], hands)
}

fn key() -> Key {
    Key::new("team:1", "k")
}

fn tagged() -> EntryOptions {
    EntryOptions::new().tag("t")
}

fn failing() -> impl Future<Output = Result<String, std::io::Error>> {
    std::future::ready(Err(std::io::Error::other("no loader today")))
}

#[test]
fn tags_that_a_lookup_does_not_name_bind_the_entries_of_private_tiers() {
    let folder = tempfile::tempdir().unwrap();
    let (slow, hands) = (shared(), Hands::default());
    let own: Arc<dyn Tier> = Arc::new(DirTier::open(folder.path()).unwrap());
    let a = opened(&[own, slow.clone()], &hands);
    let b = over(&slow, &hands);
    run(a.insert(&key(), "old".into(), &tagged())).unwrap();
    a.clear_memory();
    let found = run(a.fetch(&key())).unwrap();
    assert_eq!(
        found.source,
        Source::Tier(1),
        "told of nothing, it asks both"
    );
    run(b.invalidate_tag("t"));
    a.clear_memory();
    assert_eq!(run(a.get_many(&[key()])), [None]);
    assert_eq!(run(a.get(&key())), None);
}

#[test]
fn tags_that_a_lookup_does_not_name_bind_what_waits_to_be_written() {
    let (slow, hands) = (shared(), Hands::default());
    for batched in [false, true] {
        let builder = TieredCache::<String>::builder(BytesCodec).clock(hands.clock());
        let builder = builder.tier(slow.clone()).write_behind(10, 1_000);
        let (a, b) = (run(builder.open()).unwrap(), over(&slow, &hands));
        run(a.insert(&key(), "old".into(), &tagged())).unwrap();
        run(b.invalidate_tag("t"));
        a.clear_memory();
        if batched {
            assert_eq!(run(a.get_many(&[key()])), [None]);
        } else {
            assert_eq!(run(a.get(&key())), None);
        }
    }
}

#[test]
fn a_tracked_cache_that_is_cut_off_serves_nothing_from_private_tiers() {
    let (own, slow, hands) = (Slow::new(), shared(), Hands::default());
    let a = opened(&[own, slow.clone()], &hands);
    let tracker = {
        let mut tracker = Task::new(a.track());
        tracker.step();
        tracker
    };
    slow.tell
        .lock()
        .unwrap()
        .as_ref()
        .unwrap()
        .tell(Change::Started);
    run(a.insert(&key(), "old".into(), &tagged())).unwrap();
    slow.deaf.store(true, Ordering::Relaxed);
    slow.tell
        .lock()
        .unwrap()
        .as_ref()
        .unwrap()
        .tell(Change::Lost);
    assert_eq!(run(a.get(&key())), None);
    assert_eq!(run(a.get_many(&[key()])), [None]);
    slow.deaf.store(false, Ordering::Relaxed);
    assert_eq!(run(a.fetch(&key())).unwrap().source, Source::Tier(1));
    slow.deaf.store(true, Ordering::Relaxed);
    drop(tracker);
    assert_eq!(run(a.get(&key())).as_deref(), Some("old"), "not tracked");
}

#[test]
fn a_tracked_cache_that_is_cut_off_serves_nothing_that_waits_to_be_written() {
    let (slow, hands) = (shared(), Hands::default());
    let builder = TieredCache::<String>::builder(BytesCodec).clock(hands.clock());
    let builder = builder.tier(slow.clone()).write_behind(10, 1_000);
    let a = run(builder.open()).unwrap();
    let mut tracker = Task::new(a.track());
    tracker.step();
    run(a.insert(&key(), "old".into(), &tagged())).unwrap();
    a.clear_memory();
    slow.deaf.store(true, Ordering::Relaxed);
    assert_eq!(run(a.get(&key())), None);
    assert_eq!(run(a.get_many(&[key()])), [None]);
    slow.deaf.store(false, Ordering::Relaxed);
    assert_eq!(run(a.get(&key())).as_deref(), Some("old"));
}

#[test]
fn an_old_value_that_another_invalidated_does_not_stand_in_for_a_failed_load() {
    let (slow, hands) = (shared(), Hands::default());
    let (a, b) = (over(&slow, &hands), over(&slow, &hands));
    let options = tagged().soft_ttl(Duration::from_secs(10));
    run(a.insert(&key(), "old".into(), &options)).unwrap();
    hands.advance(Duration::from_secs(20));
    let fetched = run(a.get_or_try_load(&key(), &options, failing)).unwrap();
    assert!(fetched.stale, "it does until then");
    run(b.invalidate_tag("t"));
    let fetched = run(a.get_or_try_load(&key(), &options, failing));
    assert!(matches!(fetched, Err(Error::Load(_))), "{fetched:?}");
}

#[test]
fn an_old_value_that_is_invalidated_during_the_load_does_not_stand_in_for_it() {
    for in_memory in [true, false] {
        for way in 0..2 {
            let hands = Hands::default();
            let a = opened(&[Slow::new()], &hands);
            let options = tagged().soft_ttl(Duration::from_secs(10));
            run(a.insert(&key(), "old".into(), &options)).unwrap();
            hands.advance(Duration::from_secs(20));
            if !in_memory {
                a.clear_memory();
            }
            let load = || async {
                match way {
                    0 => a.invalidate_tag("t").await,
                    _ => drop(a.invalidate(&key()).await),
                }
                failing().await
            };
            let fetched = run(a.get_or_try_load(&key(), &options, load));
            assert!(matches!(fetched, Err(Error::Load(_))), "{fetched:?}");
        }
    }
}

#[test]
fn untold_the_second_that_anything_lives_counts_from_the_beginning_of_its_load() {
    let (slow, hands) = (shared(), Hands::default());
    let a = over(&slow, &hands);
    let mut tracker = Task::new(a.track());
    tracker.step();
    let load = || async {
        hands.advance(Duration::from_millis(600));
        Ok::<_, std::io::Error>("v".to_owned())
    };
    run(a.get_or_try_load(&key(), &tagged(), load)).unwrap();
    let left = a.explain(&key()).expires_in.unwrap();
    assert_eq!(left, Duration::from_millis(400));
    let many = |keys: Vec<Key>| {
        hands.advance(Duration::from_millis(600));
        let values = keys.iter().map(|_| Some("v".to_owned())).collect();
        std::future::ready(Ok::<_, std::io::Error>(values))
    };
    let keys = [Key::new("team:1", "x"), Key::new("team:1", "y")];
    run(a.get_many_or_try_load(&keys, &tagged(), many)).unwrap();
    let left = a.explain(&keys[1]).expires_in.unwrap();
    assert_eq!(left, Duration::from_millis(400));
}

#[test]
fn untold_a_kept_error_lives_for_a_second_like_anything_else() {
    let (slow, hands) = (shared(), Hands::default());
    let a = over(&slow, &hands);
    let mut tracker = Task::new(a.track());
    tracker.step();
    let options = tagged().negative_ttl(Duration::from_secs(60));
    let load = || async {
        hands.advance(Duration::from_millis(300));
        failing().await
    };
    run(a.get_or_try_load(&key(), &options, load)).unwrap_err();
    let left = a.explain(&key()).expires_in.unwrap();
    assert_eq!(left, Duration::from_millis(700));
}

#[test]
fn a_second_tracker_takes_over_when_the_first_ends() {
    let (slow, hands) = (shared(), Hands::default());
    let a = over(&slow, &hands);
    let (mut first, mut second) = (Task::new(a.track()), Task::new(a.track()));
    first.step();
    second.step();
    drop(first);
    assert!(!second.step());
    let tell = slow.tell.lock().unwrap().clone();
    let tell = tell.expect("somebody listens");
    run(a.insert(&key(), "v".into(), &tagged())).unwrap();
    let left = a.explain(&key()).expires_in.unwrap();
    assert_eq!(left, TieredCache::<String>::UNTOLD);
    tell.tell(Change::Started);
    run(a.insert(&key(), "v".into(), &tagged())).unwrap();
    tell.tell(Change::Written(key().digest()));
    assert!(!a.in_memory(&key()));
}

#[test]
fn a_time_to_live_of_for_ever_is_no_trouble() {
    let settings = TierSettings::new().ttl(Duration::MAX).jitter(0.0);
    let builder = TieredCache::<String>::builder(BytesCodec).memory_ttl(Duration::MAX);
    let cache = run(builder.tier_with(Slow::new(), settings).open()).unwrap();
    for options in [tagged(), tagged().ttl(Duration::MAX)] {
        run(cache.insert(&key(), "v".into(), &options)).unwrap();
    }
    let _ = run(cache.get(&key()));
}

fn got(cache: &TieredCache<String>, batched: bool) -> Option<String> {
    cache.clear_memory();
    match batched {
        true => run(cache.get_many(&[key()])).remove(0),
        false => run(cache.get(&key())),
    }
}

#[test]
fn what_another_overwrote_does_not_come_back_from_a_private_tier_told_or_not() {
    for (told, batched) in [(false, false), (false, true), (true, false), (true, true)] {
        let (own, slow, hands) = (Slow::new(), shared(), Hands::default());
        let a = opened(&[own.clone(), slow.clone()], &hands);
        let b = over(&slow, &hands);
        let mut tracker = Task::new(a.track());
        if told {
            tracker.step();
        }
        let tell = |change| {
            if let Some(tell) = &*slow.tell.lock().unwrap() {
                tell.tell(change);
            }
        };
        tell(Change::Started);
        run(a.insert(&key(), "old".into(), &tagged())).unwrap();
        a.clear_memory();
        let before = run(a.fetch(&key())).unwrap().source;
        assert_eq!(before, Source::Tier(usize::from(!told)));
        run(b.insert(&key(), "new".into(), &tagged())).unwrap();
        tell(Change::Written(key().digest()));
        assert_eq!(got(&a, batched).as_deref(), Some("new"), "{told} {batched}");
        assert_eq!(got(&a, batched).as_deref(), Some("new"), "{told} {batched}");
        // Nobody has it any more but this process: better than nothing.
        slow.entries.lock().unwrap().clear();
        assert_eq!(got(&a, batched).as_deref(), Some("new"));
    }
}

#[test]
fn what_another_overwrote_while_this_one_was_away_does_not_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let (slow, hands) = (shared(), Hands::default());
    let open = || {
        let own: Arc<dyn Tier> = Arc::new(DirTier::open(folder.path()).unwrap());
        opened(&[own, slow.clone()], &hands)
    };
    let a = open();
    run(a.insert(&key(), "old".into(), &tagged())).unwrap();
    drop(a);
    run(over(&slow, &hands).insert(&key(), "new".into(), &tagged())).unwrap();
    let a = open();
    let mut tracker = Task::new(a.track());
    tracker.step();
    let tell = slow.tell.lock().unwrap().clone().unwrap();
    tell.tell(Change::Started);
    assert_eq!(run(a.get(&key())).as_deref(), Some("new"));
}
