//! Futures dropped, and interleaved with invalidations, at every await.

use crate::double::{Slow, Task, pause, run, step};
use bytes::Bytes;
use mainspring_cache_tier::{BytesCodec, Effects, EntryOptions, Key, Source, Tier, TieredCache};
use std::cell::Cell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

type Boxed<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

fn key() -> Key {
    Key::new("agent:7:tools", "read /src/a.rs")
}

fn options() -> EntryOptions {
    EntryOptions::new().tag("t").reads("/src/a.rs")
}

fn opened(tiers: &[Arc<Slow>]) -> TieredCache<String> {
    let builder = TieredCache::<String>::builder(BytesCodec).memory(100);
    let builder = tiers.iter().fold(builder, |builder, tier| {
        builder.tier(Arc::clone(tier) as Arc<dyn Tier>)
    });
    run(builder.open()).unwrap()
}

/// The truth that the cache caches.
#[derive(Default)]
struct Truth(Cell<u32>);

impl Truth {
    /// Reads what is true when it begins, and takes its time.
    async fn read(&self) -> Result<String, std::io::Error> {
        let value = self.0.get().to_string();
        pause(2).await;
        Ok(value)
    }

    fn change(&self) {
        self.0.set(self.0.get() + 1);
    }
}

fn nothing_is_left(cache: &TieredCache<String>) {
    let stats = cache.stats();
    assert_eq!(
        (stats.in_flight, stats.writing),
        (0, 0),
        "something was left behind"
    );
}

fn polls_to_end(future: impl Future) -> usize {
    let mut future = pin!(future);
    (1..).find(|_| step(future.as_mut()).is_ready()).unwrap()
}

#[test]
fn a_load_dropped_at_any_await_leaves_nothing_and_another_takes_over() {
    let truth = Truth::default();
    let whole = {
        let cache = opened(&[Slow::new(), Slow::new()]);
        polls_to_end(cache.get_or_try_load(&key(), &options(), || truth.read()))
    };
    assert!(whole > 8, "{whole}");
    for at in 0..whole {
        let cache = opened(&[Slow::new(), Slow::new()]);
        let (key, options) = (key(), options());
        let mut waiting = Task::new(cache.get_or_try_load(&key, &options, || truth.read()));
        {
            let mut leading = Task::new(cache.get_or_try_load(&key, &options, || truth.read()));
            assert!(!leading.steps(at));
            if at > 0 {
                waiting.step();
            }
        }
        assert_eq!(
            waiting.finish().unwrap().value,
            "0",
            "dropped after {at} polls"
        );
        nothing_is_left(&cache);
        assert_eq!(run(cache.get(&key)).as_deref(), Some("0"));
    }
}

#[test]
fn a_panicking_load_hands_over() {
    let cache = opened(&[Slow::new()]);
    let (key, options) = (key(), options());
    let mut leading = Box::pin(cache.get_or_try_load(&key, &options, || async {
        pause(1).await;
        if cache.stats().in_flight == 1 {
            panic!("on purpose");
        }
        Ok::<_, std::io::Error>(String::new())
    }));
    let mut waiting = Box::pin(cache.get_or_try_load(&key, &options, || async {
        Ok::<_, std::io::Error>("2".into())
    }));
    assert!(step(leading.as_mut()).is_pending());
    assert!(step(waiting.as_mut()).is_pending());
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(leading)));
    assert!(caught.is_err());
    let fetched = run(waiting).unwrap();
    assert_eq!(
        (fetched.value.as_str(), fetched.source),
        ("2", Source::Loaded)
    );
    nothing_is_left(&cache);
}

#[test]
fn a_waiter_dropped_at_any_await_disturbs_nobody() {
    let truth = Truth::default();
    for at in 1..8 {
        let cache = opened(&[Slow::new()]);
        let (key, options) = (key(), options());
        let mut leading = Task::new(cache.get_or_try_load(&key, &options, || truth.read()));
        let mut second = Task::new(cache.get_or_try_load(&key, &options, || truth.read()));
        let mut third = Task::new(cache.get(&key));
        for _ in 0..at {
            leading.step();
            second.step();
            third.step();
        }
        drop(second);
        assert_eq!(leading.finish().unwrap().value, "0");
        assert_eq!(third.finish().as_deref(), Some("0"));
        assert_eq!(cache.stats().loads, 1);
        nothing_is_left(&cache);
    }
}

/// The ways in which a change of the truth is told to the cache.
fn changes<'a>(cache: &'a TieredCache<String>, key: &'a Key, which: usize) -> Boxed<'a> {
    Box::pin(async move {
        match which {
            0 => {
                cache.invalidate(key).await;
            }
            1 => cache.invalidate_tag("t").await,
            2 => cache.invalidate_scope("agent:7:*").await,
            3 => cache.invalidate_writes(&Effects::new().write("/src")).await,
            4 => cache.clear().await,
            _ => cache.insert(key, "1".into(), &options()).await.unwrap(),
        }
    })
}

const CHANGES: usize = 6;

