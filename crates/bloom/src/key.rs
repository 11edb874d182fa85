use std::{borrow::Cow, fmt};

use xxhash_rust::{
    xxh3::{xxh3_64, xxh3_64_with_seed},
    xxh64::xxh64,
};

/// A key that has one stable spelling in bytes, the same on every machine and in every release.
///
/// Integers are their little-endian bytes at their own width, strings their UTF-8 bytes, byte
/// strings themselves; a reference or an owned form spells what it points to. `usize` and `isize`
/// are left out on purpose: their width depends on the machine.
///
/// A type of your own implements it by handing over bytes:
///
/// ```
/// use mainspring_bloom::{BloomFilter, BloomKey};
///
/// struct SessionId([u8; 16]);
///
/// impl BloomKey for SessionId {
///     fn with_bytes<R>(&self, read: impl FnOnce(&[u8]) -> R) -> R {
///         read(&self.0)
///     }
/// }
///
/// let mut seen = BloomFilter::with_capacity_and_fpr(1_000, 0.01)?;
/// seen.insert(&SessionId([7; 16]));
/// assert!(seen.contains(&[7u8; 16]));
/// # Ok::<(), mainspring_bloom::BuildError>(())
/// ```
pub trait BloomKey {
    /// Calls `read` once with the key's bytes.
    fn with_bytes<R>(&self, read: impl FnOnce(&[u8]) -> R) -> R;
}

macro_rules! integer_keys {
    ($($integer:ty),*) => {$(
        impl BloomKey for $integer {
            #[inline]
            fn with_bytes<R>(&self, read: impl FnOnce(&[u8]) -> R) -> R {
                read(&self.to_le_bytes())
            }
        }
    )*};
}

integer_keys!(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128);

macro_rules! byte_keys {
    ($($(#[$generics:tt])? $type:ty => $self:ident $bytes:expr),* $(,)?) => {$(
        impl BloomKey for $type {
            #[inline]
            fn with_bytes<R>(&$self, read: impl FnOnce(&[u8]) -> R) -> R {
                read($bytes)
            }
        }
    )*};
}

byte_keys! {
    [u8] => self self,
    Vec<u8> => self self,
    str => self self.as_bytes(),
    String => self self.as_bytes(),
    Cow<'_, str> => self self.as_bytes(),
    Cow<'_, [u8]> => self self,
}

impl<const N: usize> BloomKey for [u8; N] {
    #[inline]
    fn with_bytes<R>(&self, read: impl FnOnce(&[u8]) -> R) -> R {
        read(self)
    }
}

impl<K: BloomKey + ?Sized> BloomKey for &K {
    #[inline]
    fn with_bytes<R>(&self, read: impl FnOnce(&[u8]) -> R) -> R {
        (**self).with_bytes(read)
    }
}

/// The published hash function that turns a key's bytes into 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum HashKind {
    /// XXH3, 64 bits: the default; fast on short keys.
    #[default]
    Xxh3,
    /// XXH64: what Parquet prescribes (with seed 0).
    Xxh64,
}

/// A hash function with its seed: **the stable-hash promise**.
///
/// Both functions are published and frozen (xxHash specification, XXH64 since 0.6 and XXH3 since
/// 0.8.0), the result is the same on every platform, and the function and the seed are written
/// into every stored filter. A release of this crate that hashed a key differently would be a
/// breaking change; known answers in the tests keep that promise.
///
/// A seed keeps two filters independent. It is no protection against somebody who chooses keys
/// on purpose and can learn the seed: neither function is a cryptographic one.
///
/// ```
/// use mainspring_bloom::KeyHash;
///
/// assert_eq!(KeyHash::default().hash("session-1"), 0xc07e_a649_48c9_a305);
/// assert_eq!(KeyHash::PARQUET.hash(""), 0xef46_db37_51d8_e999);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash(Form);

/// The default stands apart, so that it costs one comparison and no arithmetic on a seed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Form {
    /// XXH3 with seed 0; no other form stands for it.
    Unseeded,
    Xxh3(u64),
    Xxh64(u64),
}

impl KeyHash {
    /// XXH64 with seed 0, as Parquet's Bloom filters prescribe for plain-encoded values.
    pub const PARQUET: Self = Self(Form::Xxh64(0));

    /// The function `kind` under `seed`. The default is XXH3 with seed 0.
    #[must_use]
    pub const fn new(kind: HashKind, seed: u64) -> Self {
        Self(match (kind, seed) {
            (HashKind::Xxh3, 0) => Form::Unseeded,
            (HashKind::Xxh3, seed) => Form::Xxh3(seed),
            (HashKind::Xxh64, seed) => Form::Xxh64(seed),
        })
    }

    /// Which function it is.
    #[must_use]
    pub const fn kind(&self) -> HashKind {
        match self.0 {
            Form::Unseeded | Form::Xxh3(_) => HashKind::Xxh3,
            Form::Xxh64(_) => HashKind::Xxh64,
        }
    }

    /// The seed.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        match self.0 {
            Form::Unseeded => 0,
            Form::Xxh3(seed) | Form::Xxh64(seed) => seed,
        }
    }

    #[inline(always)]
    pub(crate) const fn is_default(self) -> bool {
        matches!(self.0, Form::Unseeded)
    }

    /// The 64 bits of a key; linear in its length.
    #[inline]
    pub fn hash<K: BloomKey + ?Sized>(&self, key: &K) -> u64 {
        let form = self.0;
        key.with_bytes(|bytes| match form {
            Form::Unseeded => xxh3_64(bytes),
            other => other.hash(bytes),
        })
    }
}

impl Form {
    /// Apart from its caller, and by value: inlined, or reached through a reference into a filter, the
    /// forms would slow the default one down.
    #[cold]
    #[inline(never)]
    fn hash(self, bytes: &[u8]) -> u64 {
        match self {
            Self::Unseeded => xxh3_64(bytes),
            Self::Xxh3(seed) => xxh3_64_with_seed(bytes, seed),
            Self::Xxh64(seed) => xxh64(bytes, seed),
        }
    }
}

impl Default for KeyHash {
    fn default() -> Self {
        Self::new(HashKind::default(), 0)
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyHash")
            .field("kind", &self.kind())
            .field("seed", &self.seed())
            .finish()
    }
}
