//! The compressed tier in memory.

use crate::double::run;
use bytes::Bytes;
use mainspring_cache_tier::{
    BytesCodec, CompressedTier, EntryOptions, Key, Source, Tier, TierEntry, TieredCache,
};
use std::sync::Arc;

fn entry(value: impl Into<Bytes>) -> TierEntry {
    TierEntry {
        value: value.into(),
        birth: 1,
        expires_at: 9,
        soft_at: 8,
        signature: Some(7),
        labels: Vec::new(),
    }
}

fn key(n: usize) -> Key {
    Key::new("s", n.to_string())
}

/// A tool result as runtimes store them.
fn json(n: usize, items: usize) -> String {
    let mut state = n as u64 * 7_919 + 1;
    let mut random = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state >> 40
    };
    let items: Vec<String> = (0..items)
        .map(|at| {
            format!(
                r#"{{"id":"call_{:06x}","type":"function","function":{{"name":"read_file","arguments":{{"path":"/work/src/module_{}.rs","line":{}}}}},"status":"completed","duration_ms":{},"index":{at}}}"#,
                random(), random() % 50, random() % 900, random() % 3_000
            )
        })
        .collect();
    format!("[{}]", items.join(","))
}

#[test]
fn gives_back_what_was_put_and_saves_room() {
    let tier = CompressedTier::new(64 << 20);
    let mut values: Vec<Bytes> = (0..200).map(|n| Bytes::from(json(n, 20))).collect();
    values.extend([
        Bytes::new(),
        Bytes::from("short"),
        Bytes::from(noise(5_000)),
    ]);
    for (n, value) in values.iter().enumerate() {
        run(tier.put(&key(n), &entry(value.clone()))).unwrap();
    }
    for (n, value) in values.iter().enumerate() {
        assert_eq!(
            run(tier.get(&key(n))).unwrap(),
            Some(entry(value.clone())),
            "value {n}"
        );
    }
    let usage = tier.usage();
    assert_eq!(
        usage.raw_bytes,
        values.iter().map(|value| value.len() as u64).sum::<u64>()
    );
    assert!(
        usage.bytes * 10 <= usage.raw_bytes * 4,
        "{} of {}",
        usage.bytes,
        usage.raw_bytes
    );
    run(tier.remove(&key(0))).unwrap();
    assert_eq!(run(tier.get(&key(0))).unwrap(), None);
    run(tier.clear()).unwrap();
    assert_eq!(
        (
            tier.usage().raw_bytes,
            tier.usage().entries,
            tier.usage().bytes
        ),
        (0, 0, 0)
    );
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let byte = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(byte).take(length).collect()
}

#[test]
fn a_dictionary_pays_for_small_values_alike_and_old_entries_stay_readable() {
    let tier = CompressedTier::new(64 << 20);
    assert!(!tier.train().unwrap(), "there is nothing to learn from");
    for n in 0..1_000 {
        run(tier.put(&key(n), &entry(json(n, 2)))).unwrap();
    }
    let before = tier.usage().bytes;
    assert!(tier.train().unwrap());
    for n in 500..1_000 {
        run(tier.put(&key(n), &entry(json(n, 2)))).unwrap();
    }
    let after = tier.usage().bytes;
    assert!(after < before, "{after} of {before}");
    for n in 0..1_000 {
        assert_eq!(
            run(tier.get(&key(n))).unwrap().unwrap().value,
            json(n, 2),
            "value {n}"
        );
    }
    let noisy = CompressedTier::new(64 << 20);
    for n in 0..100 {
        run(noisy.put(&key(n), &entry(noise(1_000 + n)))).unwrap();
    }
    let _ = noisy.train().unwrap();
    assert_eq!(
        run(noisy.get(&key(3))).unwrap().unwrap().value,
        noise(1_003)
    );
}

#[test]
fn its_bound_holds_and_its_evictions_are_counted() {
    let tier = CompressedTier::new(50_000);
    for n in 0..500 {
        run(tier.put(&key(n), &entry(json(n, 5)))).unwrap();
        let usage = tier.usage();
        assert!(usage.bytes <= 50_000 && usage.peak_bytes <= 50_000);
    }
    let usage = tier.usage();
    assert_eq!(usage.evictions + usage.entries, 500);
}

#[test]
fn serves_below_memory() {
    let tier = Arc::new(CompressedTier::new(1 << 20));
    let cache = run(TieredCache::<String>::builder(BytesCodec)
        .memory(1)
        .tier(tier)
        .open())
    .unwrap();
    run(cache.insert(&key(1), json(1, 5), &EntryOptions::new())).unwrap();
    run(cache.insert(&key(2), json(2, 5), &EntryOptions::new())).unwrap();
    let fetched = run(cache.fetch(&key(1))).unwrap();
    assert_eq!(
        (fetched.value, fetched.source),
        (json(1, 5), Source::Tier(0))
    );
    run(cache.invalidate_scope("s"));
    assert_eq!(run(cache.get(&key(2))), None);
}
