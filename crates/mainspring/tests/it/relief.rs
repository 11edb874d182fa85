//! Memory pressure frees idle buffers first and cached results only when that was not enough.

use std::time::Duration;

use bytes::Bytes;
use mainspring::{
    adapters::relief,
    cache_tier::{BytesCodec, EntryOptions, Key, TieredCache},
    monitor::Registry,
    pool::BufferPool,
};

#[tokio::test]
async fn buffers_go_first_and_cached_results_only_under_more_pressure() {
    let cache = TieredCache::<Bytes>::builder(BytesCodec)
        .memory(10)
        .open()
        .await
        .unwrap();
    let key = Key::new("s", "k");
    cache
        .insert(&key, Bytes::from("value"), &EntryOptions::new())
        .await
        .unwrap();
    let buffers = BufferPool::new();
    drop((0..20).map(|_| buffers.get(64 << 10)).collect::<Vec<_>>());
    let held = buffers.stats().bytes;
    assert!(held > 0);

    let registry = Registry::new();
    let mut pressure = relief(&registry, 100, 200, &buffers, &cache);
    assert!(pressure.check(Duration::ZERO, || 99).is_empty());
    let reliefs = pressure.check(Duration::from_secs(1), || 150);
    assert_eq!(reliefs.len(), 1);
    assert!(buffers.stats().bytes < held);
    assert!(cache.in_memory(&key));

    let reliefs = pressure.check(Duration::from_secs(60), || 250);
    assert_eq!(reliefs.len(), 2);
    assert_eq!(buffers.stats().bytes, 0);
    assert!(!cache.in_memory(&key));
}
