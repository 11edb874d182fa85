//! Sequences that are learnt, and entries that are in memory before they are asked for.

use crate::double::{Hands, Slow, Task, run};
use mainspring_cache_tier::{
    BytesCodec, EntryOptions, Key, MissReason, Prefetch, PrefetchStats, Source, TierSettings,
    TieredCache,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

struct Bench {
    cache: TieredCache<String>,
    hands: Hands,
}

fn key(n: u8) -> Key {
    Key::new("agent:7", vec![n])
}

fn bench(settings: Prefetch) -> Bench {
    let hands = Hands::default();
    let builder = TieredCache::<String>::builder(BytesCodec)
        .memory_ttl(Duration::from_secs(3_600))
        .clock(hands.clock())
        .tier_with(Slow::new(), TierSettings::new().ttl(None))
        .prefetch(settings);
    let cache = run(builder.open()).unwrap();
    for n in 0..100 {
        run(cache.insert(&key(n), n.to_string(), &EntryOptions::new())).unwrap();
    }
    cache.clear_memory();
    Bench { cache, hands }
}

impl Bench {
    fn get(&self, n: u8) -> Source {
        run(self.cache.fetch(&key(n))).unwrap().source
    }

    /// One key after the other, often enough to be learnt.
    fn teach(&self, keys: &[u8]) {
        for _ in 0..4 {
            for n in keys {
                self.get(*n);
                self.hands.advance(Duration::from_millis(100));
            }
        }
        self.cache.clear_memory();
        // What was predicted meanwhile is given up.
        self.hands.advance(Duration::from_secs(60));
    }

    fn stats(&self) -> PrefetchStats {
        self.cache.stats().prefetch
    }
}

#[test]
fn what_always_follows_is_in_memory_before_it_is_asked_for() {
    let bench = bench(Prefetch::new());
    bench.teach(&[1, 2, 3]);
    let mut driver = Task::new(bench.cache.prefetch());
    assert_eq!(bench.get(1), Source::Tier(0));
    driver.steps(100);
    let left = bench.cache.explain(&key(2)).expires_in.unwrap();
    assert_eq!(left, Duration::from_secs(300), "not the hour of others");
    assert_eq!(bench.cache.explain(&key(2)).proven, Some(false));
    let before = bench.stats().right;
    assert_eq!(bench.get(2), Source::Memory);
    driver.steps(100);
    assert_eq!(bench.get(3), Source::Memory);
    assert_eq!(bench.stats().right, before + 2);
    assert_eq!(bench.stats().wrong, 0);
}

#[test]
fn what_follows_less_often_is_left_alone() {
    let bench = bench(Prefetch::new());
    // Two of three times is less than 0.7.
    bench.teach(&[1, 2, 1, 2, 1, 3]);
    let mut driver = Task::new(bench.cache.prefetch());
    bench.get(1);
    driver.steps(100);
    assert!(!bench.cache.in_memory(&key(2)) && !bench.cache.in_memory(&key(3)));
}

#[test]
fn what_was_fetched_in_vain_is_dropped_30_seconds_after_its_time() {
    let bench = bench(Prefetch::new());
    bench.teach(&[1, 2]);
    let mut driver = Task::new(bench.cache.prefetch());
    let wrong = bench.stats().wrong;
    bench.get(1);
    driver.steps(100);
    assert!(bench.cache.in_memory(&key(2)));
    bench.hands.advance(Duration::from_millis(29_900));
    bench.get(50);
    assert!(bench.cache.in_memory(&key(2)));
    bench.hands.advance(Duration::from_secs(1));
    bench.get(51);
    assert!(!bench.cache.in_memory(&key(2)));
    assert!(bench.stats().wrong > wrong);
}

#[test]
fn it_switches_itself_off_when_it_is_mostly_wrong_and_tries_again() {
    let bench = bench(Prefetch::new());
    bench.teach(&[1, 2]);
    let mut driver = Task::new(bench.cache.prefetch());
    let mut switched_off = false;
    for _ in 0..200 {
        // Something else is asked for where the other key is expected, in another scope, so that nothing is unlearnt.
        bench.get(1);
        driver.steps(50);
        bench.cache.clear_memory();
        bench.hands.advance(Duration::from_secs(60));
        let _ = run(bench.cache.fetch(&Key::new("elsewhere", "x")));
        bench.hands.advance(Duration::from_secs(60));
        switched_off |= bench.stats().off;
        if switched_off {
            break;
        }
    }
    assert!(switched_off, "{:?}", bench.stats());
    let predicted = bench.stats().predicted;
    bench.get(1);
    assert_eq!(bench.stats().predicted, predicted);
    for _ in 0..4_096 {
        let _ = run(bench.cache.fetch(&Key::new("elsewhere", "x")));
    }
    assert!(!bench.stats().off);
    bench.get(1);
    assert_eq!(bench.stats().predicted, predicted + 1);
}

#[test]
fn the_gate_decides_and_without_settings_nothing_is_learnt() {
    let open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&open);
    let bench = bench(Prefetch::new().gate(move |_| gate.load(Ordering::Relaxed)));
    bench.teach(&[1, 2]);
    bench.get(1);
    assert_eq!(bench.stats().predicted, 0);
    open.store(true, Ordering::Relaxed);
    bench.get(1);
    assert_eq!(bench.stats().predicted, 1);
    let plain = run(TieredCache::<String>::builder(BytesCodec).open()).unwrap();
    run(plain.prefetch());
    assert_eq!(plain.stats().prefetch, PrefetchStats::default());
}

