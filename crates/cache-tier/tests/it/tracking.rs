//! What other processes write and invalidate leaves memory here: two caches, or two processes, over one server.

use crate::redis::{Server, on_tokio};
use mainspring_cache_tier::{BytesCodec, EntryOptions, Key, Label, RedisTier, Source, TieredCache};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(10);

fn key() -> Key {
    Key::new("team:1", "k")
}

fn options() -> EntryOptions {
    EntryOptions::new().tag("t")
}

/// Waits until it holds; fails the test when it never does.
async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Keeps the cache in step, from when this returns.
async fn tracked(cache: &TieredCache<String>, other: &TieredCache<String>) -> JoinHandle<()> {
    let tracker = {
        let cache = cache.clone();
        tokio::spawn(async move { cache.track().await })
    };
    let probe = Key::new("probe", "p");
    let plain = EntryOptions::new();
    // Told once a write of the other is followed by its absence here.
    until("the tier tells of changes", async || {
        cache.insert(&probe, "here".into(), &plain).await.unwrap();
        other.insert(&probe, "there".into(), &plain).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        !cache.in_memory(&probe)
    })
    .await;
    tracker
}

async fn read(cache: &TieredCache<String>) -> Option<(String, Source)> {
    let fetched = cache.fetch(&key()).await?;
    Some((fetched.value, fetched.source))
}

