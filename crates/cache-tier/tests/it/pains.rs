//! Public complaints about other caches, each as the scenario that must pass here.

use crate::double::{Slow, run};
use mainspring_cache_tier::{
    BytesCodec, Cache, DirTier, Effects, EntryOptions, Key, Source, TieredCache,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The weight that is alive, counted by the values themselves.
#[derive(Default)]
struct Gauge {
    now: AtomicU64,
    most: AtomicU64,
}

struct Weighty(u32, Arc<Gauge>);

impl Weighty {
    fn new(weight: u32, gauge: &Arc<Gauge>) -> Arc<Self> {
        let now = gauge.now.fetch_add(u64::from(weight), Ordering::SeqCst) + u64::from(weight);
        gauge.most.fetch_max(now, Ordering::SeqCst);
        Arc::new(Self(weight, Arc::clone(gauge)))
    }
}

impl Drop for Weighty {
    fn drop(&mut self) {
        self.1.now.fetch_sub(u64::from(self.0), Ordering::SeqCst);
    }
}

#[test]
fn moka_590_capacity_holds_at_every_instant() {
    const CAPACITY: u64 = 10_000;
    let gauge = Arc::new(Gauge::default());
    let cache: Cache<u64, Arc<Weighty>> = Cache::builder(CAPACITY)
        .ttl(None)
        .weigher(|_, value: &Arc<Weighty>| value.0)
        .shards(4)
        .build()
        .unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4_u64)
            .map(|thread| {
                let (cache, gauge) = (&cache, &gauge);
                scope.spawn(move || {
                    for n in 0..5_000 {
                        let weight = 1 + (n * 7_919 + thread * 31) % 600;
                        cache.insert(n * 4 + thread, Weighty::new(weight as u32, gauge));
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                assert!(cache.weight() <= CAPACITY);
                let stats = cache.stats();
                assert!(stats.weight <= CAPACITY && stats.peak_weight <= CAPACITY);
            }
        });
        writers
            .into_iter()
            .for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Relaxed);
    });
    // What is alive beyond the capacity is what each thread has in its hands: the value on its way in and
    // the ones it just evicted for it, which together weigh less than two of the heaviest.
    let most = gauge.most.load(Ordering::SeqCst);
    assert!(most <= CAPACITY + 4 * 2 * 600, "{most}");
    assert_eq!(gauge.now.load(Ordering::SeqCst), cache.weight());
    assert!(cache.stats().peak_weight > CAPACITY * 9 / 10);
}

#[test]
fn agno_9570_scope_is_separate_from_the_key() {
    let cache = run(TieredCache::<String>::builder(BytesCodec).open()).unwrap();
    let loads = AtomicU64::new(0);
    let ask = |scope: &'static str| {
        let loads = &loads;
        let key = Key::new(scope, "weather in Berlin");
        let load = || async {
            loads.fetch_add(1, Ordering::Relaxed);
            Ok::<_, std::io::Error>(scope.to_owned())
        };
        run(cache.get_or_try_load(&key, &EntryOptions::new(), load)).unwrap()
    };
    // A hundred runs of one user hit; another user has an entry of their own.
    (0..100).for_each(|_| assert_eq!(ask("user:1").value, "user:1"));
    assert_eq!(ask("user:2").source, Source::Loaded);
    assert_eq!(loads.load(Ordering::Relaxed), 2);
    run(cache.invalidate_scope("user:1"));
    assert_eq!(
        (ask("user:2").source, ask("user:1").source),
        (Source::Memory, Source::Loaded)
    );
}

#[test]
fn insights_host_inventory_4914_epochs_outlive_entries() {
    let folder = tempfile::tempdir().unwrap();
    let open = |labels| {
        let tier = Arc::new(DirTier::open_with(folder.path(), 10_000, 1 << 30, false).unwrap());
        run(TieredCache::<String>::builder(BytesCodec)
            .labels(labels)
            .tier(tier)
            .open())
        .unwrap()
    };
    let key = Key::new("tenant:1", "hosts");
    let options = EntryOptions::new()
        .tag("hosts")
        .ttl(std::time::Duration::from_secs(1_000_000));
    {
        let cache = open(64);
        run(cache.insert(&key, "stale".into(), &options)).unwrap();
        run(cache.invalidate_tag("hosts"));
        // The table is far too small to remember them all.
        for other in 0..1_000 {
            run(cache.invalidate_tag(&other.to_string()));
        }
        assert_eq!(run(cache.get(&key)), None);
    }
    for _ in 0..3 {
        let cache = open(64);
        assert_eq!(
            run(cache.get(&key)),
            None,
            "an invalidated entry came back after a restart"
        );
    }
    let cache = open(64);
    run(cache.insert(&key, "new".into(), &options)).unwrap();
    drop(cache);
    assert_eq!(
        run(open(64).get(&key)).as_deref(),
        Some("new"),
        "what came after is kept"
    );
}

#[test]
fn deer_flow_4124_edits_invalidate_cached_reads() {
    let slow = Slow::new();
    let cache = run(TieredCache::<String>::builder(BytesCodec).tier(slow).open()).unwrap();
    let read = |call: &'static str, path: &str| {
        let options = EntryOptions::new().reads(path);
        let load = || async { Ok::<_, std::io::Error>(call.to_owned()) };
        run(cache.get_or_try_load(&Key::new("session:1", call), &options, load))
            .unwrap()
            .source
    };
    let all = || {
        [
            read("cat", "/w/src/a.rs"),
            read("ls", "/w/src"),
            read("grep", "/w"),
            read("other", "/w/doc/b.md"),
        ]
    };
    assert_eq!(all(), [Source::Loaded; 4]);
    assert_eq!(all(), [Source::Memory; 4]);
    run(cache.invalidate_writes(&Effects::new().write("/w/./src//a.rs")));
    assert_eq!(
        all(),
        [
            Source::Loaded,
            Source::Loaded,
            Source::Loaded,
            Source::Memory
        ]
    );
    run(cache.invalidate_writes(&Effects::new().write("/w/src/")));
    assert_eq!(
        all(),
        [
            Source::Loaded,
            Source::Loaded,
            Source::Loaded,
            Source::Memory
        ]
    );
    run(cache.invalidate_writes(&Effects::new().write_anything()));
    assert_eq!(all(), [Source::Loaded; 4]);
}

#[test]
fn deer_flow_4124_a_content_signature_tells_what_mtime_does_not() {
    let slow = Slow::new();
    let cache = run(TieredCache::<String>::builder(BytesCodec).tier(slow).open()).unwrap();
    let key = Key::new("", "render /w/agent.md");
    let render = |signature: u64, text: &'static str| {
        let options = EntryOptions::new().signature(signature);
        let load = || async { Ok::<_, std::io::Error>(text.to_owned()) };
        run(cache.get_or_try_load(&key, &options, load)).unwrap()
    };
    // Same size, same mtime, other content.
    assert_eq!(render(1, "one").source, Source::Loaded);
    assert_eq!(render(1, "one").source, Source::Memory);
    let changed = render(2, "two");
    assert_eq!(
        (changed.value.as_str(), changed.source),
        ("two", Source::Loaded)
    );
    cache.clear_memory();
    assert_eq!(render(1, "one").source, Source::Loaded, "nor from a tier");
}
