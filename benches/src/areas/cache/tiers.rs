//! What lies below memory: the compressed tier and the directory.

use std::{
    hint::black_box,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use mainspring_cache_tier::{
    BytesCodec, Cache, CompressedTier, DirTier, EntryOptions, Key, Source, Tier, TierEntry,
    TieredCache,
};
use mainspring_inputs::{Profile, SessionSpec, generate};

use super::{footprint::allocated, shelves::shelves};
use crate::{Bench, Clock, Contest, Measured, PerInput, check};

const OURS: &str = "mainspring-cache-tier";

/// Tool results of generated sessions.
fn results(profile: Profile, messages: usize) -> Result<Vec<String>> {
    let spec = SessionSpec {
        seed: 5,
        messages,
        profile,
    };
    let mut results = Vec::new();
    for message in generate(&spec) {
        let message: serde_json::Value = serde_json::from_str(&message)?;
        if message["role"] == "tool" {
            let content = message["content"].as_str().context("a result is text")?;
            results.push(content.to_owned());
        }
    }
    Ok(results)
}

/// JSON and source text, the two kinds that the bar names.
fn kinds(messages: usize) -> Result<[(&'static str, Vec<String>); 2]> {
    Ok([
        ("JSON records", results(Profile::Support, messages)?),
        (
            "source text and command output",
            results(Profile::Coding, messages)?,
        ),
    ])
}

/// Values of 4 KiB, half JSON, half source text.
fn pages(count: usize) -> Result<Vec<Bytes>> {
    const PAGE: usize = 4_096;
    let mut pages = Vec::with_capacity(count);
    for (_, results) in kinds(count * 16)? {
        let text = results.concat();
        let cut = text.as_bytes().chunks_exact(PAGE).take(count / 2);
        pages.extend(cut.map(Bytes::copy_from_slice));
    }
    anyhow::ensure!(pages.len() == count, "too little text was generated");
    Ok(pages)
}

fn key(number: usize) -> Key {
    Key::new("agent:7:tools", format!("read_file src/{number:06}.rs"))
}

/// The future's answer. None of these futures waits for anything.
fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(answer) = future.as_mut().poll(&mut context) {
            return answer;
        }
    }
}

/// A cache whose memory holds one entry, so that every other one comes from the tier below.
fn over(tier: Arc<dyn Tier>, values: &[Bytes]) -> Result<TieredCache<Bytes>> {
    let builder = TieredCache::<Bytes>::builder(BytesCodec).memory(1);
    let cache = ready(builder.tier(tier).open())?;
    for (number, value) in values.iter().enumerate() {
        ready(cache.insert(&key(number), value.clone(), &EntryOptions::new()))?;
    }
    Ok(cache)
}

/// Sees that every value comes back, and from below memory.
fn verify(bench: &Bench, cache: &TieredCache<Bytes>, values: &[Bytes]) -> Result<()> {
    let mut from_memory = 0;
    for (number, value) in values.iter().enumerate() {
        let fetched = ready(cache.fetch(&key(number))).context("a stored value is gone")?;
        from_memory += usize::from(fetched.source == Source::Memory);
        let found = bench.answer(fetched.value);
        check(found == *value, "a tier gave back other bytes")?;
    }
    check(
        from_memory <= 1,
        "values came from memory, not from the tier",
    )
}

/// A hit in the compressed tier, promoted to memory as always.
pub(super) fn compressed(bench: &Bench) -> Result<Measured> {
    let values = pages(bench.scale().pick(16, 200, 500))?;
    let tier = Arc::new(CompressedTier::new(64 << 20));
    let cache = over(Arc::clone(&tier) as Arc<dyn Tier>, &values)?;
    if tier.train()? {
        for (number, value) in values.iter().enumerate() {
            ready(cache.insert(&key(number), value.clone(), &EntryOptions::new()))?;
        }
    }
    verify(bench, &cache, &values)?;
    let by_hand = ByHand::new(&values)?;
    for (number, value) in values.iter().enumerate() {
        let found = bench.answer(by_hand.get(&by_hand.keys[number])?);
        check(found == *value, "zstd by hand gave back other bytes")?;
    }
    let keys: Vec<Key> = (0..values.len()).map(key).collect();
    let standing = Contest::new(bench, keys.len() as u64)
        .side(OURS, "", || {
            keys.iter()
                .for_each(|key| drop(black_box(ready(cache.get(key)))));
        })
        .side("quick_cache and zstd by hand", "0.7, 0.13", || {
            by_hand
                .keys
                .iter()
                .for_each(|key| drop(black_box(by_hand.get(key))));
        })
        .run();
    Ok(standing.time(1.0))
}

/// What one would write without this crate.
struct ByHand {
    cache: quick_cache::sync::Cache<String, Bytes>,
    unpacker: std::sync::Mutex<zstd::bulk::Decompressor<'static>>,
    keys: Vec<String>,
}

