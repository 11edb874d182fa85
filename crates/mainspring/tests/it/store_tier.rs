//! A session store as a cache's persistent tier.

use std::sync::Arc;

use bytes::Bytes;
use mainspring::{
    adapters::StoreTier,
    cache_tier::{BytesCodec, EntryOptions, Key, Label, Source, Tier, TierEntry, TieredCache},
    mmap_store,
};

fn open(dir: &std::path::Path, entries: u64, bytes: u64) -> StoreTier {
    let store = mmap_store::Options::new()
        .create(true)
        .open(dir)
        .expect("a store");
    StoreTier::new(store, entries, bytes).expect("a tier")
}

async fn cache(tier: StoreTier) -> TieredCache<Bytes> {
    let builder = TieredCache::builder(BytesCodec).memory(100);
    builder.tier(Arc::new(tier)).open().await.expect("a cache")
}

async fn load(cache: &TieredCache<Bytes>, key: &Key, value: &'static str) -> (Bytes, Source) {
    let options = EntryOptions::new().reads("src/main.rs");
    let loader = || async move { Ok::<_, std::io::Error>(Bytes::from(value)) };
    let fetched = cache
        .get_or_try_load(key, &options, loader)
        .await
        .expect("a value");
    (fetched.value, fetched.source)
}

#[tokio::test]
async fn a_cached_value_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let key = Key::new("session:a", "read src/main.rs");
    let first = cache(open(dir.path(), 10, 1 << 20)).await;
    assert_eq!(load(&first, &key, "one").await.1, Source::Loaded);
    first.close().await.unwrap();
    drop(first);

    let second = cache(open(dir.path(), 10, 1 << 20)).await;
    let (value, source) = load(&second, &key, "two").await;
    assert_eq!(value, "one");
    assert_ne!(source, Source::Loaded);
}

#[tokio::test]
async fn an_invalidation_survives_a_restart_although_the_entry_does_too() {
    let dir = tempfile::tempdir().unwrap();
    let key = Key::new("session:a", "read src/main.rs");
    let first = cache(open(dir.path(), 10, 1 << 20)).await;
    load(&first, &key, "one").await;
    first.invalidate_scope("session:a").await;
    first.close().await.unwrap();
    drop(first);

    let second = cache(open(dir.path(), 10, 1 << 20)).await;
    assert_eq!(
        load(&second, &key, "two").await,
        (Bytes::from("two"), Source::Loaded)
    );
}

#[tokio::test]
async fn the_oldest_entries_leave_when_a_bound_is_reached() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), 50, 1 << 20);
    let entry = TierEntry {
        value: Bytes::from_static(&[7; 100]),
        birth: 1,
        expires_at: 0,
        soft_at: 0,
        signature: None,
        labels: Vec::new(),
    };
    let key = |n: u32| Key::new("s", n.to_string());
    for n in 0..300 {
        tier.put(&key(n), &entry).await.unwrap();
        assert!(
            tier.usage().entries <= 50,
            "{} entries",
            tier.usage().entries
        );
    }
    assert!(tier.usage().evictions >= 250);
    assert_eq!(tier.get(&key(0)).await.unwrap(), None);
    assert_eq!(tier.get(&key(299)).await.unwrap(), Some(entry));
}

#[tokio::test]
async fn an_entry_too_large_to_keep_leaves_no_older_one_and_time_does_not_go_back() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), 10, 1_000);
    let entry = |size: usize, birth| TierEntry {
        value: Bytes::from(vec![7; size]),
        birth,
        expires_at: 0,
        soft_at: 0,
        signature: None,
        labels: Vec::new(),
    };
    let key = Key::new("s", "k");
    tier.put(&key, &entry(10, 70)).await.unwrap();
    tier.put(&key, &entry(2_000, 71)).await.unwrap();
    assert_eq!(tier.get(&key).await.unwrap(), None);
    drop(tier);
    assert!(open(dir.path(), 10, 1_000).marks().await.unwrap().latest >= 70);
}

#[tokio::test]
async fn forgotten_marks_become_a_floor() {
    let dir = tempfile::tempdir().unwrap();
    let tier = open(dir.path(), 10, 1 << 20);
    let labels: Vec<Label> = (0..=StoreTier::MAX_MARKS as u64)
        .map(Label::from_u64)
        .collect();
    tier.mark(&labels[..10], 5).await.unwrap();
    tier.mark(&labels[10..], 9).await.unwrap();
    let marks = tier.marks().await.unwrap();
    assert!(marks.marks.is_empty());
    assert_eq!((marks.floor, marks.latest), (9, 9));
    drop(tier);
    assert_eq!(open(dir.path(), 10, 1 << 20).marks().await.unwrap(), marks);
}

#[tokio::test]
async fn the_keys_written_last_come_first_so_that_memory_need_not_begin_cold() {
    let dir = tempfile::tempdir().unwrap();
    let first = cache(open(dir.path(), 100, 1 << 20)).await;
    for number in 0..20 {
        load(&first, &Key::new("s", number.to_string()), "value").await;
    }
    first.close().await.unwrap();
    drop(first);
    let tier = open(dir.path(), 100, 1 << 20);
    let newest = tier.keys(3).await.unwrap();
    assert_eq!(newest, [19, 18, 17].map(|n| Key::new("s", n.to_string())));
    let second = cache(tier).await;
    assert_eq!(second.warm_from_tiers(10).await, 10);
    assert!(second.in_memory(&Key::new("s", "19")));
}

#[tokio::test]
async fn a_tier_that_missed_something_is_emptied_before_it_is_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let key = Key::new("session:a", "read src/main.rs");
    let tier = open(dir.path(), 10, 1 << 20);
    tier.distrust().await.unwrap();
    let first = cache(tier).await;
    load(&first, &key, "one").await;
    first.close().await.unwrap();
    drop(first);
    let tier = open(dir.path(), 10, 1 << 20);
    assert_eq!(tier.usage().entries, 0);
    let second = cache(tier).await;
    assert_eq!(load(&second, &key, "two").await.0, "two");
    second.close().await.unwrap();
    drop(second);
    let third = cache(open(dir.path(), 10, 1 << 20)).await;
    assert_eq!(load(&third, &key, "three").await.0, "two");
}
