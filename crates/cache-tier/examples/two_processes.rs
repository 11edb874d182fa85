//! Two processes over one Redis: what one invalidates, the other does not find any more.
//! Needs a server. Run it in two terminals:
//! `cargo run -p mainspring-cache-tier --features redis --example two_processes -- redis://127.0.0.1:6379`

use mainspring_cache_tier::{BytesCodec, EntryOptions, Error, Key, RedisTier, TieredCache};
use std::sync::Arc;
use std::time::Duration;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let Some(url) = std::env::args().nth(1) else {
        println!(
            "this example needs the address of a Redis or Valkey server, for instance redis://127.0.0.1:6379"
        );
        return Ok(());
    };
    let tier = Arc::new(RedisTier::open(&url, "mainspring-example")?);
    let builder = TieredCache::<String>::builder(BytesCodec).tier(tier);
    let cache = builder.open().await?;
    // What the other process writes or invalidates leaves memory here as soon as the server tells of it.
    let tracked = cache.clone();
    tokio::spawn(async move { tracked.track().await });
    let (me, key) = (std::process::id(), Key::new("team:1", "who loaded this"));
    for round in 0..20 {
        let load =
            || async { Ok::<_, std::io::Error>(format!("process {me} in its round {round}")) };
        let fetched = cache
            .get_or_try_load(&key, &EntryOptions::new(), load)
            .await?;
        println!("{:?}: {}", fetched.source, fetched.value);
        if round % 5 == 4 {
            cache.invalidate_scope("team:1").await;
            println!("process {me} invalidated the scope");
        }
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    Ok(())
}
