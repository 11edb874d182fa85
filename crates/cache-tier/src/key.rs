//! What the tiers find an entry by.

use crate::label::Scope;
use bytes::Bytes;
use hashbrown::Equivalent;
use std::hash::{Hash, Hasher};
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// A scope and a key in it. The scope says whom the value is for, the key what it is; the same key in two
/// scopes is two entries. Cloning is two reference counts.
///
/// ```
/// use mainspring_cache_tier::Key;
///
/// let key = Key::new("agent:7:tools", "read_file /src/main.rs");
/// assert_eq!(key.scope().as_str(), "agent:7:tools");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    scope: Scope,
    key: Bytes,
    digest: u128,
}

/// A key by its digest alone, to find it in memory when only that is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Digest(pub(crate) u128);

impl Equivalent<Key> for Digest {
    fn equivalent(&self, key: &Key) -> bool {
        self.0 == key.digest
    }
}

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.0);
    }
}

impl Key {
    /// A key in a scope. The empty scope is the one that everybody shares.
    pub fn new(scope: impl Into<Scope>, key: impl Into<Bytes>) -> Self {
        let (scope, key) = (scope.into(), key.into());
        let digest = xxh3_128_with_seed(&encoded(&scope, &key), 0);
        Self { scope, key, digest }
    }

    /// The scope.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The key in the scope.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.key
    }

    /// Scope and key as one string of bytes, the same in every process: the scope's length as four
    /// little-endian bytes, the scope, the key.
    #[must_use]
    pub fn encoded(&self) -> Vec<u8> {
        encoded(&self.scope, &self.key)
    }

    /// The key of bytes that [`encoded`](Self::encoded) made; `None` for others.
    #[must_use]
    pub fn decode(encoded: &[u8]) -> Option<Self> {
        let (length, rest) = encoded.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (scope, key) = rest.split_at_checked(length)?;
        let scope = std::str::from_utf8(scope).ok()?;
        let decoded = Self::new(scope, Bytes::copy_from_slice(key));
        // A scope that is written in another way has another name.
        (decoded.scope.as_str() == scope).then_some(decoded)
    }

    /// A stable 128-bit digest (XXH3) of scope and key, for tiers that want names of one length. It is not
    /// cryptographic: a tier that uses it stores the key beside the value and compares it.
    #[must_use]
    pub fn digest(&self) -> u128 {
        self.digest
    }
}

fn encoded(scope: &Scope, key: &Bytes) -> Vec<u8> {
    let scope = scope.as_str().as_bytes();
    let mut encoded = Vec::with_capacity(4 + scope.len() + key.len());
    encoded.extend_from_slice(&(scope.len() as u32).to_le_bytes());
    encoded.extend_from_slice(scope);
    encoded.extend_from_slice(key);
    encoded
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Digest(self.digest).hash(state);
    }
}
