//! Loads in the synchronous cache: one per key, whatever happens to it.

use mainspring_cache_tier::{Cache, Compute, EntryOptions, EvictionCause};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};

#[test]
fn many_threads_one_load() {
    let cache: Cache<u8, u64> = Cache::new(10);
    let loads = AtomicU64::new(0);
    let start = Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                start.wait();
                let value = cache.get_or_insert_with(1, || {
                    std::thread::yield_now();
                    loads.fetch_add(1, Ordering::Relaxed) + 7
                });
                assert_eq!(value, 7);
            });
        }
    });
    assert_eq!(loads.into_inner(), 1);
    assert_eq!(cache.stats().loads, 1);
}

#[test]
fn a_panic_hands_over_to_one_that_waits() {
    let cache: Cache<u8, &str> = Cache::new(10);
    let both = Barrier::new(2);
    std::thread::scope(|scope| {
        let panicking = scope.spawn(|| {
            let load = || -> &'static str {
                both.wait();
                std::thread::yield_now();
                panic!("on purpose");
            };
            catch_unwind(AssertUnwindSafe(|| cache.get_or_insert_with(1, load))).is_err()
        });
        both.wait();
        assert_eq!(cache.get_or_insert_with(1, || "second"), "second");
        assert!(panicking.join().unwrap());
    });
    assert_eq!(cache.get(&1), Some("second"));
    assert_eq!(cache.stats().load_failures, 1);
}

#[test]
fn an_error_reaches_only_the_one_whose_loader_failed() {
    let cache: Cache<u8, u8> = Cache::new(10);
    assert_eq!(cache.get_or_try_insert_with(1, || Err("no")), Err("no"));
    assert_eq!(cache.get_or_try_insert_with(1, || Ok::<u8, &str>(2)), Ok(2));
}

#[test]
fn a_load_inside_the_load_of_the_same_key_does_not_deadlock() {
    let cache: Cache<u8, u8> = Cache::new(10);
    let value = cache.get_or_insert_with(1, || cache.get_or_insert_with(1, || 1) + 1);
    assert_eq!(value, 2);
    assert_eq!(cache.get(&1), Some(2));
}

#[test]
fn a_load_that_began_before_an_invalidation_never_publishes() {
    type Change = fn(&Cache<u8, u8>);
    let changes: [(&str, Change); 6] = [
        ("key", |cache| assert!(!cache.invalidate(&1))),
        ("tag", |cache| cache.invalidate_tag("t")),
        ("scope", |cache| cache.invalidate_scope("agent:*")),
        ("root", |cache| cache.invalidate_scope("*")),
        ("clear", Cache::clear),
        ("resource", |cache| {
            cache.invalidate_writes(&mainspring_cache_tier::Effects::new().write("/src"))
        }),
    ];
    let options = EntryOptions::new()
        .tag("t")
        .scope("agent:7")
        .reads("/src/a.rs");
    for (name, change) in changes {
        let cache: Cache<u8, u8> = Cache::new(10);
        let got = cache.get_or_try_insert(1, &options, || {
            change(&cache);
            Ok::<u8, ()>(1)
        });
        assert_eq!(got, Ok(1), "the caller has its value: {name}");
        assert_eq!(cache.get(&1), None, "a stale value was published: {name}");
        let again = cache.get_or_try_insert(1, &options, || Ok::<u8, ()>(2));
        assert_eq!((again, cache.get(&1)), (Ok(2), Some(2)), "{name}");
    }
}

#[test]
fn a_value_written_during_a_load_wins() {
    let cache: Cache<u8, u8> = Cache::new(10);
    let got = cache.get_or_insert_with(1, || {
        cache.insert(1, 5);
        4
    });
    assert_eq!((got, cache.get(&1)), (4, Some(5)));
}

#[test]
fn the_listener_hears_of_what_a_computation_replaced() {
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let heard = std::sync::Arc::clone(&told);
    let cache: Cache<u8, u8> = Cache::builder(10)
        .on_evict(move |key, value, cause| heard.lock().unwrap().push((*key, *value, cause)))
        .build()
        .unwrap();
    cache.insert(1, 2);
    assert_eq!(cache.compute(1, |_| Compute::Put(3)), Some(3));
    assert_eq!(*told.lock().unwrap(), [(1, 2, EvictionCause::Replaced)]);
}
