//! What is counted, and what a cache that starts can begin with.

use crate::double::{Hands, Slow, run};
use mainspring_cache_tier::{
    BytesCodec, Cache, DirTier, EntryOptions, Key, MissReason, Tier, TierSettings, TieredCache,
    TieredStats,
};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

fn numbered(n: u8) -> Key {
    Key::new("s", vec![n])
}

async fn load(cache: &TieredCache<String>, key: &Key, options: &EntryOptions, good: bool) {
    let load = || async {
        // Long enough to be seen in microseconds.
        let started = std::time::Instant::now();
        while started.elapsed() < Duration::from_micros(300) {
            std::hint::spin_loop();
        }
        if good {
            Ok("v".to_owned())
        } else {
            Err(std::io::Error::other("on purpose"))
        }
    };
    let _ = cache.get_or_try_load(key, options, load).await;
}

#[test]
fn hits_loads_and_time_saved_are_counted_for_the_tags_asked_for() {
    let builder = TieredCache::<String>::builder(BytesCodec).count_tags(["files", "prices"]);
    let cache = run(builder.open()).unwrap();
    let files = EntryOptions::new().tag("files").tag("other");
    let both = EntryOptions::new().tag("files").tag("prices");
    run(async {
        for _ in 0..4 {
            load(&cache, &numbered(1), &files, true).await;
            load(&cache, &numbered(2), &both, true).await;
            load(&cache, &numbered(3), &EntryOptions::new(), true).await;
        }
        load(&cache, &numbered(4), &both, false).await;
    });
    let TieredStats {
        tags, time_saved, ..
    } = cache.stats();
    let counts = |at: usize| (tags[at].hits, tags[at].misses, tags[at].loads);
    assert_eq!((tags[0].name.as_str(), counts(0)), ("files", (6, 3, 2)));
    assert_eq!((tags[1].name.as_str(), counts(1)), ("prices", (3, 2, 1)));
    // Each hit saved what the load took, to the microsecond.
    let slack = Duration::from_micros(10);
    let saved = tags[1].time_saved;
    assert!(saved + slack >= tags[1].load_time * 3 && saved <= tags[1].load_time * 3);
    assert!(saved >= Duration::from_micros(900) && time_saved > tags[0].time_saved);
}

#[test]
fn a_cache_alone_counts_for_the_tags_asked_for() {
    let builder = Cache::<u32, u32>::builder(100).count_tags(["files", "prices"]);
    let cache = builder.weigher(|_, _| 3).build().unwrap();
    let files = EntryOptions::new().tag("files").tag("other");
    let both = EntryOptions::new().tag("files").tag("prices");
    let slow = both.clone().cost(Duration::from_millis(7));
    for _ in 0..4 {
        let _ = cache.get_or_try_insert::<()>(1, &files, || Ok(1));
        let _ = cache.get_or_try_insert::<()>(2, &slow, || Ok(2));
        let _ = cache.get_or_try_insert::<()>(3, &EntryOptions::new(), || Ok(3));
    }
    assert_eq!(cache.get_or_try_insert(4, &both, || Err(())), Err(()));
    let counted = |at: usize| {
        let tag = &cache.tag_stats()[at];
        (tag.hits, tag.misses, tag.loads, tag.entries, tag.weight)
    };
    assert_eq!(counted(0), (6, 3, 2, 2, 6));
    assert_eq!(counted(1), (3, 2, 1, 1, 3));
    let prices = &cache.tag_stats()[1];
    assert_eq!(prices.name, "prices");
    assert_eq!(prices.time_saved, Duration::from_millis(3 * 7));

    cache.invalidate_tag("prices");
    assert_eq!(cache.get(&2), None);
    assert_eq!(cache.get(&1), Some(1));
    cache.insert(1, 5);
    assert_eq!(cache.get(&1), Some(5));
    assert_eq!(counted(0), (7, 3, 2, 0, 0));
    let left = cache.tag_stats()[0].evicted;
    assert_eq!((left.invalidated, left.replaced), (1, 1));
    assert_eq!(Cache::<u32, u32>::new(9).tag_stats(), []);
}

