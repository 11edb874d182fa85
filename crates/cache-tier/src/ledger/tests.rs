//! The statistics by tag against a plain model that hears only what the listener is told.

use super::*;
use crate::clock::Clock;
use crate::compute::Compute;
use crate::mode::Mode;
use crate::options::EntryOptions;
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The counted ones, and one that is not.
const TAGS: [&str; 4] = ["a", "b", "c", "not counted"];
const COUNTED: usize = 3;

#[derive(Clone, Debug)]
enum Op {
    Get(u8),
    /// Under the tags whose bits are set, with a time to live of its own or none.
    Insert(u8, u32, u8, Option<u64>),
    Load(u8, u8),
    Remove(u8),
    Compute(u8, Compute<()>),
    Retain(u8),
    Invalidate(u8),
    Advance(u64),
    Resize(u64),
    Purge,
    Clear,
    Mode(bool),
}

fn op() -> impl Strategy<Value = Op> {
    let (key, tags) = (0..16_u8, 0..16_u8);
    let what = [Compute::Keep, Compute::Put(()), Compute::Remove];
    prop_oneof![
        6 => key.clone().prop_map(Op::Get),
        12 => (key.clone(), 0..16_u32, tags.clone(), prop::option::of(1..40_u64))
            .prop_map(|(key, weight, tags, ttl)| Op::Insert(key, weight, tags, ttl)),
        2 => (key.clone(), tags).prop_map(|(key, tags)| Op::Load(key, tags)),
        2 => key.clone().prop_map(Op::Remove),
        2 => (key, prop::sample::select(what.to_vec())).prop_map(|(key, what)| Op::Compute(key, what)),
        1 => (2..5_u8).prop_map(Op::Retain),
        2 => (0..4_u8).prop_map(Op::Invalidate),
        3 => (0..30_u64).prop_map(Op::Advance),
        1 => (0..60_u64).prop_map(Op::Resize),
        1 => Just(Op::Purge),
        1 => Just(Op::Clear),
        1 => any::<bool>().prop_map(Op::Mode),
    ]
}

/// Which entry this is, and its weight.
type Value = (u64, u32);

struct Bench {
    cache: Cache<u8, Value>,
    millis: Arc<AtomicU64>,
    told: Arc<Mutex<Vec<(u64, EvictionCause)>>>,
    /// The tags and the weight of every entry that went in and has not left.
    there: HashMap<u64, (u8, u32)>,
    left: [[u64; EvictionCause::COUNT]; COUNTED],
    next: u64,
    off: bool,
}

fn options(tags: u8, ttl: Option<u64>) -> EntryOptions {
    let under = TAGS
        .iter()
        .enumerate()
        .filter(|(at, _)| tags >> at & 1 == 1);
    let options = under.fold(EntryOptions::new(), |options, (_, tag)| options.tag(tag));
    match ttl {
        Some(ttl) => options.ttl(Duration::from_millis(ttl)),
        None => options,
    }
}

impl Bench {
    fn new(capacity: u64, shards: usize, idle: Option<u64>) -> Self {
        let millis = Arc::new(AtomicU64::new(1));
        let told = Arc::new(Mutex::new(Vec::new()));
        let (time, tell) = (Arc::clone(&millis), Arc::clone(&told));
        let labels = TAGS.iter().take(COUNTED).map(|tag| Label::tag(tag));
        let cache = Cache::builder(capacity)
            .weigher(|_, value: &Value| value.1)
            .ttl(Duration::from_millis(60))
            .tti(idle.map(Duration::from_millis))
            .clock(Clock::new(move || {
                Duration::from_millis(time.load(Ordering::Relaxed))
            }))
            .shards(shards)
            .on_evict(move |_, value: &Value, cause| tell.lock().unwrap().push((value.0, cause)))
            .count_labels(Arc::new(Counted::new(labels)))
            .build()
            .unwrap();
        Self {
            cache,
            millis,
            told,
            there: HashMap::new(),
            left: Default::default(),
            next: 0,
            off: false,
        }
    }

    /// The next entry, which goes in unless the cache is off; what does not fit leaves at once.
    fn coming(&mut self, tags: u8, weight: u32) -> Value {
        self.next += 1;
        if !self.off {
            self.there.insert(self.next, (tags, weight));
        }
        (self.next, weight)
    }

