//! Which caches can be done without, values that are held weakly, what a tier failed to store.

use crate::double::{Slow, run};
use mainspring_cache_tier::{
    BytesCodec, Cache, Caches, EntryOptions, Error, Key, Tier, TieredCache, WeakCache, Weigh,
};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

#[test]
fn what_the_process_can_do_without_goes_first_and_the_rest_only_when_asked() {
    let caches = Caches::new();
    let agents: Cache<u64, u64> = Cache::new(10);
    let files: Cache<u64, u64> = Cache::builder(100)
        .weigher(|_, _| 7)
        .non_essential()
        .build()
        .unwrap();
    let answers = TieredCache::<String>::builder(BytesCodec).non_essential();
    let answers = run(answers.tier(Slow::new()).open()).unwrap();
    let key = Key::new("http", "k");
    let fill = || {
        agents.insert(1, 1);
        files.insert(1, 1);
        files.insert(2, 2);
        run(answers.insert(&key, "a".into(), &EntryOptions::new())).unwrap();
    };
    caches.add("agents", &agents);
    caches.add("files", &files);
    caches.add_tiered("answers", &answers);
    fill();
    let cleared = caches.clear_non_essential();
    let told: Vec<_> = cleared
        .iter()
        .map(|one| (one.name.as_str(), one.entries, one.weight))
        .collect();
    assert_eq!(told, [("files", 2, 14), ("answers", 1, 1)]);
    assert_eq!((agents.len(), files.len()), (1, 0));
    assert!(!answers.in_memory(&key));
    assert_eq!(
        run(answers.get(&key)).as_deref(),
        Some("a"),
        "tiers keep theirs"
    );
    fill();
    let all: Vec<_> = caches.clear_all().into_iter().map(|one| one.name).collect();
    assert_eq!(all, ["files", "answers", "agents"]);
    assert_eq!((agents.len(), files.len()), (0, 0));
    drop(files);
    assert_eq!(
        caches.names(),
        [("agents".to_owned(), true), ("answers".to_owned(), false)],
        "none is kept alive"
    );
}

#[test]
fn a_value_is_found_while_somebody_holds_it_and_its_entry_goes_after() {
    let cache: WeakCache<u32, str> = WeakCache::new(1_000);
    let held: Arc<str> = Arc::from("held");
    cache.insert(1, &held);
    assert!(Arc::ptr_eq(&cache.get(&1).unwrap(), &held));
    assert_eq!(Arc::strong_count(&held), 1, "the cache holds none");
    drop(held);
    assert_eq!(cache.get(&1), None);
    assert_eq!(cache.len(), 0, "met, it went");
    let kept: Arc<str> = Arc::from("kept");
    cache.insert(0, &kept);
    for key in 1..640 {
        cache.insert(key, &Arc::from("dropped"));
    }
    assert!(cache.len() <= 64 + 1, "{} entries", cache.len());
    assert!(cache.get(&0).is_some());
    assert!(cache.remove(&0) && cache.get(&0).is_none());
}

#[test]
fn all_who_ask_at_once_hold_the_same_value_and_a_dropped_one_is_made_anew() {
    let cache: WeakCache<u32, String> = WeakCache::new(16);
    let (made, together) = (AtomicUsize::new(0), Barrier::new(8));
    let ask = || {
        together.wait();
        cache.get_or_insert_with(7, || {
            made.fetch_add(1, Ordering::Relaxed);
            Arc::new("one".to_owned())
        })
    };
    for round in 1..=20 {
        let values: Vec<Arc<String>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(values.iter().all(|one| Arc::ptr_eq(one, &values[0])));
        assert_eq!(made.load(Ordering::Relaxed), round);
    }
}

#[test]
fn what_is_not_to_be_kept_goes_and_the_listener_hears_of_it() {
    let told = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&told);
    let cache: Cache<u32, u32> = Cache::builder(1_000)
        .on_evict(move |_, _, _| {
            count.fetch_add(1, Ordering::Relaxed);
        })
        .build()
        .unwrap();
    for n in 0..100 {
        cache.insert(n, n);
    }
    cache.retain(|key, _| key % 4 == 0);
    assert_eq!((cache.len(), told.load(Ordering::Relaxed)), (25, 75));
    assert!((0..100).all(|n| cache.contains(&n) == (n % 4 == 0)));
}

#[test]
fn a_tier_that_fails_does_not_fail_a_set_and_is_named() {
    let tiers = [Slow::new(), Slow::new(), Slow::new()];
    let builder = TieredCache::<String>::builder(BytesCodec);
    let builder = tiers.iter().fold(builder, |builder, tier| {
        builder.tier(Arc::clone(tier) as Arc<dyn Tier>)
    });
    let cache = run(builder.open()).unwrap();
    let (key, options) = (Key::new("s", "k"), EntryOptions::new());
    let stored = run(cache.set(&key, "one".into(), &options)).unwrap();
    assert!(stored.is_everywhere() && stored.failed.is_empty());
    tiers[1].broken.store(true, Ordering::Relaxed);
    let stored = run(cache.set(&key, "two".into(), &options)).unwrap();
    assert!(!stored.is_everywhere() && !stored.waits);
    let [failed] = &stored.failed[..] else {
        panic!("{stored:?}")
    };
    assert_eq!((failed.tier, &*failed.name), (1, "slow"));
    assert!(failed.error.to_string().contains("broken on purpose"));
    // It could not even be emptied of the old value: it is not written to, which is told as well.
    let stored = run(cache.set(&key, "three".into(), &options)).unwrap();
    assert!(matches!(stored.failed[0].error, Error::Unavailable { .. }));
    assert_eq!(run(cache.get(&key)).as_deref(), Some("three"));
    tiers[1].broken.store(false, Ordering::Relaxed);
    assert!(
        run(cache.set(&key, "four".into(), &options))
            .unwrap()
            .is_everywhere()
    );
    cache.clear_memory();
    tiers[0].entries.lock().unwrap().clear();
    assert_eq!(run(cache.get(&key)).as_deref(), Some("four"));
}

#[test]
fn written_behind_a_set_says_that_it_waits() {
    let builder = TieredCache::<String>::builder(BytesCodec).write_behind(1, 1_000);
    let cache = run(builder.tier(Slow::new()).open()).unwrap();
    let set = |name: &str| {
        let key = Key::new("s", name.to_owned());
        run(cache.set(&key, "v".into(), &EntryOptions::new())).unwrap()
    };
    assert!(set("a").waits);
    assert!(set("b").is_everywhere(), "the queue was full");
}

#[test]
fn weighed_in_bytes_a_cache_holds_its_bytes_whatever_the_values() {
    let cache: Cache<String, Arc<str>> =
        Cache::builder(20_000).in_bytes().shards(1).build().unwrap();
    let mut all = 0;
    for n in 0..500_usize {
        let (key, value) = (format!("key {n}"), Arc::<str>::from("v".repeat(n)));
        all += key.weight() + value.weight();
        cache.insert(key, value);
        assert!(cache.weight() <= 20_000);
    }
    assert!(all > 100_000 && cache.weight() > 18_000 && cache.stats().peak_weight <= 20_000);
    let tiered = TieredCache::<String>::builder(BytesCodec)
        .memory(5_000)
        .in_bytes();
    let tiered = run(tiered.open()).unwrap();
    for n in 0..50_u8 {
        let key = Key::new("s", vec![n]);
        run(tiered.insert(&key, "v".repeat(400), &EntryOptions::new())).unwrap();
    }
    let stats = tiered.stats().memory;
    assert!(stats.weight <= 5_000 && stats.weight > 4_000 && stats.entries < 13);
}
