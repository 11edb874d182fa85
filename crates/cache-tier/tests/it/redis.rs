//! The Redis tier against a real server, which each test starts on a free port of the loopback address.

use mainspring_cache_tier::{BytesCodec, Clock, EntryOptions, Key, RedisTier, Source, TieredCache};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) struct Server {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Server {
    /// `None`, and says so, where no server is installed.
    pub(crate) fn start() -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        Self::start_at(port)
    }

    fn start_at(port: u16) -> Option<Self> {
        Self::start_with(port, "--port", &[])
    }

    /// A server that is reached by TLS only.
    #[cfg(feature = "redis-tls")]
    pub(crate) fn start_tls(options: &[&str]) -> Option<Self> {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let options = [&["--port", "0"], options].concat();
        Self::start_with(port, "--tls-port", &options)
    }

    fn start_with(port: u16, kind: &str, more: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let port_text = port.to_string();
        let options = [
            kind,
            &port_text,
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            // A replica need not wait for others to come.
            "--repl-diskless-sync-delay",
            "0",
        ];
        let spawned = ["redis-server", "valkey-server"]
            .iter()
            .find_map(|program| {
                let mut command = Command::new(program);
                command
                    .args(options)
                    .args(more)
                    .current_dir(folder.path())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null());
                command.spawn().ok()
            });
        let Some(child) = spawned else {
            println!("skipped: no redis-server or valkey-server in the path");
            return None;
        };
        let server = Self {
            child,
            port,
            _folder: folder,
        };
        let patience = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < patience, "the server does not listen");
            std::thread::yield_now();
        }
        Some(server)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn signal(&self, signal: &str) {
        let done = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(done.success());
    }

    pub(crate) async fn cache(&self) -> TieredCache<String> {
        Self::cache_at(&self.url()).await
    }

    pub(crate) async fn cache_at(url: &str) -> TieredCache<String> {
        let timeout = Duration::from_millis(500);
        let tier = RedisTier::open_with(url, "test", timeout, Clock::system()).unwrap();
        let builder = TieredCache::<String>::builder(BytesCodec).tier(Arc::new(tier));
        builder.open().await.unwrap()
    }

    pub(crate) fn raw(&self, command: &[&str]) -> redis::Value {
        let mut connection = redis::Client::open(self.url())
            .unwrap()
            .get_connection()
            .unwrap();
        let mut raw = redis::cmd(command[0]);
        command[1..].iter().for_each(|part| {
            raw.arg(*part);
        });
        raw.query(&mut connection).unwrap()
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        let mut connection = redis::Client::open(self.url())
            .unwrap()
            .get_connection()
            .unwrap();
        let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut connection).unwrap();
        keys.into_iter()
            .filter(|key| !key.ends_with("{epochs}"))
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn on_tokio(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(test);
}

fn key() -> Key {
    Key::new("team:1", "k")
}

fn options() -> EntryOptions {
    EntryOptions::new().tag("t")
}

async fn load(cache: &TieredCache<String>, value: &str) -> (String, Source) {
    let load = || async { Ok::<_, std::io::Error>(value.to_owned()) };
    let fetched = cache
        .get_or_try_load(&key(), &options(), load)
        .await
        .unwrap();
    (fetched.value, fetched.source)
}

#[test]
fn two_caches_share_entries_and_invalidations() {
    let Some(server) = Server::start() else {
        return;
    };
    on_tokio(async {
        let (a, b) = (server.cache().await, server.cache().await);
        for round in 0..10 {
            let value = format!("{round}");
            assert_eq!(load(&a, &value).await, (value.clone(), Source::Loaded));
            assert_eq!(load(&b, "never").await, (value, Source::Tier(0)));
            if round % 2 == 0 {
                b.invalidate_tag("t").await
            } else {
                b.invalidate_scope("team:*").await
            }
            assert_eq!(b.get(&key()).await, None);
            a.clear_memory();
        }
        assert_eq!(load(&a, "last").await.1, Source::Loaded);
        b.invalidate(&key()).await;
        a.clear_memory();
        assert_eq!(a.get(&key()).await, None);
        // What was invalidated stays so for those who come later.
        assert_eq!(load(&a, "stale").await.1, Source::Loaded);
        b.invalidate_tag("t").await;
        assert_eq!(server.cache().await.get(&key()).await, None);
        assert_eq!(a.stats().tiers[0].failures + b.stats().tiers[0].failures, 0);
    });
}

#[test]
fn a_batch_is_one_exchange() {
    let Some(server) = Server::start() else {
        return;
    };
    on_tokio(async {
        let cache = server.cache().await;
        let keys: Vec<Key> = (0..100_u8).map(|n| Key::new("s", vec![n])).collect();
        let entries = keys
            .iter()
            .take(90)
            .map(|key| (key.clone(), "v".repeat(100)));
        cache.warm(entries, &EntryOptions::new()).await.unwrap();
        cache.clear_memory();
        let found = cache.get_many(&keys).await;
        assert_eq!(found.iter().flatten().count(), 90);
        let ttl = server.raw(&["PTTL", &server.keys()[0]]);
        assert!(
            matches!(ttl, redis::Value::Int(left) if left > 1_000_000),
            "{ttl:?}"
        );
    });
}

