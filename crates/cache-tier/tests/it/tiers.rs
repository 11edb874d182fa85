//! What the tiered cache does with its tiers.

use crate::double::{Hands, Slow, Task, run, step};
use bytes::Bytes;
use mainspring_cache_tier::{
    BuildError, BytesCodec, Effects, EntryOptions, Error, Key, Source, Tier, TierSettings,
    TieredCache,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(crate) fn key(name: &'static str) -> Key {
    Key::new("agent:7", name)
}

pub(crate) fn plain() -> EntryOptions {
    EntryOptions::new()
}

struct Bench {
    hands: Hands,
    upper: Arc<Slow>,
    lower: Arc<Slow>,
    cache: TieredCache<String>,
}

fn bench() -> Bench {
    let (hands, upper, lower) = (Hands::default(), Slow::new(), Slow::new());
    let settings = TierSettings::new().jitter(0.0);
    let cache = TieredCache::<String>::builder(BytesCodec)
        .clock(hands.clock())
        .tier_with(upper.clone(), settings.ttl(Duration::from_secs(100)))
        .tier_with(lower.clone(), settings.ttl(Duration::from_secs(1_000)));
    Bench {
        cache: run(cache.open()).unwrap(),
        hands,
        upper,
        lower,
    }
}

pub(crate) fn load(value: &str) -> impl Future<Output = Result<String, std::io::Error>> {
    std::future::ready(Ok(value.to_owned()))
}

#[test]
fn a_hit_below_is_promoted_and_its_time_is_not_prolonged() {
    let Bench {
        hands,
        upper,
        lower,
        cache,
    } = bench();
    run(cache.insert(&key("a"), "v".into(), &plain())).unwrap();
    hands.advance(Duration::from_secs(150));
    cache.clear_memory();
    let fetched = run(cache.fetch(&key("a"))).unwrap();
    assert_eq!(
        fetched.source,
        Source::Tier(1),
        "the upper tier's time was over"
    );
    assert_eq!(run(cache.fetch(&key("a"))).unwrap().source, Source::Memory);
    let expires = |tier: &Slow| tier.entries.lock().unwrap()[&key("a")].expires_at;
    assert!(expires(&upper) <= expires(&lower));
    cache.clear_memory();
    assert_eq!(
        run(cache.fetch(&key("a"))).unwrap().source,
        Source::Tier(0),
        "promoted"
    );
    hands.advance(Duration::from_secs(850));
    assert_eq!(run(cache.fetch(&key("a"))), None);
    let stats = cache.stats();
    assert_eq!((stats.tiers[0].hits, stats.tiers[1].hits), (1, 1));
    assert!(stats.tiers[0].dead >= 1);
}

#[test]
fn jitter_spreads_what_was_written_together() {
    let (hands, slow) = (Hands::default(), Slow::new());
    let settings = TierSettings::new()
        .ttl(Duration::from_secs(1_000))
        .jitter(0.2);
    let cache = TieredCache::<String>::builder(BytesCodec)
        .clock(hands.clock())
        .seed(7)
        .tier_with(slow.clone(), settings);
    let cache = run(cache.open()).unwrap();
    let warmed = (0..100_u8).map(|n| (Key::new("s", vec![n]), String::new()));
    assert_eq!(run(cache.warm(warmed, &plain())).unwrap(), 100);
    let mut ends: Vec<u64> = slow
        .entries
        .lock()
        .unwrap()
        .values()
        .map(|entry| entry.expires_at - 1_000_000)
        .collect();
    ends.sort_unstable();
    assert!(ends[0] >= 800_000 && ends[99] <= 1_000_000);
    assert!(ends[99] - ends[0] > 100_000, "{} to {}", ends[0], ends[99]);
}

#[test]
fn a_broken_tier_is_skipped_counted_and_no_error() {
    let Bench { upper, cache, .. } = bench();
    upper.broken.store(true, Ordering::Relaxed);
    run(cache.insert(&key("a"), "v".into(), &plain())).unwrap();
    cache.clear_memory();
    assert_eq!(run(cache.fetch(&key("a"))).unwrap().source, Source::Tier(1));
    cache.clear_memory();
    let keys = [key("a"), key("b")];
    assert_eq!(run(cache.get_many(&keys)), [Some("v".to_owned()), None]);
    assert!(cache.stats().tiers[0].failures >= 3);
    assert_eq!(cache.stats().tiers[1].failures, 0);
}

#[test]
fn a_tier_that_cannot_note_an_invalidation_is_emptied() {
    let Bench {
        upper,
        lower,
        cache,
        ..
    } = bench();
    run(cache.insert(&key("a"), "v".into(), &plain())).unwrap();
    lower.broken.store(true, Ordering::Relaxed);
    run(cache.invalidate_scope("agent:7"));
    assert_eq!(
        cache.stats().tiers[1].failures,
        2,
        "the note and the clearing both failed"
    );
    lower.broken.store(false, Ordering::Relaxed);
    assert_eq!(lower.entries.lock().unwrap().len(), 1);
    assert_eq!(
        run(cache.get(&key("a"))),
        None,
        "this process knows all the same"
    );
    assert_eq!(upper.marks.lock().unwrap().marks.len(), 1);
    assert!(
        lower.entries.lock().unwrap().is_empty(),
        "emptied before it was used again"
    );
}

#[test]
fn a_tier_that_missed_a_write_or_a_removal_does_not_bring_the_old_value_back() {
    for which in 0..2 {
        let Bench { upper, cache, .. } = bench();
        run(cache.insert(&key("a"), "old".into(), &plain())).unwrap();
        run(cache.insert(&key("b"), "other".into(), &plain())).unwrap();
        upper.read_only.store(true, Ordering::Relaxed);
        if which == 0 {
            run(cache.insert(&key("a"), "new".into(), &plain())).unwrap();
        } else {
            run(cache.invalidate(&key("a")));
        }
        cache.clear_memory();
        let expected = (which == 0).then(|| "new".to_owned());
        assert_eq!(run(cache.get(&key("a"))), expected, "the lower tier knows");
        upper.read_only.store(false, Ordering::Relaxed);
        cache.clear_memory();
        assert_eq!(
            run(cache.get(&key("a"))),
            expected,
            "an old value came back"
        );
        assert_eq!(run(cache.get(&key("b"))).as_deref(), Some("other"));
    }
}

#[test]
fn a_batch_asks_each_tier_once() {
    let Bench {
        upper,
        lower,
        cache,
        ..
    } = bench();
    let keys: Vec<Key> = (0..50_u8)
        .map(|n| Key::new("s", Bytes::copy_from_slice(&[n])))
        .collect();
    for key in &keys[..10] {
        run(cache.insert(key, "v".into(), &plain())).unwrap();
    }
    cache.clear_memory();
    let loads = AtomicU64::new(0);
    let load = |wanted: Vec<Key>| {
        loads.fetch_add(1, Ordering::Relaxed);
        async move {
            Ok::<_, std::io::Error>(
                wanted
                    .iter()
                    .map(|key| (key.bytes()[0] < 40).then(String::new))
                    .collect(),
            )
        }
    };
    let found = run(cache.get_many_or_try_load(&keys, &plain(), load)).unwrap();
    assert_eq!(found.iter().filter(|found| found.is_some()).count(), 40);
    assert_eq!(
        (
            upper.batches.load(Ordering::Relaxed),
            lower.batches.load(Ordering::Relaxed)
        ),
        (1, 1)
    );
    assert_eq!(
        (
            upper.gets.load(Ordering::Relaxed),
            loads.load(Ordering::Relaxed)
        ),
        (0, 1)
    );
    let twice = [keys[45].clone(), keys[45].clone()];
    assert_eq!(
        run(cache.get_many(&twice)),
        [None, None],
        "the same key twice does not wait for itself"
    );
}

#[test]
fn past_the_soft_time_one_loads_and_the_others_are_served() {
    let Bench { hands, cache, .. } = bench();
    let options = plain()
        .ttl(Duration::from_secs(60))
        .soft_ttl(Duration::from_secs(10));
    let name = key("a");
    run(cache.get_or_try_load(&name, &options, || load("old"))).unwrap();
    hands.advance(Duration::from_secs(10));
    let slowly = || async {
        crate::double::pause(5).await;
        load("new").await
    };
    let mut refreshing = Box::pin(cache.get_or_try_load(&name, &options, slowly));
    assert!(step(refreshing.as_mut()).is_pending());
    let meanwhile = run(cache.get_or_try_load(&name, &options, || load("never"))).unwrap();
    assert_eq!((meanwhile.value.as_str(), meanwhile.stale), ("old", true));
    assert_eq!(run(refreshing).unwrap().value, "new");
    let after = run(cache.fetch(&name)).unwrap();
    assert_eq!((after.value.as_str(), after.stale), ("new", false));
    hands.advance(Duration::from_secs(11));
    let failing = || std::future::ready(Err::<String, _>(std::io::Error::other("down")));
    let kept = run(cache.get_or_try_load(&name, &options, failing)).unwrap();
    assert_eq!(
        (kept.value.as_str(), kept.stale),
        ("new", true),
        "an old value is better than an error"
    );
    hands.advance(Duration::from_secs(50));
    assert!(matches!(
        run(cache.get_or_try_load(&name, &options, failing)),
        Err(Error::Load(_))
    ));
}

#[test]
fn an_error_is_kept_for_its_short_time_when_asked() {
    let Bench { hands, cache, .. } = bench();
    let tries = AtomicU64::new(0);
    let failing = || {
        tries.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Err::<String, _>(std::io::Error::other("down")))
    };
    let options = plain().negative_ttl(Duration::from_secs(5));
    for _ in 0..3 {
        let error = run(cache.get_or_try_load(&key("a"), &options, failing)).unwrap_err();
        assert_eq!(error.to_string(), "the loader failed: down");
    }
    assert_eq!(tries.load(Ordering::Relaxed), 1);
    assert_eq!(run(cache.get(&key("a"))), None);
    hands.advance(Duration::from_secs(5));
    assert_eq!(
        run(cache.get_or_try_load(&key("a"), &options, || load("up")))
            .unwrap()
            .value,
        "up"
    );
}

