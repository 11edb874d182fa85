//! How eagerly a cache keeps things, and what it keeps longer because it costs more to make.

use crate::double::{Hands, Slow, run};
use crate::tiers::{key, load, plain};
use mainspring_cache_tier::{
    BytesCodec, Cache, EntryOptions, EvictionCause, Mode, Source, TierSettings, TieredCache,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[test]
fn switched_off_nothing_stays_and_switched_on_nothing_old_comes_back() {
    let removed = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&removed);
    let cache: Cache<u64, u64> = Cache::builder(1_000)
        .on_evict(move |_, _, cause| {
            assert_eq!(cause, EvictionCause::Removed);
            told.fetch_add(1, Ordering::Relaxed);
        })
        .build()
        .unwrap();
    for n in 0..100 {
        cache.insert(n, n);
    }
    cache.set_enabled(false);
    assert_eq!(
        (cache.len(), cache.weight(), cache.mode()),
        (0, 0, Mode::Off)
    );
    assert_eq!(removed.load(Ordering::Relaxed), 100);
    assert_eq!(cache.insert(1, 2), None);
    assert_eq!(cache.get_or_insert_with(3, || 4), 4);
    assert_eq!((cache.get(&1), cache.get(&3), cache.len()), (None, None, 0));
    assert_eq!(
        removed.load(Ordering::Relaxed),
        102,
        "those that did not come in"
    );
    cache.set_enabled(true);
    assert_eq!((cache.get(&1), cache.mode()), (None, Mode::Normal));
    cache.insert(1, 5);
    assert_eq!(cache.get(&1), Some(5));
}

#[test]
fn switched_off_no_tier_is_asked_and_what_is_written_meanwhile_is_not_hidden_by_older() {
    let slow = Slow::new();
    let cache = TieredCache::<String>::builder(BytesCodec).tier(slow.clone());
    let cache = run(cache.open()).unwrap();
    run(cache.insert(&key("a"), "old".into(), &plain())).unwrap();
    run(cache.insert(&key("b"), "old".into(), &plain())).unwrap();
    run(cache.insert(&key("c"), "old".into(), &plain())).unwrap();
    cache.set_enabled(false);
    let asked = slow.gets.load(Ordering::Relaxed);
    assert_eq!(run(cache.get(&key("a"))), None);
    assert_eq!(run(cache.get_many(&[key("a"), key("b")])), [None, None]);
    let loaded = run(cache.get_or_try_load(&key("c"), &plain(), || load("new"))).unwrap();
    assert_eq!(
        (loaded.value.as_str(), loaded.source),
        ("new", Source::Loaded)
    );
    assert_eq!(slow.gets.load(Ordering::Relaxed), asked);
    assert_eq!(slow.batches.load(Ordering::Relaxed), 0);
    run(cache.insert(&key("a"), "new".into(), &plain())).unwrap();
    run(cache.invalidate(&key("b")));
    cache.set_mode(Mode::Normal);
    for name in ["a", "b", "c"] {
        assert_eq!(run(cache.get(&key(name))), None, "{name}");
    }
}

#[test]
fn an_aggressive_cache_keeps_things_four_times_as_long_unless_they_say_how_long() {
    let (hands, slow) = (Hands::default(), Slow::new());
    let second = Duration::from_secs(1);
    let cache = TieredCache::<String>::builder(BytesCodec)
        .clock(hands.clock())
        .memory_ttl(second)
        .tier_with(
            slow.clone(),
            TierSettings::new().ttl(second * 10).jitter(0.0),
        );
    let cache = run(cache.open()).unwrap();
    cache.set_mode(Mode::Aggressive);
    let own = plain().ttl(second);
    run(cache.insert(&key("a"), "v".into(), &plain())).unwrap();
    run(cache.insert(&key("own"), "v".into(), &own)).unwrap();
    hands.advance(second * 4 - Duration::from_millis(1));
    assert!(cache.in_memory(&key("a")) && !cache.in_memory(&key("own")));
    hands.advance(Duration::from_millis(1));
    assert!(!cache.in_memory(&key("a")));
    let expires = slow.entries.lock().unwrap()[&key("a")].expires_at;
    assert_eq!(expires, 1_000_000 + 40_000);
    // Brought into memory again, for four seconds more.
    assert_eq!(run(cache.get(&key("a"))).as_deref(), Some("v"));
    hands.advance(second * 3);
    assert!(cache.in_memory(&key("a")));
}

/// What hits saved in a cache of 200 when of 2,000 keys, all as popular, every tenth costs a hundred times as much.
fn saved(by_cost: bool) -> u64 {
    let builder = Cache::<u64, u64>::builder(200).shards(1).ttl(None);
    let builder = if by_cost { builder.by_cost() } else { builder };
    let cache = builder.build().unwrap();
    let (mut state, mut saved) = (1_u64, 0);
    for _ in 0..60_000 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let key = (state >> 33) % 2_000;
        let cost = if key.is_multiple_of(10) { 100 } else { 1 };
        if cache.get(&key).is_some() {
            saved += cost;
        } else {
            let options = EntryOptions::new().cost(Duration::from_micros(cost));
            cache.insert_with(key, key, &options);
        }
    }
    assert!(cache.len() <= 200);
    saved
}

#[test]
fn by_cost_hits_save_more_where_entries_differ_in_cost() {
    let (plain, by_cost) = (saved(false), saved(true));
    assert!(
        by_cost * 10 > plain * 20,
        "{by_cost} saved by cost, {plain} without"
    );
}

#[test]
fn the_cost_given_is_what_a_hit_is_said_to_save() {
    let cache = run(TieredCache::<String>::builder(BytesCodec).by_cost().open()).unwrap();
    let options = plain().cost(Duration::from_millis(3));
    run(cache.insert(&key("a"), "v".into(), &options)).unwrap();
    run(cache.get(&key("a")));
    run(cache.get(&key("a")));
    assert_eq!(cache.stats().time_saved, Duration::from_millis(6));
}
