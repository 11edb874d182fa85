//! Memory over a directory: what was loaded once is there after a restart.
//! `cargo run -p mainspring-cache-tier --example two_tiers` twice.

use mainspring_cache_tier::{BytesCodec, DirTier, EntryOptions, Error, Key, TieredCache};
use std::sync::Arc;

async fn answer() -> Result<(), Error> {
    let folder = std::env::temp_dir().join("mainspring-two-tiers");
    let tier = Arc::new(DirTier::open(folder)?);
    let cache = TieredCache::<String>::builder(BytesCodec)
        .memory(1_000)
        .tier(tier)
        .open()
        .await?;

    let key = Key::new("example", "the answer");
    let load = || async { Ok::<_, std::io::Error>("42, computed at some cost".to_owned()) };
    for _ in 0..2 {
        let fetched = cache
            .get_or_try_load(&key, &EntryOptions::new(), load)
            .await?;
        println!("{:?}: {}", fetched.source, fetched.value);
    }
    cache.close().await
}

fn main() -> Result<(), Error> {
    // Any runtime will do. This future waits for nothing but files, so it needs none.
    futures_util::FutureExt::now_or_never(answer()).unwrap_or(Ok(()))
}
