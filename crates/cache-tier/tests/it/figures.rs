//! What is counted, and what a cache that starts can begin with.

use crate::double::run;
use mainspring_cache_tier::{
    BytesCodec, DirTier, EntryOptions, Key, Tier, TieredCache, TieredStats,
};
use std::sync::Arc;
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
