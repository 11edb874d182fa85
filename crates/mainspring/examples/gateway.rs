//! A gateway that answers many callers: what was asked before comes from the cache, what is asked at
//! the same time goes to the model in one batch, and the same question is asked once.
//!
//! `cargo run -p mainspring --features full --example gateway`

use bytes::Bytes;
use mainspring::{
    Profile, Runtime,
    cache_tier::{EntryOptions, Key, TieredCache},
    scheduler::{BatchSettings, Batcher},
};

/// Stands for a provider that answers many prompts in one request.
async fn provider(prompts: Vec<String>) -> Vec<Result<String, mainspring::scheduler::Error>> {
    println!("one request with {} prompts", prompts.len());
    prompts
        .into_iter()
        .map(|prompt| Ok(format!("answer to {prompt}")))
        .collect()
}

async fn ask(
    cache: TieredCache<Bytes>,
    batcher: Batcher<String, String>,
    prompt: String,
) -> Result<String, mainspring::cache_tier::Error> {
    let key = Key::new("gateway", prompt.clone());
    let load = || async move { batcher.call(prompt).await.map(Bytes::from) };
    let fetched = cache
        .get_or_try_load(&key, &EntryOptions::new(), load)
        .await?;
    Ok(String::from_utf8_lossy(&fetched.value).into_owned())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let runtime = Runtime::open(dir.path(), Profile::Server).await?;
    let batcher = Batcher::new(BatchSettings::default(), provider);
    for round in 1..=2 {
        let prompts = (0..30).map(|n| format!("question {}", n % 8));
        let asked = prompts.map(|prompt| ask(runtime.cache().clone(), batcher.clone(), prompt));
        let asked: Vec<_> = asked.map(tokio::spawn).collect();
        for answer in asked {
            answer.await??;
        }
        let sent = batcher.stats().items;
        println!("round {round}: 30 callers answered, {sent} prompts sent so far");
    }
    runtime.close().await?;
    Ok(())
}
