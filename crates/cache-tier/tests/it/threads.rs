//! Interleavings of threads, explored by shuttle:
//! `RUSTFLAGS="--cfg shuttle" cargo test -p mainspring-cache-tier --test it`.

use mainspring_cache_tier::{BytesCodec, Cache, EntryOptions, Key, TieredCache};
use shuttle::future::block_on;
use shuttle::sync::Arc;
use shuttle::sync::atomic::{AtomicU64, Ordering};
use shuttle::thread;
use std::future::{Future, poll_fn};
use std::task::Poll;

const ITERATIONS: usize = 1_000;

/// A truth that changes, and is announced to have changed after that.
fn tells_no_old_value(invalidate: fn(&Cache<u8, u64>), capacity: u64) {
    let cache: Cache<u8, u64> = Cache::new(capacity);
    let truth = Arc::new(AtomicU64::new(0));
    let options = EntryOptions::new().tag("t").scope("agent:7");
    let ask = |cache: &Cache<u8, u64>, truth: &AtomicU64, options: &EntryOptions| {
        cache
            .get_or_try_insert(1, options, || Ok::<_, ()>(truth.load(Ordering::SeqCst)))
            .unwrap()
    };
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (cache, truth, options) = (cache.clone(), Arc::clone(&truth), options.clone());
            thread::spawn(move || {
                ask(&cache, &truth, &options);
                ask(&cache, &truth, &options);
            })
        })
        .collect();
    truth.store(1, Ordering::SeqCst);
    invalidate(&cache);
    assert_eq!(
        ask(&cache, &truth, &options),
        1,
        "an old value after the invalidation"
    );
    readers
        .into_iter()
        .for_each(|reader| reader.join().unwrap());
    assert_eq!(
        ask(&cache, &truth, &options),
        1,
        "an old value was published late"
    );
    assert!(cache.weight() <= capacity);
}

#[test]
fn a_load_against_an_invalidation_of_its_key() {
    shuttle::check_random(
        || {
            tells_no_old_value(
                |cache| assert!(cache.remove(&1).is_none_or(|old| old < 2)),
                10,
            )
        },
        ITERATIONS,
    );
}

#[test]
fn a_load_against_an_invalidation_of_its_tag() {
    shuttle::check_random(
        || tells_no_old_value(|cache| cache.invalidate_tag("t"), 10),
        ITERATIONS,
    );
}

#[test]
fn a_load_against_an_invalidation_of_its_scope() {
    shuttle::check_random(
        || tells_no_old_value(|cache| cache.invalidate_scope("agent:*"), 10),
        ITERATIONS,
    );
}

#[test]
fn a_load_against_clear() {
    shuttle::check_random(|| tells_no_old_value(Cache::clear, 10), ITERATIONS);
}

#[test]
fn the_bound_holds_under_concurrent_inserts() {
    shuttle::check_random(
        || {
            let cache: Cache<u64, u64> = Cache::new(2);
            let writers: Vec<_> = (0..3)
                .map(|thread| {
                    let cache = cache.clone();
                    thread::spawn(move || {
                        for key in 0..3 {
                            cache.insert(key + thread, key);
                            assert!(cache.weight() <= 2);
                            let _ = cache.get(&key);
                        }
                    })
                })
                .collect();
            writers
                .into_iter()
                .for_each(|writer| writer.join().unwrap());
            assert_eq!(cache.len(), 2);
        },
        ITERATIONS,
    );
}

#[test]
fn one_load_through_the_tiered_cache_against_invalidation() {
    shuttle::check_random(
        || {
            let cache = block_on(TieredCache::<String>::builder(BytesCodec).open()).unwrap();
            let truth = Arc::new(AtomicU64::new(0));
            let ask = |cache: TieredCache<String>, truth: Arc<AtomicU64>| async move {
                let load = || async {
                    let value = truth.load(Ordering::SeqCst).to_string();
                    shuttle::future::yield_now().await;
                    Ok::<_, std::io::Error>(value)
                };
                let key = Key::new("agent:7", "k");
                cache
                    .get_or_try_load(&key, &EntryOptions::new(), load)
                    .await
                    .unwrap()
                    .value
            };
            let readers: Vec<_> = (0..2)
                .map(|which| {
                    let asked = ask(cache.clone(), Arc::clone(&truth));
                    thread::spawn(move || {
                        // One of them gives up somewhere on the way.
                        let mut asked = Box::pin(asked);
                        if which == 0 {
                            block_on(poll_fn(|context| {
                                let _ = asked.as_mut().poll(context);
                                Poll::Ready(())
                            }));
                        } else {
                            block_on(asked);
                        }
                    })
                })
                .collect();
            truth.store(1, Ordering::SeqCst);
            block_on(cache.invalidate_scope("agent:7"));
            assert_eq!(block_on(ask(cache.clone(), Arc::clone(&truth))), "1");
            readers
                .into_iter()
                .for_each(|reader| reader.join().unwrap());
            assert_eq!(block_on(ask(cache.clone(), Arc::clone(&truth))), "1");
            assert_eq!(cache.stats().in_flight, 0);
        },
        ITERATIONS,
    );
}

#[test]
fn a_hit_that_checks_its_labels_against_an_invalidation() {
    shuttle::check_random(
        || {
            let cache: Cache<u8, u64> = Cache::new(10);
            cache.insert_with(1, 0, &EntryOptions::new().tag("t"));
            let reader = {
                let cache = cache.clone();
                thread::spawn(move || drop(cache.get(&1)))
            };
            cache.invalidate_tag("t");
            // Not asked before the reader has ended: it would take the entry away.
            reader.join().unwrap();
            assert_eq!(cache.get(&1), None, "found valid for a later version");
        },
        20 * ITERATIONS,
    );
}
