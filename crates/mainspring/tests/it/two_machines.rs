//! Two runtimes that share nothing but a Redis server, started here, and an object store.

use std::{
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use mainspring::{
    Parts, Profile, Runtime,
    cache_tier::{EntryOptions, Key, RedisTier, Source},
    delta_snapshot::{CommitOptions, ObjectBacking, Options, Snapshots, VersionId},
};
use object_store::local::LocalFileSystem;

struct Server(Child, u16);

impl Server {
    /// `None`, and says so, where no server is installed.
    fn start(dir: &Path) -> Option<Self> {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let start = |program: &&str| {
            let mut command = Command::new(program);
            let options = format!("--port {port} --bind 127.0.0.1 --appendonly no");
            command.args(options.split(' ')).args(["--save", ""]);
            command.current_dir(dir).stdout(Stdio::null());
            command.stderr(Stdio::null()).spawn().ok()
        };
        let Some(child) = ["redis-server", "valkey-server"].iter().find_map(start) else {
            println!("skipped: no redis-server or valkey-server in the path");
            return None;
        };
        let server = Self(child, port);
        let patience = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < patience, "the server does not listen");
            std::thread::yield_now();
        }
        Some(server)
    }

    /// A runtime of another machine.
    async fn machine(&self, dir: &Path) -> Runtime {
        let address = format!("redis://127.0.0.1:{}", self.1);
        let tier = RedisTier::open(&address, "two-machines").unwrap();
        let parts = Parts::new().shared_tier(Arc::new(tier));
        let opened = Runtime::open_parts(dir, Profile::Laptop, parts).await;
        opened.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a machine answers, and where it has it from: `made` when nobody knows.
async fn ask(runtime: &Runtime, made: &'static str) -> (bytes::Bytes, Source) {
    let load = || async move { Ok::<_, std::io::Error>(made.into()) };
    let options = EntryOptions::new().tag("plans");
    let key = Key::new("team:1", "plan");
    let fetched = runtime.cache().get_or_try_load(&key, &options, load);
    let fetched = fetched.await.unwrap();
    (fetched.value, fetched.source)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_and_invalidations_are_shared_and_a_dead_server_stops_nobody() {
    let [dir, left, right] = [0; 3].map(|_| tempfile::tempdir().unwrap());
    let Some(server) = Server::start(dir.path()) else {
        return;
    };
    let left = server.machine(left.path()).await;
    let right = server.machine(right.path()).await;
    assert_eq!(ask(&left, "first").await, ("first".into(), Source::Loaded));
    let (shared, source) = ask(&right, "never").await;
    assert_eq!(shared, "first");
    assert_ne!(source, Source::Loaded);
    // The other's memory is told.
    left.cache().invalidate_tag("plans").await;
    assert_eq!(ask(&left, "second").await.0, "second");
    let patience = Instant::now() + Duration::from_secs(20);
    while ask(&right, "never").await.0 != "second" {
        assert!(Instant::now() < patience, "it was never told");
        tokio::task::yield_now().await;
    }
    // Cut off from each other, both go on; what each does not have it makes.
    drop(server);
    left.cache().invalidate_tag("plans").await;
    assert_eq!(ask(&left, "third").await, ("third".into(), Source::Loaded));
    let alone = ask(&right, "fourth").await.0;
    assert!(alone == "second" || alone == "fourth", "{alone:?}");
    left.close().await.unwrap();
    right.close().await.unwrap();
}

fn snapshots(dir: &Path, tokio: tokio::runtime::Handle) -> Snapshots {
    let store = Arc::new(LocalFileSystem::new_with_prefix(dir).unwrap());
    Snapshots::open(
        ObjectBacking::new(store, "checkpoints", tokio),
        Options::new(),
    )
    .unwrap()
}

#[tokio::test]
async fn a_checkpoint_in_an_object_store_is_restored_on_the_other_machine() {
    const STATE: &str = r#"{"header":1,"messages":["a"]}"#;
    let dir = tempfile::tempdir().unwrap();
    let (folder, tokio) = (dir.path().to_owned(), tokio::runtime::Handle::current());
    let restored = tokio::task::spawn_blocking(move || {
        let here = snapshots(&folder, tokio.clone());
        let thread = here.thread("session").unwrap();
        thread.set("", STATE).unwrap();
        let version: VersionId = thread.commit(CommitOptions::new()).unwrap();
        here.sync().unwrap();
        snapshots(&folder, tokio).restore(version).unwrap()
    });
    assert_eq!(restored.await.unwrap(), STATE);
}
