//! Lookups and loads through all tiers.

use crate::entry::TierEntry;
use crate::error::{Error, SharedError};
use crate::flight::{Join, Outcome, Wanted};
use crate::key::Key;
use crate::label::Label;
use crate::level::nanos;
use crate::options::EntryOptions;
use crate::prefetch::{self, Prediction, Sequences};
use crate::sync::Ordering;
use crate::tiered::{Content, Counters, Inner, Resident, TieredCache};
use std::error::Error as StdError;
use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::{Duration, Instant};

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// The memory tier.
    Memory,
    /// A tier below memory: its number in the order in which they were added, from zero.
    Tier(usize),
    /// The loader.
    Loaded,
}

/// A value with where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fetched<V> {
    /// The value.
    pub value: V,
    /// Where it came from; for a caller that waited, where the other one found it.
    pub source: Source,
    /// True when the value is past its soft time to live.
    pub stale: bool,
}

impl<V> Fetched<V> {
    /// True when the loader was run for it.
    pub fn is_fresh(&self) -> bool {
        self.source == Source::Loaded
    }
}

pub(crate) type Found<V> = Fetched<V>;

/// What memory says to a lookup.
pub(crate) enum Memory<V> {
    Fresh(V),
    /// Past its soft time to live.
    Soft(V),
    Failed(SharedError),
    Nothing,
}

/// A tier's live entry, decoded.
pub(crate) struct Hit<V> {
    pub(crate) level: usize,
    pub(crate) entry: TierEntry,
    pub(crate) value: V,
}

/// What a caller wants, with the labels worked out.
pub(crate) struct Request<'a> {
    pub(crate) key: &'a Key,
    pub(crate) options: &'a EntryOptions,
    pub(crate) labels: Vec<Label>,
    /// The longest that what a tier has may live in memory, on probation, when it is prefetched.
    pub(crate) limit: Option<Duration>,
}

impl<'a> Request<'a> {
    pub(crate) fn new<V>(inner: &Inner<V>, key: &'a Key, options: &'a EntryOptions) -> Self {
        Self {
            key,
            options,
            labels: inner.labels(key, options),
            limit: None,
        }
    }

    /// The labels of a stored entry that the caller did not name.
    pub(crate) fn unnamed(&self, entry: &TierEntry) -> Vec<Label> {
        let named = |label: &&Label| !self.labels.contains(label);
        entry.labels.iter().filter(named).copied().collect()
    }
}