impl ByHand {
    fn new(values: &[Bytes]) -> Result<Self> {
        let cache = quick_cache::sync::Cache::new(values.len() * 2);
        let mut keys = Vec::new();
        for (number, value) in values.iter().enumerate() {
            let key = format!("agent:7:tools read_file src/{number:06}.rs");
            cache.insert(key.clone(), zstd::bulk::compress(value, 3)?.into());
            keys.push(key);
        }
        let unpacker = std::sync::Mutex::new(zstd::bulk::Decompressor::new()?);
        Ok(Self {
            cache,
            unpacker,
            keys,
        })
    }

    fn get(&self, key: &str) -> Result<Bytes> {
        let packed = self.cache.get(key).context("a stored value is gone")?;
        let mut unpacker = self.unpacker.lock().expect("nobody panicked with it");
        Ok(unpacker.decompress(&packed, 64 << 10)?.into())
    }
}

/// A hit in the directory, the page cache warm. On the process's clock: one peer reads on threads of
/// its own.
pub(super) fn directory(bench: &Bench) -> Result<Measured> {
    let values = pages(bench.scale().pick(16, 200, 500))?;
    let folder = tempfile::tempdir()?;
    let tier = Arc::new(DirTier::open(folder.path().join("tier"))?);
    let cache = over(tier, &values)?;
    verify(bench, &cache, &values)?;
    let names: Vec<String> = (0..values.len())
        .map(|number| format!("agent:7:tools read_file src/{number:06}.rs"))
        .collect();
    let shelves = shelves(folder.path(), &names, &values)?;
    for shelf in &shelves {
        for (name, value) in names.iter().zip(&values) {
            let found = bench.answer(shelf.get(name)?);
            let wrong = format!("{} gave back other bytes", shelf.named().0);
            check(found == *value, &wrong)?;
        }
    }
    let keys: Vec<Key> = (0..values.len()).map(key).collect();
    let mut contest = Contest::new(bench, keys.len() as u64)
        .clock(Clock::Process)
        .side(OURS, "", || {
            keys.iter()
                .for_each(|key| drop(black_box(ready(cache.get(key)))));
        });
    for shelf in &shelves {
        let (name, version) = shelf.named();
        contest = contest.side(name, version, || {
            names
                .iter()
                .for_each(|name| drop(black_box(shelf.get(name))));
        });
    }
    Ok(contest.run().time(1.0))
}

/// Memory saved by the compressed tier against the same working set in memory as it is, both as the
/// allocator counts them; the worse of the two kinds.
pub(super) fn memory(bench: &Bench) -> Result<Measured> {
    let messages = bench.scale().pick(150, 4_000, 20_000);
    let mut per_input = Vec::new();
    for (kind, values) in kinds(messages)? {
        let plain = plain(bench, &values)?;
        let tier = CompressedTier::new(1 << 30);
        let packed = packed(bench, &tier, &values)?;
        let usage = tier.usage();
        per_input.push(PerInput::new(
            format!("{} values of {kind}", values.len()),
            [
                ("saved", 1.0 - packed as f64 / plain as f64),
                ("bytes as they are", plain as f64),
                ("bytes compressed", packed as f64),
                ("bytes the tier says", usage.bytes as f64),
            ],
        ));
    }
    let saved = per_input.iter().map(|input| input.values["saved"]);
    let worst = saved.fold(f64::INFINITY, f64::min);
    Ok(Measured::counted(worst)
        .on_inputs(per_input)
        .noting("dictionary trained on the first 300 values"))
}

fn plain(bench: &Bench, values: &[String]) -> Result<usize> {
    let before = allocated()?;
    let cache: Cache<Key, Bytes> = Cache::new(values.len() as u64 * 2);
    for (number, value) in values.iter().enumerate() {
        cache.insert(key(number), Bytes::copy_from_slice(value.as_bytes()));
    }
    let bytes = allocated()?.saturating_sub(before);
    for (number, value) in values.iter().enumerate() {
        let found = bench.answer(cache.get(&key(number)).unwrap_or_default());
        check(found == *value, "memory gave back another value")?;
    }
    Ok(bytes)
}

fn packed(bench: &Bench, tier: &CompressedTier, values: &[String]) -> Result<usize> {
    let before = allocated()?;
    for (number, value) in values.iter().enumerate() {
        if number == 300 {
            tier.train()?;
        }
        ready(tier.put(&key(number), &entry(value)))?;
    }
    let bytes = allocated()?.saturating_sub(before);
    for (number, value) in values.iter().enumerate() {
        let entry = ready(tier.get(&key(number)))?.context("a compressed value is gone")?;
        let found = bench.answer(entry.value);
        check(found == *value, "the tier gave back another value")?;
    }
    Ok(bytes)
}

fn entry(value: &str) -> TierEntry {
    TierEntry {
        value: Bytes::copy_from_slice(value.as_bytes()),
        birth: 1,
        expires_at: 0,
        soft_at: 0,
        signature: None,
        labels: Vec::new(),
    }
}