#[test]
fn a_server_killed_and_started_anew_is_gone_around_and_found_again() {
    let Some(server) = Server::start() else {
        return;
    };
    let port = server.port;
    on_tokio(async {
        let hands = crate::double::Hands::default();
        let tier = RedisTier::open_with(
            &server.url(),
            "test",
            Duration::from_millis(500),
            hands.clock(),
        )
        .unwrap();
        let builder = TieredCache::<String>::builder(BytesCodec)
            .clock(hands.clock())
            .tier(Arc::new(tier));
        let cache = builder.open().await.unwrap();
        assert_eq!(load(&cache, "1").await.1, Source::Loaded);
        drop(server);
        cache.clear_memory();
        assert_eq!(load(&cache, "2").await, ("2".into(), Source::Loaded));
        cache.invalidate_tag("t").await;
        assert_eq!(load(&cache, "3").await, ("3".into(), Source::Loaded));
        assert_eq!(load(&cache, "never").await, ("3".into(), Source::Memory));
        let failures = cache.stats().tiers[0].failures;
        assert!(failures > 0);
        let server = Server::start_at(port).unwrap();
        hands.advance(Duration::from_secs(2));
        cache.clear_memory();
        assert_eq!(load(&cache, "4").await, ("4".into(), Source::Loaded));
        cache.clear_memory();
        assert_eq!(load(&cache, "never").await, ("4".into(), Source::Tier(0)));
        drop(server);
    });
}

#[test]
fn a_paused_server_costs_the_timeout_and_brings_nothing_back() {
    let Some(server) = Server::start() else {
        return;
    };
    on_tokio(async {
        let tier = RedisTier::open_with(
            &server.url(),
            "test",
            Duration::from_millis(50),
            Clock::system(),
        )
        .unwrap();
        let builder = TieredCache::<String>::builder(BytesCodec).tier(Arc::new(tier));
        let cache = builder.open().await.unwrap();
        assert_eq!(load(&cache, "old").await.1, Source::Loaded);
        let other = server.cache().await;
        server.signal("-STOP");
        let started = Instant::now();
        cache.invalidate(&key()).await;
        assert_eq!(load(&cache, "new").await, ("new".into(), Source::Loaded));
        assert!(
            started.elapsed() < Duration::from_secs(2),
            "{:?}",
            started.elapsed()
        );
        server.signal("-CONT");
        assert_eq!(load(&cache, "never").await, ("new".into(), Source::Memory));
        // Wait out the breaker, then the first use empties the tier.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        cache.clear_memory();
        assert_ne!(cache.get(&key()).await.as_deref(), Some("old"));
        assert_ne!(
            other.get(&key()).await.as_deref(),
            Some("old"),
            "another process found what was removed"
        );
    });
}

#[test]
fn a_full_server_and_wrong_types_are_misses() {
    let Some(server) = Server::start() else {
        return;
    };
    on_tokio(async {
        let cache = server.cache().await;
        assert_eq!(load(&cache, "1").await.1, Source::Loaded);
        let stored = server.keys().remove(0);
        server.raw(&["DEL", &stored]);
        server.raw(&["LPUSH", &stored, "no entry"]);
        cache.clear_memory();
        assert_eq!(load(&cache, "2").await, ("2".into(), Source::Loaded));
        assert!(cache.stats().tiers[0].failures > 0);
        server.raw(&["SET", &stored, "no entry either"]);
        cache.clear_memory();
        assert_eq!(load(&cache, "3").await, ("3".into(), Source::Loaded));
        server.raw(&["CONFIG", "SET", "maxmemory", "1"]);
        cache.insert(&key(), "4".into(), &options()).await.unwrap();
        assert_eq!(cache.get(&key()).await.as_deref(), Some("4"));
        server.raw(&["CONFIG", "SET", "maxmemory", "0"]);
        cache.clear_memory();
        let later = server.cache().await.get(&key()).await;
        assert_ne!(
            later.as_deref(),
            Some("3"),
            "older than what could not be written"
        );
    });
}

#[test]
fn a_server_that_lost_its_epochs_serves_nothing_from_before() {
    let Some(server) = Server::start() else {
        return;
    };
    on_tokio(async {
        let (a, b) = (server.cache().await, server.cache().await);
        assert_eq!(load(&a, "old").await.1, Source::Loaded);
        b.invalidate_tag("t").await;
        server.raw(&["DEL", "test:{epochs}"]);
        assert_eq!(server.keys().len(), 1, "the entry is still there");
        assert_eq!(server.cache().await.get(&key()).await, None);
        assert_eq!(b.get(&key()).await, None);
        a.clear_memory();
        assert_eq!(load(&a, "new").await, ("new".into(), Source::Loaded));
        assert_eq!(load(&b, "never").await, ("new".into(), Source::Tier(0)));
        b.invalidate_tag("t").await;
        a.clear_memory();
        assert_eq!(a.get(&key()).await, None);
    });
}