impl<V: Clone + Send + Sync + 'static> TieredCache<V> {
    /// The value, from whichever tier has it. A value past its soft time to live is served.
    pub async fn get(&self, key: &Key) -> Option<V> {
        self.fetch(key).await.map(|fetched| fetched.value)
    }

    /// Like [`get`](Self::get), telling where the value came from.
    pub async fn fetch(&self, key: &Key) -> Option<Fetched<V>> {
        self.fetch_with(key, &EntryOptions::default()).await
    }

    /// Like [`fetch`](Self::fetch); with a signature in the options, a value of another signature is a miss.
    pub async fn fetch_with(&self, key: &Key, options: &EntryOptions) -> Option<Fetched<V>> {
        type Never<V> = fn() -> std::future::Ready<Result<V, Error>>;
        let nobody: Option<Never<V>> = None;
        self.inner.serve(key, options, nobody).await.ok().flatten()
    }

    /// The value, from whichever tier has it, else from `load`, which is then run once however many callers
    /// ask at the same time.
    ///
    /// Dropping the returned future at any point leaves nothing behind: when it was the one that loads,
    /// another caller that waits runs its own `load`. So does a panic in `load`. The value goes into memory
    /// and every tier, unless the key or one of its labels was invalidated since the load began; it is
    /// returned in any case.
    ///
    /// # Errors
    /// [`Error::Load`] when the loader failed: every caller that waited gets the same error. With
    /// [`EntryOptions::negative_ttl`] later callers get it too, for that time. A failing tier is no error.
    pub async fn get_or_try_load<F, Fut, E>(
        &self,
        key: &Key,
        options: &EntryOptions,
        load: F,
    ) -> Result<Fetched<V>, Error>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<V, E>>,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        match self.inner.serve(key, options, Some(load)).await? {
            Some(fetched) => Ok(fetched),
            None => Err(Error::Unavailable {
                what: "a loader ended without a result",
            }),
        }
    }

    /// Brings entries whose lookup is predicted from the tiers below into memory, on probation there and for five
    /// minutes at most, for as long as it is polled: spawn it on your runtime. What is not asked for within 30 s of the
    /// predicted time is dropped at a later lookup. Returns at once for a cache opened without
    /// [`TieredBuilder::prefetch`](crate::TieredBuilder::prefetch).
    pub async fn prefetch(&self) {
        let Some(sequences) = &self.inner.sequences else {
            return;
        };
        loop {
            let next = poll_fn(|context| match sequences.next(context.waker()) {
                Some(prediction) => Poll::Ready(prediction),
                None => Poll::Pending,
            });
            let prediction = next.await;
            self.inner.fetch_early(sequences, prediction).await;
        }
    }

    /// The values, in the order of the keys: one call to each tier for all that the tiers above it lack.
    pub async fn get_many(&self, keys: &[Key]) -> Vec<Option<V>> {
        type Never<V> = fn(Vec<Key>) -> std::future::Ready<Result<Vec<Option<V>>, Error>>;
        let nobody: Option<Never<V>> = None;
        let found = self
            .inner
            .serve_many(keys, &EntryOptions::default(), nobody)
            .await;
        let found = found.unwrap_or_else(|_| keys.iter().map(|_| None).collect());
        found
            .into_iter()
            .map(|fetched| fetched.map(|fetched| fetched.value))
            .collect()
    }

    /// Like [`get_many`](Self::get_many), with a loader for the keys that no tier has. It is given those
    /// keys and answers in their order, `None` for what does not exist. Keys that other callers are loading
    /// are waited for; when one of those gives up, the loader is called again for its keys. A value past its
    /// soft time is served and not loaded anew.
    ///
    /// # Errors
    /// [`Error::Load`] when a loader failed.
    pub async fn get_many_or_try_load<F, Fut, E>(
        &self,
        keys: &[Key],
        options: &EntryOptions,
        load: F,
    ) -> Result<Vec<Option<Fetched<V>>>, Error>
    where
        F: Fn(Vec<Key>) -> Fut,
        Fut: Future<Output = Result<Vec<Option<V>>, E>>,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        self.inner.serve_many(keys, options, Some(load)).await
    }
}

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    async fn serve<F, Fut, E>(
        &self,
        key: &Key,
        options: &EntryOptions,
        mut load: Option<F>,
    ) -> Result<Option<Found<V>>, Error>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<V, E>>,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let mut fallback = None;
        match self.in_memory(key, options, true) {
            Memory::Fresh(value) => return Ok(Some(from_memory(value, false))),
            Memory::Failed(error) if load.is_some() => return Err(Error::Load(error)),
            Memory::Failed(_) => return Ok(None),
            Memory::Soft(value) if load.is_none() => return Ok(Some(self.served_stale(value))),
            Memory::Soft(value) => fallback = Some(value),
            Memory::Nothing => {}
        }
        let request = Request::new(self, key, options);
        loop {
            match self.join(&request) {
                Join::Lead(leader) => {
                    return self.lead(leader, &request, load.take(), fallback).await;
                }
                // Somebody is loading it already: the old value is good enough for this caller.
                Join::Follow(_) if fallback.is_some() => {
                    return Ok(fallback.map(|value| self.served_stale(value)));
                }
                Join::Follow(follower) => {
                    Counters::add(&self.counters.joined, 1);
                    match follower.await {
                        Outcome::Found(found) => return Ok(Some(found)),
                        Outcome::Failed(error) => return Err(Error::Load(error)),
                        Outcome::Missing if load.is_none() => return Ok(None),
                        Outcome::Missing | Outcome::Abandoned => {}
                    }
                }
            }
        }
    }

    pub(crate) fn join(&self, request: &Request<'_>) -> Join<'_, Found<V>> {
        let wanted = Wanted {
            key: request.key,
            labels: &request.labels,
            signature: request.options.signature,
            birth: self.epochs.generation(),
            now: self.clock.millis(),
        };
        self.flights
            .join(&wanted, |birth, labels| self.epochs.is_stale(birth, labels))
    }

    pub(crate) fn in_memory(&self, key: &Key, options: &EntryOptions, counted: bool) -> Memory<V> {
        let resident = if counted {
            self.follow(key);
            self.timed(key)
        } else {
            self.memory.peek(key)
        };
        let Some(resident) = resident else {
            return Memory::Nothing;
        };
        if options.signature.is_some() && options.signature != resident.signature {
            return Memory::Nothing;
        }
        if counted && matches!(resident.content, Content::Value(_)) {
            let saved = u64::from(resident.cost);
            if saved > 0 {
                Counters::add(&self.counters.saved_micros, saved);
            }
            self.tags.hit(resident.tags, saved);
        }
        let soft = resident.soft_at != 0 && self.clock.millis() >= resident.soft_at;
        match resident.content {
            Content::Failed(error) => Memory::Failed(error),
            Content::Value(value) if soft => Memory::Soft(value),
            Content::Value(value) => Memory::Fresh(value),
        }
    }

    /// Asks memory, and every 64th time how long that takes.
    fn timed(&self, key: &Key) -> Option<Resident<V>> {
        let lookups = self.counters.lookups.fetch_add(1, Ordering::Relaxed);
        if !lookups.is_multiple_of(64) {
            return self.memory.get(key);
        }
        let started = Instant::now();
        let found = self.memory.get(key);
        Counters::add(&self.counters.timed_nanos, nanos(started));
        Counters::add(&self.counters.timed, 1);
        found
    }

    /// Where sequences are learnt: takes note of a lookup, and drops what was prefetched in vain.
    fn follow(&self, key: &Key) {
        if let Some(sequences) = &self.sequences {
            for vain in sequences.looked_up(key, self.clock.millis()) {
                self.memory.remove(&vain);
            }
        }
    }

    /// Brings a predicted entry from the tiers into memory, unless it is there or on its way.
    async fn fetch_early(&self, sequences: &Sequences, prediction: Prediction) {
        type Never<V> = fn() -> std::future::Ready<Result<V, Error>>;
        if self.memory.contains(&prediction.key) {
            return;
        }
        let options = EntryOptions::default();
        let mut request = Request::new(self, &prediction.key, &options);
        request.limit = Some(prefetch::LIVES);
        let Join::Lead(leader) = self.join(&request) else {
            return;
        };
        let nobody: Option<Never<V>> = None;
        let found = self.lead(leader, &request, nobody, None).await;
        if matches!(found, Ok(Some(_))) {
            sequences.fetched(prediction);
        }
    }

    pub(crate) fn served_stale(&self, value: V) -> Found<V> {
        Counters::add(&self.counters.stale_served, 1);
        from_memory(value, true)
    }
}

pub(crate) fn from_memory<V>(value: V, stale: bool) -> Found<V> {
    Fetched {
        value,
        source: Source::Memory,
        stale,
    }
}
