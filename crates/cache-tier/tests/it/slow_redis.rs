//! A server that answers slowly, connects late or loses its hash of epochs, and what processes write in what order.

use crate::double::Hands;
use crate::redis::{Server, on_tokio};
use mainspring_cache_tier::{
    BytesCodec, Clock, DirTier, EntryOptions, Key, RedisTier, Source, TierSettings, TieredCache,
};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

const PLAIN: u8 = 0;
/// A byte of every answer now and then.
const TRICKLE: u8 = 1;
/// Nothing passes, until it is let.
const HELD: u8 = 2;

/// Stands between a tier and its server.
struct Proxy {
    port: u16,
    behind: Arc<AtomicU16>,
    way: Arc<AtomicU8>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    fn before(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (way, open) = (Arc::new(AtomicU8::new(PLAIN)), Arc::default());
        let behind = Arc::new(AtomicU16::new(server.port()));
        let (passing, kept, to) = (Arc::clone(&way), Arc::clone(&open), Arc::clone(&behind));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let port = to.load(Ordering::Acquire);
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else {
                    return;
                };
                for stream in [&client, &server] {
                    let kept: &Arc<Mutex<Vec<TcpStream>>> = &kept;
                    kept.lock().unwrap().push(stream.try_clone().unwrap());
                }
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let free = Arc::new(AtomicU8::new(PLAIN));
                std::thread::spawn(move || pass(from, to, &free));
                let way = Arc::clone(&passing);
                std::thread::spawn(move || pass(server, client, &way));
            }
        });
        Self {
            port,
            behind,
            way,
            open,
        }
    }

    /// Who connects from now on reaches another server.
    fn fails_over(&self, server: &Server) {
        self.behind.store(server.port(), Ordering::Release);
        self.cut();
    }

    fn goes(&self, way: u8) {
        self.way.store(way, Ordering::Release);
    }

    /// Ends every connection.
    fn cut(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, way: &AtomicU8) {
    let mut buffer = [0; 4_096];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        while way.load(Ordering::Acquire) == HELD {
            std::thread::sleep(Duration::from_millis(1));
        }
        let step = match way.load(Ordering::Acquire) {
            TRICKLE => 1,
            _ => read,
        };
        for part in buffer[..read].chunks(step) {
            if to.write_all(part).is_err() {
                return;
            }
            if step == 1 && way.load(Ordering::Acquire) == TRICKLE {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

fn key() -> Key {
    Key::new("team:1", "k")
}

fn tagged() -> EntryOptions {
    EntryOptions::new().tag("t")
}

async fn over(url: &str, timeout: u64, clock: Clock) -> TieredCache<String> {
    let timeout = Duration::from_millis(timeout);
    let patience = Instant::now() + Duration::from_secs(10);
    loop {
        let tier = RedisTier::open_with(url, "test", timeout, clock.clone()).unwrap();
        let builder = TieredCache::<String>::builder(BytesCodec)
            .clock(clock.clone())
            .tier_with(Arc::new(tier), TierSettings::new());
        // A short timeout may be too short for the opening on a busy machine.
        match builder.open().await {
            Ok(cache) => return cache,
            Err(error) => assert!(Instant::now() < patience, "{error}"),
        }
    }
}

async fn load(cache: &TieredCache<String>, key: &Key, value: &str) -> (String, Source) {
    let load = || async { Ok::<_, std::io::Error>(value.to_owned()) };
    let fetched = cache.get_or_try_load(key, &tagged(), load).await.unwrap();
    (fetched.value, fetched.source)
}

/// Reads go around a server that is asked in vain: each costs the timeout at most, and after five none costs it.
async fn goes_around(cache: &TieredCache<String>, timeout: Duration) {
    let mut slowest = Duration::ZERO;
    for n in 0..5_u8 {
        let started = Instant::now();
        let (value, source) = load(cache, &Key::new("team:2", vec![n]), "v").await;
        assert_eq!((value.as_str(), source), ("v", Source::Loaded));
        slowest = slowest.max(started.elapsed());
    }
    // A lookup asks for the epochs, then gives up; what it loaded is not written either.
    let most = timeout * 4 + Duration::from_millis(200);
    assert!(slowest < most, "a lookup took {slowest:?}");
    let before = cache.stats().tiers[0].failures;
    assert!(before >= 5, "only {before} failures");
    let started = Instant::now();
    for n in 0..50_u8 {
        load(cache, &Key::new("team:3", vec![n]), "v").await;
    }
    assert!(
        started.elapsed() < timeout,
        "the breaker did not open: {:?}",
        started.elapsed()
    );
}

#[test]
fn a_server_whose_answers_trickle_costs_the_timeout_until_the_breaker_opens() {
    let Some(server) = Server::start() else {
        return;
    };
    let (proxy, hands) = (Proxy::before(&server), Hands::default());
    on_tokio(async {
        let timeout = Duration::from_millis(60);
        let cache = over(&proxy.url(), 60, hands.clock()).await;
        assert_eq!(load(&cache, &key(), "old").await.1, Source::Loaded);
        proxy.goes(TRICKLE);
        goes_around(&cache, timeout).await;
        proxy.goes(PLAIN);
        // After the pause the server is asked again.
        hands.advance(Duration::from_secs(1));
        proxy.cut();
        cache.clear_memory();
        load(&cache, &key(), "again").await;
        hands.advance(Duration::from_secs(1));
        cache.clear_memory();
        load(&cache, &key(), "new").await;
        cache.clear_memory();
        assert_eq!(load(&cache, &key(), "never").await.1, Source::Tier(0));
    });
}

#[test]
fn a_server_paused_by_a_client_is_gone_around() {
    let Some(server) = Server::start() else {
        return;
    };
    let hands = Hands::default();
    on_tokio(async {
        let cache = over(&server.url(), 60, hands.clock()).await;
        server.raw(&["CLIENT", "PAUSE", "3000", "ALL"]);
        goes_around(&cache, Duration::from_millis(60)).await;
    });
}

#[test]
fn a_connection_that_was_being_made_when_watching_began_is_not_taken_for_one_that_tells() {
    let Some(server) = Server::start() else {
        return;
    };
    let proxy = Proxy::before(&server);
    on_tokio(async {
        let cache = over(&proxy.url(), 5_000, Clock::system()).await;
        let other = server.cache().await;
        proxy.goes(HELD);
        proxy.cut();
        // Finds the connection ended; the next lookup makes another, which is held up.
        cache.get(&key()).await;
        let connecting = {
            let cache = cache.clone();
            tokio::spawn(async move { cache.get(&key()).await })
        };
        tokio::time::sleep(Duration::from_millis(50)).await;
        let tracker = {
            let cache = cache.clone();
            tokio::spawn(async move { cache.track().await })
        };
        tokio::time::sleep(Duration::from_millis(50)).await;
        proxy.goes(PLAIN);
        connecting.await.unwrap();
        let started = Instant::now();
        loop {
            cache
                .insert(&key(), "here".into(), &tagged())
                .await
                .unwrap();
            other
                .insert(&key(), "there".into(), &tagged())
                .await
                .unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            if !cache.in_memory(&key()) {
                break;
            }
            let waited = started.elapsed();
            assert!(
                waited < Duration::from_secs(5),
                "what others write is never told"
            );
        }
        tracker.abort();
    });
}

/// A load in `cache` that ends when it is told to.
fn begun(
    cache: &TieredCache<String>,
    value: &'static str,
) -> (
    oneshot::Receiver<()>,
    oneshot::Sender<()>,
    tokio::task::JoinHandle<()>,
) {
    let ((begins, began), (end, ends)) = (oneshot::channel(), oneshot::channel::<()>());
    let cache = cache.clone();
    let loading = tokio::spawn(async move {
        let load = || async move {
            begins.send(()).unwrap();
            ends.await.unwrap();
            Ok::<_, std::io::Error>(value.to_owned())
        };
        cache
            .get_or_try_load(&key(), &tagged(), load)
            .await
            .unwrap();
    });
    (began, end, loading)
}

#[test]
fn a_writer_that_was_overtaken_by_an_invalidation_of_another_process_is_found_by_nobody() {
    let Some(server) = Server::start() else {
        return;
    };
    on_tokio(async {
        let (a, b) = (server.cache().await, server.cache().await);
        for round in 0..6 {
            let (began, end, loading) = begun(&a, "stale");
            began.await.unwrap();
            match round % 3 {
                0 => b.invalidate_tag("t").await,
                1 => b.invalidate_scope("team").await,
                _ => drop(b.invalidate(&key()).await),
            }
            if round > 2 {
                // Written after the invalidation, and not to be overwritten by what is older than it.
                b.insert(&key(), "new".into(), &tagged()).await.unwrap();
                b.clear_memory();
            }
            end.send(()).unwrap();
            loading.await.unwrap();
            let found = b.get(&key()).await;
            assert_ne!(found.as_deref(), Some("stale"), "round {round}");
            a.clear_memory();
            assert_ne!(a.get(&key()).await.as_deref(), Some("stale"));
            let late = server.cache().await.get(&key()).await;
            assert_ne!(late.as_deref(), Some("stale"), "round {round}");
            a.invalidate(&key()).await;
        }
    });
}

#[test]
fn a_lost_hash_made_anew_by_one_that_lags_behind_brings_nothing_back() {
    let Some(server) = Server::start() else {
        return;
    };
    on_tokio(async {
        let lagging = server.cache().await;
        // Somebody opens a cache now and then, which moves the clock on, and the other has not heard of it.
        for _ in 0..3 {
            server.cache().await.invalidate_tag("else").await;
        }
        let ahead = server.cache().await;
        let (began, end, loading) = begun(&ahead, "stale");
        began.await.unwrap();
        server.raw(&["DEL", "test:{epochs}"]);
        lagging.invalidate_tag("t").await;
        // Another lookup meets the new hash before the load ends.
        ahead.get(&Key::new("team:1", "other")).await;
        end.send(()).unwrap();
        loading.await.unwrap();
        assert_eq!(
            lagging.get(&key()).await,
            None,
            "invalidated since it began"
        );
        assert!(!ahead.in_memory(&key()));
        assert_eq!(server.cache().await.get(&key()).await, None);
        // All of them go on in step.
        assert_eq!(load(&ahead, &key(), "new").await.1, Source::Loaded);
        assert_eq!(load(&lagging, &key(), "never").await.0, "new");
        lagging.invalidate_tag("t").await;
        ahead.clear_memory();
        assert_eq!(ahead.get(&key()).await, None);
    });
}

/// Waits until the tier has the server again.
async fn reaches(cache: &TieredCache<String>) {
    let other = Key::new("else", "x");
    let patience = Instant::now() + Duration::from_secs(10);
    loop {
        let set = cache.set(&other, "x".into(), &EntryOptions::new()).await;
        if set.unwrap().is_everywhere() {
            return;
        }
        assert!(Instant::now() < patience, "the server is not reached");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn put(cache: &TieredCache<String>, value: &str) {
    cache.insert(&key(), value.into(), &tagged()).await.unwrap();
}

#[test]
fn a_replica_that_missed_an_invalidation_serves_nothing_from_before_its_failover() {
    let (Some(primary), Some(replica)) = (Server::start(), Server::start()) else {
        return;
    };
    on_tokio(async {
        let proxy = Proxy::before(&primary);
        let a = over(&proxy.url(), 500, Clock::system()).await;
        let b = over(&proxy.url(), 500, Clock::system()).await;
        put(&a, "old").await;
        let port = primary.port().to_string();
        replica.raw(&["REPLICAOF", "127.0.0.1", &port]);
        let patience = Instant::now() + Duration::from_secs(10);
        while replica.raw(&["DBSIZE"]) != primary.raw(&["DBSIZE"]) {
            assert!(Instant::now() < patience, "the replica does not follow");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        replica.raw(&["REPLICAOF", "NO", "ONE"]);
        // Acknowledged, and known to the primary and to the one that asked for it alone, which ends.
        a.invalidate_tag("t").await;
        drop(a);
        proxy.fails_over(&replica);
        drop(primary);
        reaches(&b).await;
        b.clear_memory();
        assert_eq!(b.get(&key()).await, None, "invalidated before the failover");
        put(&b, "new").await;
        b.clear_memory();
        assert_eq!(b.get(&key()).await.as_deref(), Some("new"));
        // A connection that is merely lost costs nothing.
        proxy.cut();
        reaches(&b).await;
        b.clear_memory();
        assert_eq!(b.get(&key()).await.as_deref(), Some("new"));
    });
}

#[test]
fn a_directory_that_was_used_under_a_hash_that_is_lost_starts_empty() {
    let Some(server) = Server::start() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    on_tokio(async {
        let open = || async {
            let own = DirTier::open(folder.path()).unwrap();
            let tier = RedisTier::open(&server.url(), "test").unwrap();
            let builder = TieredCache::<String>::builder(BytesCodec).tier(Arc::new(own));
            builder.tier(Arc::new(tier)).open().await.unwrap()
        };
        // Every opening moves the clock on: far above where that of an emptied server begins.
        for _ in 0..4 {
            drop(open().await);
        }
        let cache = open().await;
        put(&cache, "old").await;
        drop(cache);
        let kept = open().await;
        server.raw(&["DEL", &server.keys()[0]]);
        assert_eq!(
            kept.get(&key()).await.as_deref(),
            Some("old"),
            "under the same hash"
        );
        drop(kept);
        server.raw(&["FLUSHALL"]);
        server.cache().await.invalidate_tag("t").await;
        let cache = open().await;
        assert_eq!(cache.get(&key()).await, None);
        put(&cache, "new").await;
        drop(cache);
        server.raw(&["DEL", &server.keys()[0]]);
        let found = open().await.get(&key()).await;
        assert_eq!(found.as_deref(), Some("new"), "it is emptied once");
    });
}