/// Runs the load for `before` polls, then the change to its end with `between` polls of the load after each of
/// its own, then the load to its end; with something in the tiers before, or nothing.
fn interleave(which: usize, filled: bool, before: usize, between: usize) -> bool {
    let truth = Truth::default();
    let tiers = [Slow::new(), Slow::new()];
    let cache = opened(&tiers);
    let (key, options) = (key(), options());
    if filled {
        run(cache.insert(&key, "0".into(), &options)).unwrap();
        cache.clear_memory();
    }
    let mut load = Task::new(cache.get_or_try_load(&key, &options, || truth.read()));
    let ended_before = load.steps(before);
    truth.change();
    let mut change = changes(&cache, &key, which);
    for round in 0.. {
        if step(change.as_mut()).is_ready() {
            break;
        }
        assert!(round < 1_000, "the change does not end");
        // A change that waits for the load's writes needs the load to go on.
        load.steps(if round < 100 { between } else { 1 });
    }
    // The change is acknowledged: from here on nobody may see what was true before it.
    let mut get = Task::new(cache.get(&key));
    while !get.steps(100) {
        // It may wait for the load's writes to end.
        load.step();
    }
    assert_ne!(
        get.finish().as_deref(),
        Some("0"),
        "change {which}, {before}, {between}"
    );
    load.finish().unwrap();
    for _ in 0..2 {
        let seen = run(cache.get(&key));
        assert_ne!(
            seen.as_deref(),
            Some("0"),
            "a stale value came back: change {which}, {before}, {between}"
        );
        // Not from the tiers either, once memory has forgotten.
        cache.clear_memory();
    }
    let fetched = run(cache.get_or_try_load(&key, &options, || truth.read())).unwrap();
    assert_eq!(fetched.value, "1");
    nothing_is_left(&cache);
    ended_before
}

#[test]
fn a_load_that_began_before_an_invalidation_never_publishes() {
    for which in 0..CHANGES {
        for filled in [false, true] {
            for between in 0..4 {
                let complete = (0..40).find(|before| interleave(which, filled, *before, between));
                assert!(complete.is_some(), "the load never ended before the change");
            }
        }
    }
}

#[test]
fn whoever_asks_after_an_invalidation_does_not_join_an_older_load() {
    for which in 0..CHANGES - 1 {
        let truth = Truth::default();
        let cache = opened(&[Slow::new()]);
        let (key, options) = (key(), options());
        let mut old = Box::pin(cache.get_or_try_load(&key, &options, || truth.read()));
        for _ in 0..4 {
            assert!(step(old.as_mut()).is_pending());
        }
        truth.change();
        run(changes(&cache, &key, which));
        let new = run(cache.get_or_try_load(&key, &options, || truth.read())).unwrap();
        assert_eq!(new.value, "1", "change {which}");
        assert_eq!(
            run(old).unwrap().value,
            "0",
            "who asked before may see what was true then"
        );
        assert_eq!(run(cache.get(&key)).as_deref(), Some("1"), "change {which}");
    }
}

#[test]
fn a_lookup_below_during_a_write_does_not_bring_the_old_value_back() {
    for start in 0..12 {
        for between in 0..4 {
            let cache = opened(&[Slow::new(), Slow::new()]);
            let (key, options) = (key(), options());
            run(cache.insert(&key, "old".into(), &options)).unwrap();
            let mut insert = Task::new(cache.insert(&key, "new".into(), &options));
            insert.steps(start);
            cache.clear_memory();
            let mut get = Task::new(cache.get(&key));
            while !insert.step() {
                get.steps(between);
            }
            let _ = get.finish();
            let _ = insert.finish();
            assert_eq!(
                run(cache.get(&key)).as_deref(),
                Some("new"),
                "{start}, {between}"
            );
        }
    }
}

#[test]
fn writes_and_invalidations_dropped_at_any_await_leave_nothing() {
    for which in 0..CHANGES {
        for at in 0.. {
            let cache = opened(&[Slow::new(), Slow::new()]);
            let key = key();
            let mut change = changes(&cache, &key, which);
            let ended = (0..at).any(|_| step(change.as_mut()).is_ready());
            drop(change);
            nothing_is_left(&cache);
            run(cache.insert(&key, "2".into(), &options())).unwrap();
            assert_eq!(run(cache.get(&key)).as_deref(), Some("2"));
            if ended {
                break;
            }
        }
    }
}

#[test]
fn a_batch_dropped_at_any_await_leaves_nothing() {
    let keys: Vec<Key> = (0..5_u8)
        .map(|n| Key::new("s", Bytes::copy_from_slice(&[n])))
        .collect();
    let load = |keys: Vec<Key>| async move {
        pause(2).await;
        Ok::<_, std::io::Error>(
            keys.iter()
                .map(|key| Some(format!("{:?}", key.bytes())))
                .collect(),
        )
    };
    for at in 0.. {
        let slow = Slow::new();
        let cache = opened(&[Arc::clone(&slow)]);
        run(cache.insert(&keys[1], "one".into(), &EntryOptions::new())).unwrap();
        cache.clear_memory();
        let options = EntryOptions::new();
        let mut other = Task::new(cache.get(&keys[2]));
        let ended = {
            let mut batch = Box::pin(cache.get_many_or_try_load(&keys, &options, load));
            let _ = step(batch.as_mut());
            other.step();
            (0..at).any(|_| matches!(step(batch.as_mut()), Poll::Ready(Ok(found)) if found.iter().all(Option::is_some)))
        };
        other.finish();
        nothing_is_left(&cache);
        assert!(slow.batches.load(Ordering::Relaxed) <= 1);
        let all = run(cache.get_many_or_try_load(&keys, &options, load)).unwrap();
        assert_eq!(all[1].as_ref().unwrap().value, "one");
        assert!(all.iter().all(Option::is_some));
        if ended {
            break;
        }
    }
}
