//! Getting a value or making it, in the synchronous cache.

use crate::arrival::Leavers;
use crate::cache::{Cache, nanos};
use crate::options::EntryOptions;
use crate::stats::EvictionCause;
use crate::sync::{Arc, Ordering};
use crate::turns::{Role, Turn};
use std::hash::{BuildHasher, Hash};
use std::time::{Duration, Instant};

impl<K: Hash + Eq, V: Clone, S: BuildHasher> Cache<K, V, S> {
    /// The value; on a miss `init` makes it, once however many threads ask: the others wait. When `init`
    /// panics, another one's `init` is tried. A value that was removed, overwritten or invalidated while
    /// `init` ran is returned but not kept; one too heavy to keep is made by each caller. Loads nested the other
    /// way round in two threads (a key inside another's `init`) wait for each other for ever.
    pub fn get_or_insert_with(&self, key: K, init: impl FnOnce() -> V) -> V {
        match self.get_or_try_insert_with(key, || Ok::<V, std::convert::Infallible>(init())) {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }

    /// Like [`get_or_insert_with`](Self::get_or_insert_with), for an `init` that can fail.
    ///
    /// # Errors
    /// The error of this caller's own `init`; callers that wait try theirs next.
    pub fn get_or_try_insert_with<E>(
        &self,
        key: K,
        init: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, E> {
        self.get_or_try_insert(key, &EntryOptions::default(), init)
    }

    /// Like [`get_or_try_insert_with`](Self::get_or_try_insert_with), with options for the new entry.
    ///
    /// # Errors
    /// The error of this caller's own `init`; callers that wait try theirs next.
    pub fn get_or_try_insert<E>(
        &self,
        key: K,
        options: &EntryOptions,
        init: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, E> {
        if let Some(value) = self.get(&key) {
            return Ok(value);
        }
        let hash = self.hash(&key);
        loop {
            let role = self.part(hash).shard.write().turns.join(hash);
            match role {
                Role::Nested => return init(),
                Role::Wait(turn) => turn.wait(),
                Role::Lead(turn) => {
                    let lead = Lead {
                        cache: self,
                        hash,
                        turn,
                    };
                    // Another turn may have ended between the lookup and this one.
                    return match self.peek(&key) {
                        Some(value) => Ok(value),
                        None => lead.load(key, options, init),
                    };
                }
            }
            if let Some(value) = self.peek(&key) {
                return Ok(value);
            }
        }
    }
}

/// A thread's turn; whatever way it ends, those who wait are woken.
struct Lead<'a, K: Hash + Eq, V: Clone, S: BuildHasher> {
    cache: &'a Cache<K, V, S>,
    hash: u64,
    turn: Arc<Turn>,
}

impl<K: Hash + Eq, V: Clone, S: BuildHasher> Lead<'_, K, V, S> {
    fn load<E>(
        self,
        key: K,
        options: &EntryOptions,
        init: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, E> {
        let inner = &self.cache.inner;
        let birth = inner.epochs.generation();
        let started = Instant::now();
        // Counted as failed until it is known to have succeeded: a panic leaves it so.
        inner.load_failures.fetch_add(1, Ordering::Relaxed);
        let loaded = init();
        let took = started.elapsed();
        inner.load_nanos.fetch_add(nanos(took), Ordering::Relaxed);
        inner.loads.fetch_add(1, Ordering::Relaxed);
        self.tell(options, loaded.is_ok().then_some(took));
        let value = loaded?;
        inner.load_failures.fetch_sub(1, Ordering::Relaxed);
        self.publish(key, value.clone(), options, birth, nanos(took));
        Ok(value)
    }

    /// Counts the miss, and the load when it succeeded, for the tags that are counted.
    fn tell(&self, options: &EntryOptions, took: Option<Duration>) {
        let told = &self.cache.inner.settings.told;
        let (Some(tags), Some(labels)) = (told, &options.labels) else {
            return;
        };
        let mask = tags.mask(labels.as_slice());
        match took {
            Some(took) => tags.loaded(mask, took),
            None => tags.failed(mask),
        }
    }

    fn publish(&self, key: K, value: V, options: &EntryOptions, birth: u64, took: u64) {
        let rules = self.cache.rules();
        let mut terms = self.cache.terms(&key, &value, options, birth, &rules);
        if options.cost.is_none() {
            terms.cost = took;
        }
        let mut leavers = Leavers::new();
        let mut shard = self.cache.part(self.hash).shard.write();
        if !self.turn.is_superseded() {
            let hash = self.hash as u32;
            let old = shard.insert(hash, key, value, &mut terms, &rules, &mut leavers);
            drop(shard);
            if let Some((key, old)) = old {
                leavers.push(key, old, EvictionCause::Replaced);
            }
        } else {
            drop(shard);
        }
        self.cache.see_off(leavers);
    }
}

impl<K: Hash + Eq, V: Clone, S: BuildHasher> Drop for Lead<'_, K, V, S> {
    fn drop(&mut self) {
        self.cache
            .part(self.hash)
            .shard
            .write()
            .turns
            .leave(&self.turn);
        self.turn.end();
    }
}
