//! The tier that several machines share, on a server started for the occasion.

use std::{
    hint::black_box,
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use mainspring_cache_tier::{
    BytesCodec, Clock as CacheClock, EntryOptions, Key, RedisTier, Source, TieredCache,
};

use crate::{Bench, Clock, Contest, Measured, areas::Unavailable, check};

const ONE_BY_ONE: &str = "the same, one by one";

/// A Redis or Valkey server on a free port of the loopback address; it ends with this value.
struct Server {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let folder = tempfile::tempdir()?;
        let spawned = ["redis-server", "valkey-server"].iter().find_map(|name| {
            let mut command = Command::new(name);
            command
                .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
                .args(["--save", "", "--appendonly", "no"])
                .current_dir(folder.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            command.spawn().ok()
        });
        let Some(child) = spawned else {
            let what = "neither redis-server nor valkey-server is installed";
            return Err(Unavailable(what.to_owned()).into());
        };
        let server = Self {
            child,
            port,
            _folder: folder,
        };
        server.wait()?;
        Ok(server)
    }

    fn wait(&self) -> Result<()> {
        let patience = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            anyhow::ensure!(Instant::now() < patience, "the server does not listen");
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error means that it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// 100 keys from Redis in one call, times faster than one by one.
pub(super) fn many(bench: &Bench) -> Result<Measured> {
    let server = Server::start()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let keys: Vec<Key> = (0..100).map(key).collect();
    let ours = runtime.block_on(ours(&server, &keys))?;
    let mut bare = runtime.block_on(bare(&server, keys.len()))?;
    runtime.block_on(verify(bench, &ours, &mut bare, &keys))?;
    let mut bare_singly = bare.clone();
    let standing = Contest::new(bench, keys.len() as u64)
        .clock(Clock::Wall)
        .side("mainspring-cache-tier, get_many of 100", "", || {
            black_box(runtime.block_on(ours.get_many(&keys)));
        })
        .side(ONE_BY_ONE, "", || {
            runtime.block_on(async {
                for key in &keys {
                    black_box(ours.get(key).await);
                }
            });
        })
        .side("redis, one MGET of 100", "1", || {
            let found: redis::RedisResult<Vec<String>> = runtime.block_on(bare.many());
            black_box(found.expect("the server answers"));
        })
        .side("redis, GET one by one", "1", || {
            runtime.block_on(async {
                for number in 0..keys.len() {
                    let found: redis::RedisResult<String> = bare_singly.one(number).await;
                    black_box(found.expect("the server answers"));
                }
            });
        })
        .run();
    Ok(standing.faster(ONE_BY_ONE))
}

fn key(number: usize) -> Key {
    Key::new("team:1", format!("value {number}"))
}

/// About 1 KiB.
fn value(number: usize) -> String {
    format!("value {number:04} ").repeat(85)
}

/// A cache whose memory holds one entry, so that lookups reach the server.
async fn ours(server: &Server, keys: &[Key]) -> Result<TieredCache<String>> {
    let timeout = Duration::from_secs(5);
    let tier = RedisTier::open_with(&server.url(), "bench", timeout, CacheClock::system())?;
    let builder = TieredCache::<String>::builder(BytesCodec).memory(1);
    let cache = builder.tier(Arc::new(tier)).open().await?;
    for (number, key) in keys.iter().enumerate() {
        let options = EntryOptions::new();
        cache.insert(key, value(number), &options).await?;
    }
    Ok(cache)
}

/// The redis crate alone: what a round trip takes without tiers and invalidation.
#[derive(Clone)]
struct Bare {
    connection: redis::aio::MultiplexedConnection,
    names: Vec<String>,
}

async fn bare(server: &Server, count: usize) -> Result<Bare> {
    let client = redis::Client::open(server.url())?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let names: Vec<String> = (0..count).map(|number| format!("bare:{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        let mut set = redis::cmd("SET");
        let () = set
            .arg(name)
            .arg(value(number))
            .query_async(&mut connection)
            .await?;
    }
    Ok(Bare { connection, names })
}

impl Bare {
    async fn many(&mut self) -> redis::RedisResult<Vec<String>> {
        let mut get = redis::cmd("MGET");
        get.arg(&self.names).query_async(&mut self.connection).await
    }

    async fn one(&mut self, number: usize) -> redis::RedisResult<String> {
        let mut get = redis::cmd("GET");
        get.arg(&self.names[number])
            .query_async(&mut self.connection)
            .await
    }
}

async fn verify(
    bench: &Bench,
    ours: &TieredCache<String>,
    bare: &mut Bare,
    keys: &[Key],
) -> Result<()> {
    let many = ours.get_many(keys).await;
    let plain = bare.many().await?;
    for (number, key) in keys.iter().enumerate() {
        let one = ours.fetch(key).await.context("a stored value is gone")?;
        check(
            one.source == Source::Tier(0) || number + 1 == keys.len(),
            "a value came from memory, not from the server",
        )?;
        let bare_one = bare.one(number).await?;
        let found = [
            many[number].clone().unwrap_or_default(),
            one.value,
            plain[number].clone(),
            bare_one,
        ];
        for found in found {
            let found = bench.answer(found);
            check(found == value(number), "another value came back")?;
        }
    }
    Ok(())
}