    fn leaves(&mut self, id: u64, cause: EvictionCause) {
        let Some((tags, _)) = self.there.remove(&id) else {
            assert!(self.off, "{id} leaves twice");
            return;
        };
        for (at, left) in self.left.iter_mut().enumerate() {
            left[cause.index()] += u64::from(tags >> at & 1);
        }
    }

    fn apply(&mut self, op: &Op) {
        match op.clone() {
            Op::Get(key) => drop(self.cache.get(&key)),
            Op::Insert(key, weight, tags, ttl) => {
                let value = self.coming(tags, weight);
                let old = self.cache.insert_with(key, value, &options(tags, ttl));
                if let Some((id, _)) = old {
                    self.leaves(id, EvictionCause::Replaced);
                }
            }
            Op::Load(key, tags) => {
                let value = self.coming(tags, 1);
                let load = || Ok::<_, std::convert::Infallible>(value);
                let got = self
                    .cache
                    .get_or_try_insert(key, &options(tags, None), load);
                if got != Ok(value) {
                    self.there.remove(&value.0);
                }
            }
            Op::Remove(key) => drop(self.cache.remove(&key)),
            Op::Compute(key, Compute::Put(())) => {
                let value = self.coming(0, 2);
                self.cache.compute(key, |_| Compute::Put(value));
            }
            Op::Compute(key, what) => {
                self.cache.compute(key, |_| match what {
                    Compute::Remove => Compute::Remove,
                    _ => Compute::Keep,
                });
            }
            Op::Retain(of) => self.cache.retain(|_, value| value.0 % u64::from(of) != 0),
            Op::Invalidate(tag) => self.cache.invalidate_tag(TAGS[usize::from(tag)]),
            Op::Advance(by) => drop(self.millis.fetch_add(by, Ordering::Relaxed)),
            Op::Resize(capacity) => self.cache.resize(capacity),
            Op::Purge => self.cache.purge(),
            Op::Clear => self.cache.clear(),
            Op::Mode(off) => {
                self.cache
                    .set_mode(if off { Mode::Off } else { Mode::Normal });
                self.hear();
                self.off = off;
            }
        }
        self.hear();
    }

    fn hear(&mut self) {
        let told = std::mem::take(&mut *self.told.lock().unwrap());
        told.into_iter()
            .for_each(|(id, cause)| self.leaves(id, cause));
    }

    fn check(&self) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.cache.len(), self.there.len());
        let tallies = self.cache.tallies();
        prop_assert_eq!(tallies.len(), COUNTED);
        for (at, tally) in tallies.iter().enumerate() {
            let under = self.there.values().filter(|(tags, _)| tags >> at & 1 == 1);
            let entries = under.clone().count() as u64;
            let weight = under.map(|(_, weight)| u64::from(*weight)).sum();
            let left = self.left[at];
            let expected = Tally {
                entries,
                weight,
                left,
            };
            prop_assert_eq!(*tally, expected, "tag {}", TAGS[at]);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn each_tag_has_what_is_there_and_what_left_by_its_cause(
        capacity in 0..80_u64,
        shards in prop::sample::select(vec![1, 2]),
        idle in prop::option::of(1..50_u64),
        ops in prop::collection::vec(op(), 1..200),
    ) {
        let mut bench = Bench::new(capacity, shards, idle);
        for op in &ops {
            bench.apply(op);
            bench.check()?;
        }
        bench.apply(&Op::Clear);
        bench.check()?;
        for tally in bench.cache.tallies() {
            prop_assert_eq!((tally.entries, tally.weight), (0, 0));
        }
    }
}

#[test]
fn a_mask_has_the_bits_of_the_counted_labels_and_no_more_than_64() {
    let label = |n: u64| Label::from_u64(n);
    let counted = Counted::new([5, 3, 5].into_iter().map(label));
    assert_eq!(counted.mask(&[label(5), label(4)]), 0b101);
    assert_eq!(counted.mask(&[label(3), label(3)]), 0b010);
    let many = Counted::new((0..100).map(label));
    assert_eq!(many.mask(&[label(63), label(64)]), 1 << 63);
    let found: Vec<i32> = each(0..64, 1 << 63 | 1 << 5 | 1).collect();
    assert_eq!(found, [0, 5, 63]);
    assert_eq!(each(0..64, 0).count(), 0);
    assert_eq!(each(0..64, u64::MAX).count(), 64);
}