#[test]
fn the_gate_may_use_the_cache() {
    let cache = Arc::new(OnceLock::<TieredCache<String>>::new());
    let asked = Arc::clone(&cache);
    let bench = bench(Prefetch::new().gate(move |_| {
        let free = |cache: &TieredCache<String>| cache.stats().prefetch.predicted < 1_000;
        asked.get().is_none_or(free)
    }));
    assert!(cache.set(bench.cache.clone()).is_ok());
    bench.teach(&[1, 2]);
    bench.get(1);
    assert!(bench.stats().predicted > 0);
}

#[test]
fn what_is_prefetched_is_on_probation_whatever_was_evicted_before() {
    let bench = bench(Prefetch::new());
    bench.teach(&[1, 2]);
    bench.cache.resize_memory(32);
    bench.get(1);
    bench.get(2);
    let evicted = |n| {
        bench.get(n);
        !bench.cache.in_memory(&key(1)) && !bench.cache.in_memory(&key(2))
    };
    assert!((3..100).any(evicted), "evicted for want of room");
    let miss = bench.cache.explain(&key(2)).miss;
    assert_eq!(miss, Some(MissReason::EvictedLately));
    bench.hands.advance(Duration::from_secs(60));
    let mut driver = Task::new(bench.cache.prefetch());
    bench.get(1);
    driver.steps(100);
    assert_eq!(bench.cache.explain(&key(2)).proven, Some(false));
}

#[test]
fn of_what_is_predicted_the_surest_comes_first_and_is_marked_until_it_is_asked_for() {
    let bench = bench(Prefetch::new().confidence(0.6));
    // 2 follows 1 in three of four times, 12 always follows 11.
    for followed in [2, 2, 2, 50, 2, 2, 2, 50] {
        bench.get(1);
        bench.get(followed);
    }
    bench.teach(&[11, 12, 90, 11, 12, 91]);
    bench.get(1);
    bench.get(11);
    let mut driver = Task::new(bench.cache.prefetch());
    let there = |n: u8| bench.cache.in_memory(&key(n));
    while !there(2) && !there(12) {
        driver.step();
    }
    assert!(there(12) && !there(2));
    driver.steps(100);
    assert!(there(2));
    let marked = |n: u8| bench.cache.explain(&key(n)).prefetched;
    assert!(marked(12) && marked(2) && !marked(11));
    bench.get(12);
    assert!(!marked(12) && marked(2));
}