#[test]
fn bytes_in_memory_and_what_left_are_counted_for_the_tags_asked_for() {
    let hands = Hands::default();
    let builder = TieredCache::<String>::builder(BytesCodec)
        .memory(20)
        .weigher(|_, value| value.len() as u32)
        .clock(hands.clock())
        .count_tags(["files", "prices"]);
    let cache = run(builder.open()).unwrap();
    let files = EntryOptions::new().tag("files").tag("other");
    let both = EntryOptions::new().tag("files").tag("prices");
    let put = |n: u8, value: &str, options: &EntryOptions| {
        run(cache.insert(&numbered(n), value.to_owned(), options)).unwrap();
    };
    let held = || -> Vec<_> {
        let tags = cache.stats().tags;
        tags.iter().map(|tag| (tag.entries, tag.weight)).collect()
    };
    put(1, "123", &files);
    put(2, "12345", &both);
    put(3, "1234567", &EntryOptions::new());
    assert_eq!(held(), [(2, 8), (1, 5)]);
    put(2, "1", &both);
    put(1, "12", &both.clone().ttl(Duration::from_secs(1)));
    assert_eq!(held(), [(2, 3), (2, 3)]);
    put(4, &"1".repeat(21), &both);
    hands.advance(Duration::from_secs(1));
    assert_eq!(run(cache.get(&numbered(1))), None);
    assert_eq!(held(), [(1, 1), (1, 1)]);
    run(cache.invalidate_tag("prices"));
    assert_eq!(held(), [(1, 1), (1, 1)], "not met yet");
    assert_eq!(run(cache.get(&numbered(2))), None);
    assert_eq!(held(), [(0, 0), (0, 0)]);
    put(5, "1234567890123456789", &files);
    put(6, "12", &EntryOptions::new());
    put(7, "12", &files);
    run(cache.remove(&numbered(7)));
    run(cache.remove(&numbered(5)));
    assert_eq!(held(), [(0, 0), (0, 0)]);
    let left: Vec<_> = cache.stats().tags.iter().map(|tag| tag.evicted).collect();
    let removed_or_evicted = |at: usize| left[at].removed + left[at].capacity;
    assert_eq!((left[0].replaced, left[1].replaced), (2, 1));
    assert_eq!((left[0].too_large, left[1].too_large), (1, 1));
    assert_eq!((left[0].expired, left[1].expired), (1, 1));
    assert_eq!((left[0].invalidated, left[1].invalidated), (1, 1));
    assert_eq!((removed_or_evicted(0), removed_or_evicted(1)), (2, 0));
    assert!(left[0].capacity > 0, "5 made room for 6, or 7 for itself");
}

#[test]
fn a_cache_that_starts_is_filled_with_what_came_up_last_and_nothing_stale() {
    let folder = tempfile::tempdir().unwrap();
    let open = |memory| {
        let tier: Arc<dyn Tier> = Arc::new(DirTier::open(folder.path()).unwrap());
        let builder = TieredCache::<String>::builder(BytesCodec).memory(memory);
        run(builder.tier(tier).open()).unwrap()
    };
    let cache = open(100);
    for n in 0..20 {
        let options = EntryOptions::new().tag(if n % 2 == 0 { "even" } else { "odd" });
        run(cache.insert(&numbered(n), n.to_string(), &options)).unwrap();
    }
    run(cache.invalidate_tag("even"));
    drop(cache);
    // Files written in one tick of the clock are in no order.
    let cache = open(100);
    assert!(run(cache.warm_from_tiers(15)) >= 5);
    assert!(cache.stats().memory.entries <= 10);
    for n in 0..20 {
        assert!(n % 2 == 1 || !cache.in_memory(&numbered(n)), "{n} is stale");
    }
    drop(cache);
    let cache = open(100);
    assert_eq!(run(cache.warm_from_tiers(usize::MAX)), 10);
    assert!((0..20).all(|n| cache.in_memory(&numbered(n)) == (n % 2 == 1)));
    assert_eq!(run(cache.get(&numbered(1))).as_deref(), Some("1"));
}

#[test]
fn a_key_survives_its_encoding_and_other_bytes_are_none() {
    for key in [
        Key::new("", ""),
        Key::new("a:b", "k"),
        Key::new("ä", vec![0, 255]),
    ] {
        assert_eq!(Key::decode(&key.encoded()), Some(key));
    }
    for bytes in [
        &b""[..],
        b"\x01\0\0",
        b"\x05\0\0\0a",
        b"\xFF\xFF\xFF\xFFa",
        b"\x01\0\0\0\xFF",
        b"\x03\0\0\0a:*",
    ] {
        assert_eq!(Key::decode(bytes), None, "{bytes:?}");
    }
}

