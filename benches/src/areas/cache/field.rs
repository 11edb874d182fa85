//! One of each cache, filled alike.

use mainspring_inputs::Random;

use super::peers::{
    CacheKey, DashMap, Foyer, Map, MiniMoka, Moka, MutexLru, Ours, Peer, QuickCache, Shape, Stretto,
};
use crate::{Bench, check};

/// Ours and every peer.
pub(super) struct Field<K: CacheKey> {
    pub(super) ours: Ours<K>,
    pub(super) quick_cache: QuickCache<K>,
    pub(super) foyer: Foyer<K>,
    pub(super) moka: Moka<K>,
    pub(super) mini_moka: MiniMoka<K>,
    pub(super) stretto: Stretto<K>,
    pub(super) lru: MutexLru<K>,
    pub(super) dashmap: DashMap<K>,
    pub(super) map: Map<K>,
}

/// Does something with every cache that evicts; ours comes first.
macro_rules! each {
    ($field:expr, |$peer:ident| $what:expr) => {
        each!($field, [ours, quick_cache, foyer, moka, mini_moka, stretto, lru], |$peer| $what)
    };
    ($field:expr, [$($which:ident),*], |$peer:ident| $what:expr) => {
        $({
            let $peer = &$field.$which;
            $what;
        })*
    };
}
pub(super) use each;

impl<K: CacheKey> Field<K> {
    /// Empty caches of that capacity.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            ours: Peer::new(capacity, Shape::Usual),
            quick_cache: Peer::new(capacity, Shape::Usual),
            foyer: Peer::new(capacity, Shape::Usual),
            moka: Peer::<K>::new(capacity, Shape::Usual),
            mini_moka: Peer::<K>::new(capacity, Shape::Usual),
            stretto: Peer::<K>::new(capacity, Shape::Usual),
            lru: Peer::new(capacity, Shape::Usual),
            dashmap: Peer::<K>::new(capacity, Shape::Usual),
            map: Peer::<K>::new(capacity, Shape::Usual),
        }
    }
}

/// How a number looks as a key.
pub(super) trait Numbered: CacheKey {
    fn of(number: u64) -> Self;
}

impl Numbered for u64 {
    fn of(number: u64) -> Self {
        number
    }
}

impl Numbered for String {
    /// 24 bytes.
    fn of(number: u64) -> Self {
        format!("session:{number:016x}")
    }
}

/// Caches that hold everything they are asked for.
pub(super) struct Lookups<K: CacheKey> {
    pub(super) field: Field<K>,
    /// Draws of the keys that are there.
    pub(super) keys: Vec<K>,
}

impl<K: Numbered> Lookups<K> {
    pub(super) const ENTRIES: usize = 10_000;

    /// Fills every cache to half its capacity, and sees that all of it is there.
    pub(super) fn new(bench: &Bench) -> anyhow::Result<Self> {
        let entries = bench.scale().pick(1_000, Self::ENTRIES, Self::ENTRIES);
        let field = Field::new(entries * 2);
        let mut random = Random::new(1);
        let draws = bench.scale().pick(1_000, 20_000, 50_000);
        let drawn: Vec<u64> = (0..draws).map(|_| random.below(entries) as u64).collect();
        let lookups = Self {
            field,
            keys: drawn.iter().map(|number| K::of(*number)).collect(),
        };
        each!(lookups.field, |peer| fill(peer, entries));
        fill(&lookups.field.dashmap, entries);
        fill(&lookups.field.map, entries);
        Ok(lookups)
    }

    /// Sees that every cache answers every draw as it should.
    pub(super) fn verify(&self, bench: &Bench) -> anyhow::Result<()> {
        each!(self.field, |peer| verify(bench, peer, &self.keys)?);
        verify(bench, &self.field.dashmap, &self.keys)?;
        verify(bench, &self.field.map, &self.keys)
    }
}

/// What is stored under a key.
pub(super) fn value_of<K: CacheKey>(key: &K) -> u64 {
    use std::hash::BuildHasher as _;
    foldhash::fast::FixedState::with_seed(7).hash_one(key)
}

pub(super) fn fill<K: Numbered, P: Peer<K>>(peer: &P, entries: usize) {
    for number in 0..entries as u64 {
        let key = K::of(number);
        let value = value_of(&key);
        peer.insert(key, value);
        if number % 64 == 0 {
            peer.settle();
        }
    }
    peer.settle();
}

pub(super) fn verify<K: CacheKey, P: Peer<K>>(
    bench: &Bench,
    peer: &P,
    keys: &[K],
) -> anyhow::Result<()> {
    for key in keys {
        let found = bench.answer(peer.get(key));
        check(
            found == Some(value_of(key)),
            &format!("{} gave back another value than it was given", P::NAME),
        )?;
    }
    Ok(())
}
