//! What things weigh in bytes.

use crate::builder::CacheBuilder;
use crate::key::Key;
use crate::tiered_builder::TieredBuilder;
use bytes::Bytes;
use std::hash::Hash;
use std::sync::Arc;

/// What a key or a value takes in memory, in bytes: what a cache is bounded by that is
/// [weighed in bytes](CacheBuilder::in_bytes). Implement it for types of your own; nothing is allocated for it.
///
/// What several hold together (`Arc`, `Bytes`) counts for each.
pub trait Weigh {
    /// Bytes that it takes, those it points to included. About.
    fn weight(&self) -> usize;
}

macro_rules! weigh {
    (flat: $($flat:ty),*) => {$(
        impl Weigh for $flat {
            fn weight(&self) -> usize {
                size_of::<Self>()
            }
        }
    )*};
    (long: $($long:ty),*) => {$(
        impl Weigh for $long {
            fn weight(&self) -> usize {
                size_of::<Self>() + self.len()
            }
        }
    )*};
}

weigh!(flat: (), bool, char, u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, f32, f64);
weigh!(long: String, Bytes, Vec<u8>, Box<str>, Box<[u8]>, Arc<str>, Arc<[u8]>);

impl<T: Weigh> Weigh for Option<T> {
    fn weight(&self) -> usize {
        let beside = size_of::<Self>() - size_of::<T>();
        self.as_ref()
            .map_or(size_of::<Self>(), |one| beside + one.weight())
    }
}

impl<A: Weigh, B: Weigh> Weigh for (A, B) {
    fn weight(&self) -> usize {
        self.0.weight() + self.1.weight()
    }
}

impl<T: Weigh> Weigh for Arc<T> {
    fn weight(&self) -> usize {
        size_of::<Self>() + T::weight(self)
    }
}

impl Weigh for &str {
    fn weight(&self) -> usize {
        size_of::<Self>()
    }
}

impl Weigh for Key {
    fn weight(&self) -> usize {
        size_of::<Self>() + self.scope().as_str().len() + self.bytes().len()
    }
}

/// What a cache takes for an entry beside its key and value.
const BESIDE: usize = 40;

fn weight(key: &impl Weigh, value: &impl Weigh) -> u32 {
    u32::try_from(BESIDE + key.weight() + value.weight()).unwrap_or(u32::MAX)
}

impl<K: Hash + Eq + Weigh, V: Clone + Weigh> CacheBuilder<K, V> {
    /// Weighs entries in bytes, key, value and what the cache takes for them together, so that the capacity is one in
    /// bytes: the default [`weigher`](Self::weigher) for it.
    ///
    /// ```
    /// use mainspring_cache_tier::Cache;
    ///
    /// let cache: Cache<u64, String> = Cache::builder(1 << 20).in_bytes().build()?;
    /// cache.insert(1, "x".repeat(1_000));
    /// assert_eq!(cache.weight(), 40 + 8 + 24 + 1_000);
    /// # Ok::<(), mainspring_cache_tier::BuildError>(())
    /// ```
    pub fn in_bytes(self) -> Self {
        self.weigher(|key, value| weight(key, value))
    }
}

impl<V: Clone + Weigh + Send + Sync + 'static> TieredBuilder<V> {
    /// Weighs what memory holds in bytes: the capacity given to [`memory`](Self::memory) is one in bytes then.
    pub fn in_bytes(self) -> Self {
        self.weigher(|key, value| weight(key, value))
    }
}