#[test]
fn a_key_is_explained_after_the_lookup_that_met_its_entry_dead() {
    let hands = Hands::default();
    let cache: Cache<u32, u32> = Cache::builder(100)
        .ttl(Duration::from_secs(10))
        .clock(hands.clock())
        .build()
        .unwrap();
    let why = |key: u32| cache.explain(&key).miss;
    cache.insert(1, 1);
    cache.insert_with(2, 2, &EntryOptions::new().tag("t"));
    cache.insert_with(3, 3, &EntryOptions::new().ttl(Duration::from_secs(60)));
    hands.advance(Duration::from_secs(4));
    assert_eq!(cache.explain(&1).age, Some(Duration::from_secs(4)));
    assert_eq!(cache.explain(&3).age, None, "its time is its own");
    cache.invalidate_tag("t");
    assert_eq!(cache.get(&2), None);
    assert_eq!(why(2), Some(MissReason::Invalidated));
    hands.advance(Duration::from_secs(6));
    assert_eq!(cache.get(&1), None);
    assert_eq!(cache.len(), 1, "it was met and went");
    assert_eq!(why(1), Some(MissReason::Expired));
    cache.remove(&3);
    assert_eq!(why(3), Some(MissReason::Removed));
    assert_eq!(why(4), Some(MissReason::Absent));
    cache.insert(1, 1);
    assert_eq!(why(1), None);
}

#[test]
fn an_entry_is_located_in_every_tier_without_being_brought_up() {
    let (above, below, hands) = (Slow::new(), Slow::new(), Hands::default());
    let builder = TieredCache::<String>::builder(BytesCodec)
        .clock(hands.clock())
        .tier_with(
            above.clone(),
            TierSettings::new().ttl(Duration::from_secs(10)).jitter(0.0),
        )
        .tier_with(below.clone(), TierSettings::new().ttl(None));
    let cache = run(builder.open()).unwrap();
    let (key, options) = (numbered(1), EntryOptions::new().tag("t"));
    let reasons = || -> Vec<_> {
        let located = run(cache.locate(&key));
        located.tiers.into_iter().map(|tier| tier.miss).collect()
    };
    assert!(!run(cache.contains(&key)));
    run(cache.insert(&key, "value".into(), &options)).unwrap();
    hands.advance(Duration::from_secs(4));
    assert_eq!(cache.explain(&key).age, Some(Duration::from_secs(4)));
    cache.clear_memory();
    let located = run(cache.locate(&key));
    assert!(located.memory.miss.is_some() && located.is_anywhere());
    assert_eq!(located.tiers[0].expires_in, Some(Duration::from_secs(6)));
    assert_eq!(located.tiers[1].bytes, Some(5));
    assert!(!cache.in_memory(&key), "nothing was brought up");
    hands.advance(Duration::from_secs(6));
    assert_eq!(reasons(), [Some(MissReason::Expired), None]);
    above.entries.lock().unwrap().clear();
    assert_eq!(reasons(), [Some(MissReason::Absent), None]);
    above.broken.store(true, Ordering::Relaxed);
    assert_eq!(reasons(), [Some(MissReason::Unreachable), None]);
    assert!(run(cache.contains(&key)));
    run(cache.invalidate_tag("t"));
    let located = run(cache.locate(&key));
    assert_eq!(located.tiers[1].miss, Some(MissReason::Invalidated));
    assert!(located.tiers[1].invalidated_at > located.tiers[1].birth);
    assert!(!run(cache.contains(&key)));
    let stats = cache.stats();
    assert_eq!(
        stats.tiers[1].hits + stats.tiers[1].misses,
        0,
        "not counted"
    );
}

#[test]
fn lookups_are_timed_in_memory_and_below() {
    let cache = run(TieredCache::<String>::builder(BytesCodec)
        .tier(Slow::new())
        .open())
    .unwrap();
    assert_eq!(cache.stats().mean_lookup(), Duration::ZERO);
    run(cache.insert(&numbered(1), "v".into(), &EntryOptions::new())).unwrap();
    for _ in 0..200 {
        run(cache.get(&numbered(1)));
    }
    let stats = cache.stats();
    assert!(stats.memory_lookup > Duration::ZERO);
    assert_eq!(
        stats.mean_lookup(),
        stats.memory_lookup,
        "nothing came from below"
    );
    cache.clear_memory();
    run(cache.get(&numbered(1)));
    let stats = cache.stats();
    assert!(
        stats.mean_lookup() >= stats.memory_lookup && stats.tiers[0].mean_lookup() > Duration::ZERO
    );
}
