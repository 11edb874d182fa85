//! What the one caller does that looks up and loads a key for all who wait.

use crate::entry::TierEntry;
use crate::error::{Error, SharedError};
use crate::fetch::{Fetched, Found, Hit, Memory, Request, Source, from_memory};
use crate::flight::{Leader, Outcome};
use crate::label::{Label, Labels};
use crate::level::nanos;
use crate::options::EntryOptions;
use crate::tiered::{Content, Counters, Inner, Resident};
use std::error::Error as StdError;
use std::future::Future;
use std::time::{Duration, Instant};

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    /// The work of the one caller that leads.
    pub(crate) async fn lead<F, Fut, E>(
        &self,
        leader: Leader<'_, Found<V>>,
        request: &Request<'_>,
        load: Option<F>,
        mut fallback: Option<V>,
    ) -> Result<Option<Found<V>>, Error>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<V, E>>,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        // Another flight may have landed between the lookup and this one.
        match self.in_memory(request.key, request.options, false) {
            Memory::Fresh(value) => {
                let found = from_memory(value, false);
                leader.land(Outcome::Found(found.clone()));
                return Ok(Some(found));
            }
            Memory::Failed(error) if load.is_some() => {
                leader.land(Outcome::Failed(error.clone()));
                return Err(Error::Load(error));
            }
            _ => {}
        }
        let heard = self.learn(&request.labels).await;
        leader.flight.advance(self.epochs.generation());
        if fallback.is_none()
            && let Some(hit) = self.look_below(request, heard).await
        {
            let soft = self.is_soft(&hit.entry);
            if !soft || load.is_none() {
                return Ok(Some(self.promote(leader, request, hit, soft).await));
            }
            fallback = Some(hit.value);
        }
        match load {
            None => {
                leader.land(Outcome::Missing);
                Ok(None)
            }
            Some(load) => self.load(leader, request, load, fallback).await.map(Some),
        }
    }

    /// Learns what other processes invalidated, when there are any. False when the shared tier did not tell:
    /// what it has cannot be judged then.
    pub(crate) async fn learn(&self, labels: &[Label]) -> bool {
        let Some(level) = self.shared.map(|index| &self.levels[index]) else {
            return true;
        };
        let Some(marks) = level.observe(labels).await else {
            return false;
        };
        self.epochs.learn(&marks.marks);
        self.epochs.advance(marks.latest);
        true
    }

    pub(crate) fn is_soft(&self, entry: &TierEntry) -> bool {
        entry.soft_at != 0 && self.clock.millis() >= entry.soft_at
    }

    fn is_live(&self, entry: &TierEntry, options: &EntryOptions) -> bool {
        let in_time = entry.expires_at == 0 || self.clock.millis() < entry.expires_at;
        let signed = options.signature.is_none() || options.signature == entry.signature;
        // Born later than this clock reads, it comes from a clock that was lost: no mark can be compared to it.
        let dated = entry.birth <= self.epochs.generation();
        in_time && signed && dated && !self.epochs.is_stale(entry.birth, &entry.labels)
    }

    /// Asks the tiers in order; the shared one only when it was `heard` what others invalidated.
    async fn look_below(&self, request: &Request<'_>, heard: bool) -> Option<Hit<V>> {
        if let Some(entry) = self
            .behind
            .as_ref()
            .and_then(|behind| behind.get(request.key))
        {
            // Not yet written: newer than anything below.
            return self.decoded(0, entry, request.options);
        }
        for (index, level) in self.levels.iter().enumerate() {
            if self.shared == Some(index) && !heard {
                continue;
            }
            let started = Instant::now();
            let hit = match level.get(request.key).await {
                None => None,
                Some(entry) => self.admitted(index, entry, request).await,
            };
            level.looked_up(u64::from(hit.is_some()), u64::from(hit.is_none()), started);
            if hit.is_some() {
                return hit;
            }
        }
        None
    }

    /// The entry of a tier, when it may be served.
    pub(crate) async fn admitted(
        &self,
        index: usize,
        entry: TierEntry,
        request: &Request<'_>,
    ) -> Option<Hit<V>> {
        let known = |label| request.labels.contains(label);
        if self.shared == Some(index)
            && !entry.labels.iter().all(known)
            && !self.learn(&entry.labels).await
        {
            return None;
        }
        let hit = self.decoded(index, entry, request.options);
        if hit.is_none() {
            self.levels[index].was_dead();
        }
        hit
    }

    pub(crate) fn decoded(
        &self,
        level: usize,
        entry: TierEntry,
        options: &EntryOptions,
    ) -> Option<Hit<V>> {
        if !self.is_live(&entry, options) {
            return None;
        }
        match self.codec.decode(entry.value.clone()) {
            Ok(value) => Some(Hit {
                level,
                entry,
                value,
            }),
            Err(_) => {
                Counters::add(&self.counters.undecodable, 1);
                None
            }
        }
    }

    /// Publishes what a tier had, in memory and in the tiers above it.
    pub(crate) async fn promote(
        &self,
        leader: Leader<'_, Found<V>>,
        request: &Request<'_>,
        hit: Hit<V>,
        stale: bool,
    ) -> Found<V> {
        let Hit {
            level,
            entry,
            value,
        } = hit;
        let found = Fetched {
            value: value.clone(),
            source: Source::Tier(level),
            stale,
        };
        self.tags.hit(self.tags.mask(&entry.labels), 0);
        let held = self.locks.acquire(request.key).await;
        let published = leader.publish(|| self.remember(request, value, &entry));
        let flight = leader.is_superseded();
        leader.land(Outcome::Found(found.clone()));
        if published && !flight && self.levels[level].settings.promote {
            self.write_levels(request.key, &entry, None, 0..level).await;
        } else if !published {
            Counters::add(&self.counters.superseded, 1);
        }
        drop(held);
        found
    }

    /// Puts a stored entry into memory for what is left of its time.
    fn remember(&self, request: &Request<'_>, value: V, entry: &TierEntry) {
        let left = entry.expires_at.saturating_sub(self.clock.millis());
        let ttl = (entry.expires_at != 0).then(|| Duration::from_millis(left));
        let ttl = match (ttl, self.memory_ttl) {
            (Some(left), Some(own)) => Some(left.min(own)),
            (left, own) => left.or(own),
        };
        let ttl = match (ttl, request.limit) {
            (Some(ttl), Some(limit)) => Some(ttl.min(limit)),
            (ttl, limit) => ttl.or(limit),
        };
        let ttl = self.limited(ttl);
        let resident = Resident {
            cost: 0,
            tags: self.tags.mask(&entry.labels),
            content: Content::Value(value),
            soft_at: entry.soft_at,
            signature: entry.signature,
        };
        let options = EntryOptions {
            ttl,
            labels: Labels::new(&entry.labels),
            ..EntryOptions::default()
        };
        self.memory
            .insert_born(request.key.clone(), resident, &options, entry.birth);
    }

    async fn load<F, Fut, E>(
        &self,
        leader: Leader<'_, Found<V>>,
        request: &Request<'_>,
        load: F,
        fallback: Option<V>,
    ) -> Result<Found<V>, Error>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<V, E>>,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let started = Instant::now();
        let loaded = load().await;
        Counters::add(&self.counters.loads, 1);
        Counters::add(&self.counters.load_nanos, nanos(started));
        match loaded {
            Ok(value) => {
                let took = started.elapsed();
                Ok(self.publish(leader, request, value, took).await)
            }
            Err(error) => {
                self.tags.failed(self.tags.mask(&request.labels));
                Counters::add(&self.counters.load_failures, 1);
                let error: SharedError = SharedError::from(error.into());
                self.fail(leader, request, error, fallback)
            }
        }
    }

    /// Publishes a loaded value in memory and, after waking those who wait, in every tier.
    pub(crate) async fn publish(
        &self,
        leader: Leader<'_, Found<V>>,
        request: &Request<'_>,
        value: V,
        took: Duration,
    ) -> Found<V> {
        self.tags.loaded(self.tags.mask(&request.labels), took);
        let found = Fetched {
            value: value.clone(),
            source: Source::Loaded,
            stale: false,
        };
        let birth = leader.flight.birth();
        let entry = self.entry(&value, request.labels.clone(), request.options, birth);
        let held = self.locks.acquire(request.key).await;
        let published = leader.publish(|| {
            let (key, options) = (request.key, request.options);
            self.install(key, value, options, &request.labels, birth, took);
        });
        let superseded = leader.is_superseded();
        leader.land(Outcome::Found(found.clone()));
        if !published || superseded {
            Counters::add(&self.counters.superseded, 1);
        } else if let Some(entry) = entry {
            self.store(request.key, entry, request.options.ttl).await;
        } else {
            self.remove_below(request.key).await;
        }
        drop(held);
        found
    }

    fn fail(
        &self,
        leader: Leader<'_, Found<V>>,
        request: &Request<'_>,
        error: SharedError,
        fallback: Option<V>,
    ) -> Result<Found<V>, Error> {
        if let Some(value) = fallback {
            let found = self.served_stale(value);
            leader.land(Outcome::Found(found.clone()));
            return Ok(found);
        }
        if let Some(ttl) = request.options.negative_ttl {
            let resident = Resident {
                cost: 0,
                tags: 0,
                content: Content::Failed(error.clone()),
                soft_at: 0,
                signature: request.options.signature,
            };
            let options = EntryOptions {
                ttl: Some(ttl),
                labels: Labels::new(&request.labels),
                ..EntryOptions::default()
            };
            let birth = leader.flight.birth();
            leader.publish(|| {
                self.memory
                    .insert_born(request.key.clone(), resident, &options, birth);
            });
        }
        leader.land(Outcome::Failed(error.clone()));
        Err(Error::Load(error))
    }
}
