//! A filter in front of a tier hides nothing and spares questions.

use std::sync::Arc;

use bytes::Bytes;
use mainspring::{
    adapters::FilteredTier,
    cache_tier::{BytesCodec, DirTier, EntryOptions, Key, Source, Tier, TieredCache},
};

fn key(number: u32) -> Key {
    Key::new("s", number.to_string())
}

async fn open(dir: &std::path::Path) -> (TieredCache<Bytes>, Arc<FilteredTier<DirTier>>) {
    let tier = DirTier::open(dir).expect("a folder");
    let tier = Arc::new(FilteredTier::new(tier, 1_000).await.expect("a filter"));
    let builder = TieredCache::builder(BytesCodec).memory(1);
    let cache = builder.tier(Arc::clone(&tier) as _).open().await;
    (cache.expect("a cache"), tier)
}

async fn get(cache: &TieredCache<Bytes>, number: u32, load: &'static str) -> (Bytes, Source) {
    let loader = || async move { Ok::<_, std::io::Error>(Bytes::from(load)) };
    let options = EntryOptions::new();
    let fetched = cache.get_or_try_load(&key(number), &options, loader).await;
    let fetched = fetched.expect("a value");
    (fetched.value, fetched.source)
}

#[tokio::test]
async fn what_is_there_is_found_also_after_a_restart_and_what_is_not_is_not_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, tier) = open(dir.path()).await;
    for number in 0..200 {
        assert_eq!(get(&cache, number, "one").await.1, Source::Loaded);
    }
    assert!(tier.spared() > 190, "{} of 200", tier.spared());
    for number in 0..200 {
        assert_ne!(get(&cache, number, "two").await.1, Source::Loaded);
    }
    cache.close().await.unwrap();
    drop((cache, tier));

    let (cache, tier) = open(dir.path()).await;
    let keys: Vec<_> = (0..400).map(key).collect();
    let found = tier.get_many(&keys).await.unwrap();
    assert!(found[..200].iter().all(Option::is_some));
    assert!(found[200..].iter().all(Option::is_none));
    assert!(tier.spared() > 190, "{} of 200", tier.spared());
    for number in 0..200 {
        assert_eq!(get(&cache, number, "two").await.0, "one");
    }
}