#[test]
fn what_another_writes_or_invalidates_leaves_memory_and_ones_own_stays() {
    let Some(server) = Server::start() else {
        return;
    };
    on_tokio(async {
        let (a, b) = (server.cache().await, server.cache().await);
        let tracker = tracked(&a, &b).await;
        for round in 0..5 {
            let (old, new) = (format!("old {round}"), format!("new {round}"));
            a.insert(&key(), old.clone(), &options()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert_eq!(read(&a).await, Some((old, Source::Memory)), "its own write");
            b.insert(&key(), new.clone(), &options()).await.unwrap();
            until("a write of another", async || {
                read(&a).await.is_some_and(|(value, _)| value == new)
            })
            .await;
            assert_eq!(read(&a).await, Some((new, Source::Memory)));
            match round % 4 {
                0 => b.invalidate_tag("t").await,
                1 => b.invalidate_scope("team").await,
                2 => drop(b.invalidate(&key()).await),
                _ => b.clear().await,
            }
            until("an invalidation of another", async || {
                read(&a).await.is_none()
            })
            .await;
        }
        tracker.abort();
    });
}

#[test]
fn memory_is_emptied_when_the_connection_is_lost() {
    let Some(server) = Server::start() else {
        return;
    };
    on_tokio(async {
        let (a, b) = (server.cache().await, server.cache().await);
        let tracker = tracked(&a, &b).await;
        a.insert(&key(), "old".into(), &options()).await.unwrap();
        assert!(a.in_memory(&key()));
        server.raw(&["CLIENT", "KILL", "TYPE", "normal"]);
        server.raw(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        until("memory is emptied", async || !a.in_memory(&key())).await;
        // Told again after that.
        until("the tier tells again", async || {
            a.insert(&key(), "old".into(), &options()).await.unwrap();
            b.insert(&key(), "new".into(), &options()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            !a.in_memory(&key())
        })
        .await;
        tracker.abort();
    });
}

#[test]
fn a_server_that_stands_still_empties_memory_within_the_bound() {
    let Some(server) = Server::start() else {
        return;
    };
    on_tokio(async {
        let (a, b) = (server.cache().await, server.cache().await);
        let tracker = tracked(&a, &b).await;
        a.insert(&key(), "old".into(), &options()).await.unwrap();
        server.signal("-STOP");
        let stopped = Instant::now();
        until("memory is emptied", async || !a.in_memory(&key())).await;
        // Half a second and the timeout of half a second; the machine may be slow beside.
        assert!(stopped.elapsed() < Duration::from_secs(4));
        a.insert(&key(), "untold".into(), &options()).await.unwrap();
        let left = a.explain(&key()).expires_in;
        assert!(
            left.is_some_and(|left| left <= TieredCache::<String>::UNTOLD),
            "{left:?}"
        );
        server.signal("-CONT");
        tracker.abort();
    });
}

#[test]
fn without_a_tracker_memory_keeps_its_time() {
    let Some(server) = Server::start() else {
        return;
    };
    on_tokio(async {
        let (a, b) = (server.cache().await, server.cache().await);
        tracked(&a, &b).await.abort();
        until("the tracker ends", async || {
            a.insert(&key(), "here".into(), &options()).await.unwrap();
            b.insert(&key(), "there".into(), &options()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            a.in_memory(&key())
        })
        .await;
        let left = a.explain(&key()).expires_in;
        assert!(left.is_some_and(|left| left > Duration::from_secs(60)));
    });
}

#[test]
fn a_clock_that_no_server_can_have_reached_is_not_believed() {
    let Some(server) = Server::start() else {
        return;
    };
    on_tokio(async {
        let (a, b) = (server.cache().await, server.cache().await);
        let tracker = tracked(&a, &b).await;
        a.insert(&key(), "v".into(), &options()).await.unwrap();
        let most = u64::MAX.to_string();
        for name in ["clock", "floor"] {
            server.raw(&["HSET", "test:{epochs}", name, &most]);
            a.clear_memory();
            assert_eq!(a.get(&key()).await, None, "{name}");
            a.invalidate_tag("t").await;
            a.insert(&key(), "v".into(), &options()).await.unwrap();
            let tier = RedisTier::open(&server.url(), "test").unwrap();
            let builder = TieredCache::<String>::builder(BytesCodec).tier(Arc::new(tier));
            assert!(builder.open().await.is_err(), "{name}");
            server.raw(&["HDEL", "test:{epochs}", name]);
        }
        until("the cache recovers", async || {
            a.insert(&key(), "v".into(), &options()).await.unwrap();
            a.clear_memory();
            a.get(&key()).await.is_some()
        })
        .await;
        a.insert(&key(), "v".into(), &options()).await.unwrap();
        let told = format!("{most} {:016x}", Label::tag("t").to_u64());
        server.raw(&["PUBLISH", "test:{epochs}", &told]);
        until("memory is emptied", async || !a.in_memory(&key())).await;
        // The clock was not moved to its end: what is written now is not stale, and can be invalidated.
        a.insert(&key(), "v".into(), &options()).await.unwrap();
        assert!(a.in_memory(&key()));
        a.invalidate_tag("t").await;
        assert!(!a.in_memory(&key()));
        tracker.abort();
    });
}

fn micros() -> u128 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_micros()
}

/// The bound of `TieredCache::track` for a tier with a timeout of half a second.
const BOUND: u128 = 1_000_000;

#[test]
fn two_processes_never_serve_what_is_older_than_an_acknowledged_invalidation_and_the_bound() {
    let Some(server) = Server::start() else {
        return;
    };
    server.raw(&["SET", "truth", "0"]);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tracking::the_other_process", "--ignored"])
        .args(["--nocapture", "--test-threads", "1"])
        .env("MAINSPRING_REDIS", server.url())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let told = BufReader::new(child.stdout.take().unwrap());
    let acknowledged = std::thread::spawn(move || {
        let lines = told.lines().map_while(Result::ok);
        let parse = |line: String| {
            let (round, at) = line.strip_prefix("acknowledged ")?.split_once(' ')?;
            Some((round.parse().ok()?, at.parse().ok()?))
        };
        lines.filter_map(parse).collect::<Vec<(u64, u128)>>()
    });
    let mut seen = Vec::new();
    on_tokio(async {
        let cache = server.cache().await;
        let tracker = {
            let cache = cache.clone();
            tokio::spawn(async move { cache.track().await })
        };
        let mut truth = redis::Client::open(server.url())
            .unwrap()
            .get_multiplexed_async_connection()
            .await
            .unwrap();
        while child.try_wait().unwrap().is_none() {
            let asked = micros();
            let load = async || {
                let value: redis::RedisResult<String> =
                    redis::cmd("GET").arg("truth").query_async(&mut truth).await;
                value
            };
            let fetched = cache.get_or_try_load(&key(), &options(), load).await;
            let fetched = fetched.unwrap();
            seen.push((fetched.value.parse::<u64>().unwrap(), asked, fetched.source));
            tokio::time::sleep(Duration::from_micros(300)).await;
        }
        tracker.abort();
    });
    let acknowledged = acknowledged.join().unwrap();
    assert_eq!(acknowledged.len(), ROUNDS, "the other process did its work");
    let memory = seen
        .iter()
        .filter(|(_, _, source)| *source == Source::Memory);
    assert!(memory.count() > seen.len() / 10, "memory was used");
    let mut late = 0;
    for (value, asked, source) in &seen {
        let due = |within: u128| {
            acknowledged
                .iter()
                .filter(|(_, at)| at + within < *asked)
                .map(|(round, _)| *round)
                .max()
                .unwrap_or(0)
        };
        assert!(*value >= due(BOUND), "{value} at {asked} from {source:?}");
        late += u32::from(*value < due(0));
    }
    println!("{} lookups, {late} within the bound but late", seen.len());
}

const ROUNDS: usize = 150;

/// Run by the test above, in a process of its own.
#[test]
#[ignore = "the other process of a test"]
fn the_other_process() {
    let Ok(url) = std::env::var("MAINSPRING_REDIS") else {
        return;
    };
    on_tokio(async {
        let cache = Server::cache_at(&url).await;
        let mut truth = redis::Client::open(url)
            .unwrap()
            .get_multiplexed_async_connection()
            .await
            .unwrap();
        println!();
        for round in 1..=ROUNDS as u64 {
            let set: redis::RedisResult<()> = redis::cmd("SET")
                .arg("truth")
                .arg(round)
                .query_async(&mut truth)
                .await;
            set.unwrap();
            match round % 3 {
                0 => cache.invalidate_tag("t").await,
                1 => drop(cache.invalidate(&key()).await),
                _ => {
                    let value = round.to_string();
                    cache.insert(&key(), value, &options()).await.unwrap();
                }
            }
            println!("acknowledged {round} {}", micros());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}
