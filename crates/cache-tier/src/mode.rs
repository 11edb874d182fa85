//! How eagerly a cache keeps things.

use crate::cache::{Cache, Inner};
use crate::sync::Ordering;
use std::hash::{BuildHasher, Hash};

/// How eagerly a cache keeps things. It can be changed at any time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// Keeps nothing: every lookup misses, and what is loaded or inserted is handed on and dropped. Invalidations go
    /// on to reach the tiers, so that nothing old is served once the mode is another.
    Off,
    /// As the settings say.
    #[default]
    Normal,
    /// What comes from now on lives four times as long, in memory and in the tiers, unless it brings a time to live of its
    /// own.
    Aggressive,
}

impl Mode {
    const ALL: [Self; 3] = [Self::Off, Self::Normal, Self::Aggressive];

    /// By how much times to live are multiplied.
    pub(crate) fn stretch(self) -> u32 {
        match self {
            Self::Off | Self::Normal => 1,
            Self::Aggressive => 4,
        }
    }
}

impl<K, V, S> Inner<K, V, S> {
    #[inline]
    pub(crate) fn mode(&self) -> Mode {
        let number = usize::from(self.mode.load(Ordering::Relaxed));
        Mode::ALL.get(number).copied().unwrap_or_default()
    }
}

impl<K: Hash + Eq, V: Clone, S: BuildHasher> Cache<K, V, S> {
    /// How eagerly the cache keeps things now.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.inner.mode()
    }

    /// Changes how eagerly the cache keeps things. When this returns with [`Mode::Off`], the cache is empty and
    /// stays so until the mode is another; the listener hears of every entry that goes and of those that do not come
    /// in, as [`Removed`](crate::EvictionCause::Removed). Lookups are no slower for it in any mode. O(shards), O(entries) to switch
    /// off.
    pub fn set_mode(&self, mode: Mode) {
        self.inner.mode.store(mode as u8, Ordering::Relaxed);
        self.close_shards();
    }

    /// Switches the cache off, or on again as its settings say: [`set_mode`](Self::set_mode).
    pub fn set_enabled(&self, enabled: bool) {
        self.set_mode(if enabled { Mode::Normal } else { Mode::Off });
    }
}
