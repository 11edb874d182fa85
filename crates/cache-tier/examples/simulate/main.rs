//! Replays traces of keys through the cache and, for comparison, LRU, ARC and the clairvoyant optimum:
//! `cargo run --release -p mainspring-cache-tier --example simulate -- DIR`.
//! Without a folder it replays a generated trace.

mod reference;
mod trace;

use mainspring_cache_tier::Cache;
use reference::{Arc, Lru, optimum};
use std::path::PathBuf;

fn main() {
    let files: Vec<PathBuf> = std::env::args()
        .skip(1)
        .flat_map(|folder| trace::files(folder.as_ref()))
        .collect();
    let mut traces: Vec<(String, Vec<u64>)> = Vec::new();
    for file in &files {
        match trace::read(file) {
            Ok(keys) => traces.push((
                file.file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
                keys,
            )),
            Err(error) => eprintln!("skipped: {}: {error}", file.display()),
        }
    }
    if traces.is_empty() {
        traces.push(("generated".to_owned(), trace::generated(7, 400_000)));
    }
    if traces.len() > 1 {
        traces.push(("phases".to_owned(), trace::phases(&traces)));
    }
    println!(
        "{:<34} {:>9} {:>8} {:>8} {:>8} {:>8}   fraction of the optimum",
        "trace", "entries", "optimum", "ours", "lru", "arc"
    );
    let (mut sum, mut rows) = (0.0, 0);
    for (name, keys) in &traces {
        let (dense, unique) = trace::dense(keys);
        for percent in [1, 5, 10] {
            let entries = (unique * percent / 100).max(1);
            let best = optimum(&dense, unique, entries);
            let ours = replay(&dense, entries);
            let lru = Lru::new(entries).replay(&dense);
            let arc = Arc::new(entries).replay(&dense);
            let rate = |hits: u64| 100.0 * hits as f64 / dense.len().max(1) as f64;
            let part = |hits: u64| hits as f64 / best.max(1) as f64;
            println!(
                "{:<34} {entries:>9} {:>8.2} {:>8.2} {:>8.2} {:>8.2}   ours {:.3} lru {:.3} arc {:.3}",
                format!("{name} {percent} %"),
                rate(best),
                rate(ours),
                rate(lru),
                rate(arc),
                part(ours),
                part(lru),
                part(arc)
            );
            sum += part(ours);
            rows += 1;
        }
    }
    println!("mean fraction of the optimum: {:.4}", sum / f64::from(rows));
}

/// Hits of the cache itself: one shard, so that the policy is judged and not the spread over shards.
fn replay(keys: &[u32], entries: usize) -> u64 {
    let cache: Cache<u32, ()> = Cache::builder(entries as u64)
        .ttl(None)
        .shards(1)
        .build()
        .expect("one shard is a power of two");
    for key in keys {
        if cache.get(key).is_none() {
            cache.insert(*key, ());
        }
    }
    cache.stats().hits
}