#[test]
fn events_invalidate_what_their_rules_say() {
    let Bench { cache, .. } = bench();
    cache.on_event("agent_updated", |id| {
        Effects::new().scope(format!("agent:{id}:*"))
    });
    cache.on_event("config_changed", |_| Effects::new().tag("config"));
    let (seven, eight) = (
        Key::new("agent:7:tools", "x"),
        Key::new("agent:8:tools", "x"),
    );
    let config = Key::new("", "settings");
    run(cache.insert(&seven, "7".into(), &plain())).unwrap();
    run(cache.insert(&eight, "8".into(), &plain())).unwrap();
    run(cache.insert(&config, "c".into(), &plain().tag("config"))).unwrap();
    assert!(run(cache.emit("agent_updated", "7")));
    assert!(!run(cache.emit("unknown", "7")));
    let all = [seven, eight, config];
    assert_eq!(
        run(cache.get_many(&all)),
        [None, Some("8".to_owned()), Some("c".to_owned())]
    );
    assert!(run(cache.emit("config_changed", "")));
    cache.clear_memory();
    assert_eq!(
        run(cache.get_many(&all)),
        [None, Some("8".to_owned()), None]
    );
}

#[test]
fn settings_that_make_no_cache_are_refused() {
    let zero = TierSettings::new().ttl(Duration::ZERO);
    let refused = |builder: mainspring_cache_tier::TieredBuilder<String>| match run(builder.open())
    {
        Err(Error::Build(error)) => error,
        other => panic!("{other:?}"),
    };
    let builder = || TieredCache::<String>::builder(BytesCodec);
    assert_eq!(
        refused(builder().write_behind(0, 1)),
        BuildError::ZeroBound("a write-behind queue")
    );
    assert!(matches!(
        refused(builder().tier_with(Slow::new(), zero)),
        BuildError::ZeroDuration(_)
    ));
    assert!(matches!(
        refused(builder().memory_ttl(Duration::ZERO)),
        BuildError::ZeroDuration(_)
    ));
}

