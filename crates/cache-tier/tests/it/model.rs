//! The cache against a plain model, with a clock set by hand.

use crate::double::Hands;
use mainspring_cache_tier::{Cache, Compute, Effects, EntryOptions, EvictionCause};
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Clone, Debug)]
enum Op {
    Get(u8),
    Contains(u8),
    Insert {
        key: u8,
        weight: u32,
        ttl: Option<u16>,
        group: Group,
    },
    Remove(u8),
    Compute(u8, Compute<()>),
    Load(u8),
    Tag(u8),
    Scope(u8),
    Write(u8),
    Advance(u16),
    Resize(u16),
    Purge,
    Clear,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Group {
    None,
    Tag(u8),
    Scope(u8),
    Reads(u8),
}

const SCOPES: [&str; 4] = ["agent", "agent:1", "agent:1:tools", "agent:2"];
const PATHS: [&str; 4] = ["/src", "/src/a", "/src/a/x.rs", "/doc"];

/// Whether writing or invalidating `outer` covers what belongs to `inner`.
fn covers(outer: &str, inner: &str, separator: char) -> bool {
    inner == outer
        || inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.starts_with(separator))
}

fn group() -> impl Strategy<Value = Group> {
    prop_oneof![
        2 => Just(Group::None),
        1 => (0..3u8).prop_map(Group::Tag),
        1 => (0..4u8).prop_map(Group::Scope),
        1 => (0..4u8).prop_map(Group::Reads),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let key = 0..24u8;
    prop_oneof![
        8 => key.clone().prop_map(Op::Get),
        2 => key.clone().prop_map(Op::Contains),
        8 => (key.clone(), 0..12u32, prop::option::of(1..40u16), group())
            .prop_map(|(key, weight, ttl, group)| Op::Insert { key, weight, ttl, group }),
        2 => key.clone().prop_map(Op::Remove),
        2 => (key.clone(), prop_oneof![Just(Compute::Keep), Just(Compute::Put(())), Just(Compute::Remove)])
            .prop_map(|(key, what)| Op::Compute(key, what)),
        2 => key.prop_map(Op::Load),
        1 => (0..3u8).prop_map(Op::Tag),
        1 => (0..4u8).prop_map(Op::Scope),
        1 => (0..4u8).prop_map(Op::Write),
        3 => (0..30u16).prop_map(Op::Advance),
        1 => (0..60u16).prop_map(Op::Resize),
        1 => Just(Op::Purge),
        1 => Just(Op::Clear),
    ]
}

#[derive(Clone, Debug)]
struct Known {
    value: u64,
    expires: Option<u64>,
    used: u64,
    group: Group,
}

/// Everything that was put and not taken away; the cache may hold less, never more.
struct Model {
    now: u64,
    ttl: Option<u64>,
    idle: Option<u64>,
    entries: HashMap<u8, Known>,
}

impl Model {
    fn live(&self, key: u8) -> Option<&Known> {
        let known = self.entries.get(&key)?;
        let in_time = known.expires.is_none_or(|expires| self.now < expires);
        let in_use = self.idle.is_none_or(|idle| self.now < known.used + idle);
        (in_time && in_use).then_some(known)
    }

    fn put(&mut self, key: u8, value: u64, ttl: Option<u64>, group: Group) {
        let expires = ttl.or(self.ttl).map(|ttl| self.now + ttl);
        self.entries.insert(
            key,
            Known {
                value,
                expires,
                used: self.now,
                group,
            },
        );
    }

    fn invalidate(&mut self, hit: impl Fn(Group) -> bool) {
        self.entries.retain(|_, known| !hit(known.group));
    }
}

fn options(ttl: Option<u16>, group: Group) -> EntryOptions {
    let options = EntryOptions::new();
    let options = match ttl {
        Some(ttl) => options.ttl(Duration::from_millis(ttl.into())),
        None => options,
    };
    match group {
        Group::None => options,
        Group::Tag(tag) => options.tag(&tag.to_string()),
        Group::Scope(scope) => options.scope(SCOPES[scope as usize]),
        Group::Reads(path) => options.reads(PATHS[path as usize]),
    }
}

type Value = (u64, u32);

struct Bench {
    cache: Cache<u8, Value>,
    hands: Hands,
    model: Model,
    capacity: u64,
    next: u64,
    told: Arc<Mutex<HashMap<EvictionCause, u64>>>,
}

impl Bench {
    fn new(capacity: u64, ttl: Option<u64>, idle: Option<u64>) -> Self {
        let hands = Hands::default();
        let told = Arc::new(Mutex::new(HashMap::new()));
        let tell = Arc::clone(&told);
        let cache = Cache::builder(capacity)
            .weigher(|_, value: &Value| value.1)
            .ttl(ttl.map(Duration::from_millis))
            .tti(idle.map(Duration::from_millis))
            .clock(hands.clock())
            .shards(1)
            .on_evict(move |_, _, cause| *tell.lock().unwrap().entry(cause).or_insert(0) += 1)
            .build()
            .unwrap();
        let model = Model {
            now: 0,
            ttl,
            idle,
            entries: HashMap::new(),
        };
        Self {
            cache,
            hands,
            model,
            capacity,
            next: 0,
            told,
        }
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// What the cache says must be what the model says, or nothing.
    fn check_value(&mut self, key: u8, got: Option<Value>) {
        if let Some((value, _)) = got {
            let live = self
                .model
                .live(key)
                .unwrap_or_else(|| panic!("{key} is dead in the model"));
            assert_eq!(live.value, value, "an old value of {key}");
            let now = self.model.now;
            self.model.entries.get_mut(&key).unwrap().used = now;
        }
    }

    fn apply(&mut self, op: &Op) {
        match op.clone() {
            Op::Get(key) => {
                let got = self.cache.get(&key);
                assert_eq!(self.cache.explain(&key).miss.is_none(), got.is_some());
                self.check_value(key, got);
            }
            Op::Contains(key) => {
                let there = self.cache.contains(&key);
                assert!(!there || self.model.live(key).is_some());
            }
            Op::Insert {
                key,
                weight,
                ttl,
                group,
            } => {
                let value = self.fresh();
                let old = self
                    .cache
                    .insert_with(key, (value, weight), &options(ttl, group));
                self.check_value(key, old);
                if u64::from(weight) > self.capacity {
                    self.model.entries.remove(&key);
                    assert!(!self.cache.contains(&key));
                } else {
                    self.model.put(key, value, ttl.map(u64::from), group);
                    assert!(self.cache.contains(&key), "what was just put is there");
                }
            }
            Op::Remove(key) => {
                let old = self.cache.remove(&key);
                self.check_value(key, old);
                self.model.entries.remove(&key);
                assert!(!self.cache.contains(&key));
            }
            Op::Compute(key, what) => self.compute(key, what),
            Op::Load(key) => {
                let value = self.fresh();
                let got = self.cache.get_or_insert_with(key, || (value, 1));
                if got.0 == value && self.capacity >= 1 {
                    self.model.put(key, value, None, Group::None);
                } else if got.0 != value {
                    self.check_value(key, Some(got));
                }
            }
            Op::Tag(tag) => {
                self.cache.invalidate_tag(&tag.to_string());
                self.model.invalidate(|group| group == Group::Tag(tag));
            }
            Op::Scope(scope) => {
                let scope = SCOPES[scope as usize];
                self.cache.invalidate_scope(format!("{scope}:*"));
                self.model.invalidate(|group| matches!(group, Group::Scope(s) if covers(scope, SCOPES[s as usize], ':')));
            }
            Op::Write(path) => {
                let path = PATHS[path as usize];
                self.cache.invalidate_writes(&Effects::new().write(path));
                let hit = |read: &str| covers(path, read, '/') || covers(read, path, '/');
                self.model
                    .invalidate(|group| matches!(group, Group::Reads(p) if hit(PATHS[p as usize])));
            }
            Op::Advance(by) => {
                self.model.now += u64::from(by);
                self.hands.advance(Duration::from_millis(by.into()));
            }
            Op::Resize(capacity) => {
                self.capacity = capacity.into();
                self.cache.resize(self.capacity);
            }
            Op::Purge => {
                self.cache.purge();
                assert_eq!(
                    self.cache.iter().count(),
                    self.cache.len(),
                    "a purge leaves only live entries"
                );
            }
            Op::Clear => {
                self.cache.clear();
                self.model.entries.clear();
                assert!(self.cache.is_empty());
            }
        }
        self.check_bounds();
    }

    fn compute(&mut self, key: u8, what: Compute<()>) {
        let value = self.fresh();
        let mut seen = None;
        let after = self.cache.compute(key, |old| {
            seen = old.copied();
            match what {
                Compute::Keep => Compute::Keep,
                Compute::Put(()) => Compute::Put((value, 1)),
                Compute::Remove => Compute::Remove,
            }
        });
        if let Some((seen, _)) = seen {
            assert_eq!(self.model.live(key).map(|known| known.value), Some(seen));
        }
        match what {
            Compute::Keep => assert_eq!(after, seen),
            Compute::Put(()) => {
                assert_eq!(after, Some((value, 1)));
                self.model.put(key, value, None, Group::None);
            }
            Compute::Remove => {
                assert_eq!(after, None);
                self.model.entries.remove(&key);
                assert!(!self.cache.contains(&key));
            }
        }
    }

    fn check_bounds(&self) {
        let weight = self.cache.weight();
        assert!(weight <= self.capacity, "{weight} above {}", self.capacity);
        let sum: u64 = self.cache.iter().map(|(_, value)| u64::from(value.1)).sum();
        assert!(sum <= weight);
        let stats = self.cache.stats();
        let told = self.told.lock().unwrap();
        let heard = |cause| told.get(&cause).copied().unwrap_or(0);
        assert_eq!(stats.evicted.capacity, heard(EvictionCause::Capacity));
        assert_eq!(stats.evicted.expired, heard(EvictionCause::Expired));
        assert_eq!(stats.evicted.idle, heard(EvictionCause::Idle));
        assert_eq!(stats.evicted.invalidated, heard(EvictionCause::Invalidated));
        assert_eq!(stats.evicted.removed, heard(EvictionCause::Removed));
        assert_eq!(stats.evicted.too_large, heard(EvictionCause::TooLarge));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn never_serves_what_the_model_has_not(
        capacity in 0..60u64,
        ttl in prop::option::of(1..50u64),
        idle in prop::option::of(1..50u64),
        ops in prop::collection::vec(op(), 1..300),
    ) {
        let mut bench = Bench::new(capacity, ttl, idle);
        ops.iter().for_each(|op| bench.apply(op));
    }

    #[test]
    fn is_a_map_while_everything_fits(ops in prop::collection::vec(op(), 1..300)) {
        let mut bench = Bench::new(1_000, None, None);
        for op in ops.iter().filter(|op| !matches!(op, Op::Resize(_))) {
            bench.apply(op);
            // A lookup changes nothing, and is checked itself.
            if matches!(op, Op::Get(_) | Op::Contains(_)) {
                continue;
            }
            for key in 0..24 {
                prop_assert_eq!(bench.cache.contains(&key), bench.model.live(key).is_some(), "key {}", key);
            }
        }
    }
}

#[test]
fn time_to_live_ends_at_its_millisecond() {
    let hands = Hands::default();
    let ttl = Duration::from_millis(10);
    let cache: Cache<&str, u8> = Cache::builder(10)
        .ttl(ttl)
        .clock(hands.clock())
        .build()
        .unwrap();
    cache.insert("a", 1);
    hands.advance(Duration::from_millis(9));
    assert_eq!(cache.get("a"), Some(1));
    hands.advance(Duration::from_millis(1));
    assert_eq!(cache.get("a"), None);
    assert_eq!(cache.stats().evicted.expired, 1);
    assert_eq!(cache.len(), 0, "the lookup that met it took it out");
}

#[test]
fn use_puts_off_the_time_to_idle_but_not_the_time_to_live() {
    let hands = Hands::default();
    let millis = Duration::from_millis;
    let cache: Cache<u8, u8> = Cache::builder(10)
        .ttl(millis(25))
        .tti(millis(10))
        .clock(hands.clock())
        .build()
        .unwrap();
    cache.insert(1, 1);
    for _ in 0..2 {
        hands.advance(millis(9));
        assert_eq!(cache.get(&1), Some(1));
    }
    hands.advance(millis(7));
    assert_eq!(cache.get(&1), None);
    assert_eq!(cache.stats().evicted.expired, 1);
    cache.insert(2, 2);
    hands.advance(millis(10));
    assert_eq!(cache.get(&2), None);
    assert_eq!(cache.stats().evicted.idle, 1);
}

#[test]
fn each_entry_can_have_its_own_time() {
    let hands = Hands::default();
    let expiry = |_: &u8, value: &u64| (*value > 0).then(|| Duration::from_millis(*value));
    let cache: Cache<u8, u64> = Cache::builder(10)
        .ttl(None)
        .expire_with(expiry)
        .clock(hands.clock())
        .build()
        .unwrap();
    cache.insert(1, 5);
    cache.insert(2, 0);
    cache.insert_with(3, 5, &EntryOptions::new().ttl(Duration::from_millis(50)));
    hands.advance(Duration::from_millis(49));
    assert_eq!(
        (cache.get(&1), cache.get(&2), cache.get(&3)),
        (None, Some(0), Some(5))
    );
    hands.advance(Duration::from_millis(1));
    assert_eq!((cache.get(&2), cache.get(&3)), (Some(0), None));
}

#[test]
fn a_hit_under_many_threads_is_counted_once() {
    let cache: Cache<u64, u64> = Cache::new(1_000);
    (0..100).for_each(|key| assert_eq!(cache.insert(key, key), None));
    let wrong = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..1_000_u64 {
                    let key = round % 100;
                    wrong.fetch_add(u64::from(cache.get(&key) != Some(key)), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(wrong.into_inner(), 0);
    assert_eq!((cache.stats().hits, cache.stats().misses), (4_000, 0));
}
