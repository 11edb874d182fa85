//! Two machines (or processes): results shared through Redis, checkpoints through an object store.
//!
//! Needs a server. Run it in two terminals, with the same folder standing for the object store:
//! `cargo run -p mainspring --features full,redis,object-store --example two_machines -- redis://127.0.0.1:6379 /tmp/objects`

use std::{sync::Arc, time::Duration};

use mainspring::{
    cache_tier::{BytesCodec, EntryOptions, Key, RedisTier, TieredCache},
    delta_snapshot::{CommitOptions, ObjectBacking, Options, Snapshots},
};
use object_store::local::LocalFileSystem;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(redis), Some(objects)) = (arguments.next(), arguments.next()) else {
        println!("this example needs the address of a Redis server and a folder for objects");
        return Ok(());
    };
    let cache = TieredCache::<String>::builder(BytesCodec)
        .memory_ttl(Duration::from_secs(1)) // what the other machine invalidates lives no longer here
        .tier(Arc::new(RedisTier::open(
            &redis,
            "mainspring-two-machines",
        )?))
        .open()
        .await?;
    let key = Key::new("team:1", "build plan");
    let me = std::process::id();
    let load = || async { Ok::<_, std::io::Error>(format!("the plan that process {me} made")) };
    let plan = cache
        .get_or_try_load(&key, &EntryOptions::new(), load)
        .await?;
    println!("{:?}: {}", plan.source, plan.value);

    std::fs::create_dir_all(&objects)?;
    let store = Arc::new(LocalFileSystem::new_with_prefix(&objects)?);
    let backing = ObjectBacking::new(store, "checkpoints", tokio::runtime::Handle::current());
    let thread = format!("process-{me}");
    let listed = tokio::task::spawn_blocking(move || {
        let snapshots = Snapshots::open(backing, Options::new())?;
        let own = snapshots.thread(&thread)?;
        own.set("", format!("{{\"plan\":{:?}}}", plan.value))?;
        own.commit(CommitOptions::new())?;
        snapshots.sync()?;
        snapshots.threads()
    });
    println!("checkpoints in the object store: {:?}", listed.await??);
    Ok(())
}