#[test]
fn futures_can_be_sent_to_any_runtime() {
    fn sendable<T: Send>(value: T) -> T {
        value
    }
    let Bench { cache, .. } = bench();
    let (name, options) = (key("a"), plain());
    drop(sendable(
        cache.get_or_try_load(&name, &options, || load("v")),
    ));
    drop(sendable(cache.insert(&name, "v".into(), &options)));
    drop(sendable(cache.invalidate(&name)));
    drop(sendable(cache.get_many(std::slice::from_ref(&name))));
    drop(sendable(cache.drive()));
}

#[test]
fn a_tier_is_an_object() {
    let tiers: Vec<Arc<dyn Tier>> = vec![Slow::new()];
    assert_eq!(tiers[0].name(), "slow");
    assert!(!tiers[0].is_shared());
}

#[test]
fn a_lookup_without_a_signature_waits_for_a_load_with_one() {
    let Bench { cache, .. } = bench();
    let (name, options) = (key("a"), plain().signature(7));
    let slowly = || async {
        crate::double::pause(20).await;
        load("v").await
    };
    let mut loading = Task::new(cache.get_or_try_load(&name, &options, slowly));
    loading.steps(10);
    let mut looking = Task::new(cache.get(&name));
    looking.step();
    loading.finish().unwrap();
    assert_eq!(looking.finish().as_deref(), Some("v"));
    assert!(cache.in_memory(&name), "what was loaded is kept");
}
