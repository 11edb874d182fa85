//! Components of a runtime: the critical ones are loaded in the background while it starts, the others
//! when they are first needed.
//!
//! `cargo run -p mainspring-agents --example lazy_components`

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use mainspring_agents::LazyRegistry;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let attempts = AtomicU32::new(0);
    let registry = LazyRegistry::builder()
        .critical("tokenizer", || async { Ok("merge table".to_owned()) })
        .critical("search-index", || async {
            Err("the index is being rebuilt".into())
        })
        .component("browser", move || {
            let attempt = attempts.fetch_add(1, Ordering::Relaxed);
            async move {
                if attempt == 0 {
                    Err("no display yet".into())
                } else {
                    Ok("window".to_owned())
                }
            }
        })
        .build();
    let registry = Arc::new(registry);

    // The start goes on; a critical component that fails does not stop it.
    let preloading = tokio::spawn({
        let registry = Arc::clone(&registry);
        async move { registry.preload().await }
    });
    println!("started");

    // Whoever needs a component while it is being loaded waits for that very load.
    println!("tokenizer: {}", registry.get("tokenizer").await?);
    println!(
        "browser, first use: {}",
        registry.get("browser").await.unwrap_err()
    );
    println!("browser, second use: {}", registry.get("browser").await?);
    for load in preloading.await? {
        println!(
            "preloaded {}: loaded {}, error {:?}",
            load.name, load.loaded, load.error
        );
    }
    println!("most used: {:?}", registry.most_used(1));
    Ok(())
}
