//! Writes that wait for their turn.

use crate::double::{Hands, Slow, run, step};
use crate::tiers::{key, plain};
use bytes::Bytes;
use mainspring_cache_tier::{BytesCodec, Key, TierSettings, TieredCache};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[test]
fn written_behind_is_found_at_once_and_written_on_close() {
    let slow = Slow::new();
    let builder = TieredCache::<String>::builder(BytesCodec)
        .tier(slow.clone())
        .write_behind(2, 100_000);
    let cache = run(builder.open()).unwrap();
    let [a, b, c] = ["a", "b", "c"].map(key);
    run(cache.insert(&a, "1".into(), &plain())).unwrap();
    run(cache.insert(&a, "2".into(), &plain())).unwrap();
    run(cache.insert(&b, "3".into(), &plain())).unwrap();
    assert_eq!(
        (
            slow.entries.lock().unwrap().len(),
            cache.stats().waiting_writes
        ),
        (0, 2)
    );
    cache.clear_memory();
    assert_eq!(
        run(cache.get(&a)).as_deref(),
        Some("2"),
        "the queue is asked before the tier"
    );
    run(cache.insert(&c, "4".into(), &plain())).unwrap();
    assert_eq!(
        slow.entries.lock().unwrap().len(),
        1,
        "a full queue writes through"
    );
    run(cache.invalidate(&b));
    let mut driver = Box::pin(cache.drive());
    for _ in 0..20 {
        assert!(
            step(driver.as_mut()).is_pending(),
            "the driver ends only when the cache closes"
        );
    }
    let written = |name: &Key| {
        slow.entries
            .lock()
            .unwrap()
            .get(name)
            .map(|entry| entry.value.clone())
    };
    assert_eq!((written(&a), written(&b)), (Some(Bytes::from("2")), None));
    run(cache.insert(&b, "5".into(), &plain())).unwrap();
    run(cache.close()).unwrap();
    assert_eq!(
        (written(&b), cache.stats().waiting_writes),
        (Some(Bytes::from("5")), 0)
    );
    assert!(step(driver.as_mut()).is_ready());
    run(cache.insert(&b, "6".into(), &plain())).unwrap();
    assert_eq!(
        written(&b),
        Some(Bytes::from("6")),
        "a closed cache writes through"
    );
}

#[test]
fn what_waits_to_be_written_ends_with_its_time() {
    let (hands, slow) = (Hands::default(), Slow::new());
    let settings = TierSettings::new()
        .ttl(Duration::from_secs(100))
        .jitter(0.0);
    let builder = TieredCache::<String>::builder(BytesCodec)
        .clock(hands.clock())
        .memory_ttl(Duration::from_secs(50))
        .tier_with(slow.clone(), settings)
        .write_behind(10, 100_000);
    let cache = run(builder.open()).unwrap();
    let own = plain().ttl(Duration::from_secs(1));
    run(cache.insert(&key("own"), "v".into(), &own)).unwrap();
    run(cache.insert(&key("tier"), "v".into(), &plain())).unwrap();
    hands.advance(Duration::from_secs(1));
    assert_eq!(run(cache.get(&key("own"))), None);
    assert_eq!(run(cache.get(&key("tier"))).as_deref(), Some("v"));
    hands.advance(Duration::from_secs(99));
    assert_eq!(run(cache.get(&key("tier"))), None);
    run(cache.flush()).unwrap();
    assert!(slow.entries.lock().unwrap()[&key("own")].expires_at <= 1_001_000);
}

struct Woken(std::sync::atomic::AtomicBool);

impl std::task::Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn closing_wakes_every_driver() {
    let builder = TieredCache::<String>::builder(BytesCodec)
        .tier(Slow::new())
        .write_behind(2, 100_000);
    let cache = run(builder.open()).unwrap();
    let woken = [false; 2].map(|never| Arc::new(Woken(never.into())));
    let mut drivers = [Box::pin(cache.drive()), Box::pin(cache.drive())];
    for (driver, woken) in drivers.iter_mut().zip(&woken) {
        let waker = std::task::Waker::from(Arc::clone(woken));
        let mut context = std::task::Context::from_waker(&waker);
        assert!(driver.as_mut().poll(&mut context).is_pending());
    }
    run(cache.close()).unwrap();
    assert!(woken.iter().all(|woken| woken.0.load(Ordering::Relaxed)));
}
