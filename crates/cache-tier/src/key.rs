//! What the tiers find an entry by.

use crate::label::Scope;
use bytes::Bytes;
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
}

impl Key {
    /// A key in a scope. The empty scope is the one that everybody shares.
    pub fn new(scope: impl Into<Scope>, key: impl Into<Bytes>) -> Self {
        Self {
            scope: scope.into(),
            key: key.into(),
        }
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
        let scope = self.scope.as_str().as_bytes();
        let mut encoded = Vec::with_capacity(4 + scope.len() + self.key.len());
        encoded.extend_from_slice(&(scope.len() as u32).to_le_bytes());
        encoded.extend_from_slice(scope);
        encoded.extend_from_slice(&self.key);
        encoded
    }

    /// A stable 128-bit digest (XXH3) of scope and key, for tiers that want names of one length. It is not
    /// cryptographic: a tier that uses it stores the key beside the value and compares it.
    #[must_use]
    pub fn digest(&self) -> u128 {
        xxh3_128_with_seed(&self.encoded(), 0)
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.scope.as_str().hash(state);
        self.key[..].hash(state);
    }
}
