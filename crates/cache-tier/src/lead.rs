//! What the one caller does that looks up and loads a key for all who wait.

use crate::entry::TierEntry;
use crate::error::{Error, SharedError};
use crate::fetch::{Fetched, Found, Hit, Memory, Request, Source, from_memory};
use crate::flight::{Leader, Outcome};
use crate::key::Key;
use crate::label::{Label, Labels};
use crate::level::nanos;
use crate::log;
use crate::options::EntryOptions;
use crate::tiered::{Content, Counters, Inner, Resident};
use std::error::Error as StdError;
use std::future::Future;
use std::time::{Duration, Instant};

/// An old value that is served when the loader fails, unless it was invalidated meanwhile.
enum Fallback<V> {
    /// What memory has under the key then.
    Memory,
    Below(Hit<V>),
}

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    /// The work of the one caller that leads.
    pub(crate) async fn lead<F, Fut, E>(
        &self,
        leader: Leader<'_, Found<V>>,
        request: &Request<'_>,
        load: Option<F>,
        fallback: Option<V>,
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
        // What was just learnt may have invalidated it.
        let mut fallback = fallback
            .and_then(|_| self.standing(request))
            .map(|_| Fallback::Memory);
        if fallback.is_none()
            && let Some(hit) = self.look_below(request, heard).await
        {
            let soft = self.is_soft(&hit.entry);
            if !soft || load.is_none() {
                return Ok(Some(self.promote(leader, request, hit, soft).await));
            }
            fallback = Some(Fallback::Below(hit));
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
        // Not `true`: the mode may change before the tiers are asked.
        if self.is_off() {
            return false;
        }
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

    pub(crate) fn is_live(&self, entry: &TierEntry, options: &EntryOptions) -> bool {
        let in_time = entry.expires_at == 0 || self.clock.millis() < entry.expires_at;
        let signed = options.signature.is_none() || options.signature == entry.signature;
        // Born later than this clock reads, it comes from a clock that was lost: no mark can be compared to it.
        let dated = entry.birth <= self.epochs.generation();
        in_time && signed && dated && !self.epochs.is_stale(entry.birth, &entry.labels)
    }

    /// The value that memory still has, fresh or past its soft time.
    fn standing(&self, request: &Request<'_>) -> Option<V> {
        match self.in_memory(request.key, request.options, false) {
            Memory::Fresh(value) | Memory::Soft(value) => Some(value),
            Memory::Failed(_) | Memory::Nothing => None,
        }
    }

    /// Learns what others invalidated among the labels of stored entries that the lookup did not name. False when
    /// that is not known, of these or, as `heard` says, of those that it did name.
    pub(crate) async fn learn_more(&self, labels: &[Label], heard: bool) -> bool {
        heard && (self.shared.is_none() || labels.is_empty() || self.learn(labels).await)
    }

    /// Whether what a tier (`None`: the queue of those written behind) has may be served, when it was `heard` what
    /// others invalidated and when it was not. What the shared tier has never is then. What only this process has is,
    /// unless it keeps in step with the others and was cut off from them: then memory has been emptied for
    /// the same reason.
    pub(crate) fn is_trusted(&self, index: Option<usize>, heard: bool) -> bool {
        let private = index.is_none() || self.shared != index;
        heard || (private && !self.is_cut_off())
    }

    /// Asks what waits to be written, then the tiers in order.
    async fn look_below(&self, request: &Request<'_>, heard: bool) -> Option<Hit<V>> {
        if self.is_off() {
            return None;
        }
        if let Some(entry) = self
            .behind
            .as_ref()
            .and_then(|behind| behind.get(request.key))
        {
            // Not yet written: newer than anything below.
            let heard = self.learn_more(&request.unnamed(&entry), heard).await;
            return match self.is_trusted(None, heard) {
                true => self.decoded(0, entry, request.options),
                false => None,
            };
        }
        for index in 0..self.levels.len() {
            if let Some(hit) = self.ask(index, request, heard).await {
                let newer = match self.shared {
                    Some(shared) if self.is_in_doubt(request.key, &hit) => {
                        self.ask(shared, request, heard).await
                    }
                    _ => None,
                };
                return newer.or(Some(hit));
            }
        }
        None
    }

    /// Asks one tier.
    async fn ask(&self, index: usize, request: &Request<'_>, heard: bool) -> Option<Hit<V>> {
        if !self.is_trusted(Some(index), heard) {
            return None;
        }
        let level = &self.levels[index];
        let started = Instant::now();
        let hit = match level.get(request.key).await {
            None => None,
            Some(entry) => {
                let heard = self.learn_more(&request.unnamed(&entry), heard).await;
                self.admitted(index, entry, request, heard)
            }
        };
        level.looked_up(u64::from(hit.is_some()), u64::from(hit.is_none()), started);
        hit
    }

    /// True when another process may have overwritten what a private tier has.
    pub(crate) fn is_in_doubt(&self, key: &Key, hit: &Hit<V>) -> bool {
        self.shared.is_some_and(|shared| shared != hit.level)
            && self.doubt.covers(key.digest(), hit.entry.birth)
    }

    /// The entry of a tier, when it may be served.
    pub(crate) fn admitted(
        &self,
        index: usize,
        entry: TierEntry,
        request: &Request<'_>,
        heard: bool,
    ) -> Option<Hit<V>> {
        if !self.is_trusted(Some(index), heard) {
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
        let began = leader.began;
        let published = leader.publish(|| self.remember(request, value, &entry, began));
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
    fn remember(&self, request: &Request<'_>, value: V, entry: &TierEntry, began: u64) {
        let left = entry.expires_at.saturating_sub(self.clock.millis());
        let ttl = (entry.expires_at != 0).then(|| Duration::from_millis(left));
        let ttl = match (ttl, self.memory_ttl()) {
            (Some(left), Some(own)) => Some(left.min(own)),
            (left, own) => left.or(own),
        };
        let ttl = match (ttl, request.limit) {
            (Some(ttl), Some(limit)) => Some(ttl.min(limit)),
            (ttl, limit) => ttl.or(limit),
        };
        let ttl = self.limited(ttl, began);
        let resident = Resident {
            since: self.clock.millis(),
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
        let key = request.key.clone();
        if request.limit.is_some() {
            self.memory
                .insert_early(key, resident, &options, entry.birth);
        } else {
            self.memory
                .insert_born(key, resident, &options, entry.birth);
        }
    }

    async fn load<F, Fut, E>(
        &self,
        leader: Leader<'_, Found<V>>,
        request: &Request<'_>,
        load: F,
        fallback: Option<Fallback<V>>,
    ) -> Result<Found<V>, Error>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<V, E>>,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let started = Instant::now();
        let loaded = log::loading(request.key.scope(), load()).await;
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
        let began = leader.began;
        let published = leader.publish(|| {
            let (key, options) = (request.key, request.options);
            self.install(key, value, options, &request.labels, birth, (began, took));
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
        fallback: Option<Fallback<V>>,
    ) -> Result<Found<V>, Error> {
        // It may have been invalidated while the loader ran.
        let value = match fallback {
            Some(Fallback::Memory) => self.standing(request),
            Some(Fallback::Below(hit)) => (!leader.is_superseded()
                && self.is_live(&hit.entry, request.options))
            .then_some(hit.value),
            None => None,
        };
        if let Some(value) = value {
            let found = self.served_stale(value);
            leader.land(Outcome::Found(found.clone()));
            return Ok(found);
        }
        if let Some(ttl) = request.options.negative_ttl {
            let resident = Resident {
                since: self.clock.millis(),
                cost: 0,
                tags: 0,
                content: Content::Failed(error.clone()),
                soft_at: 0,
                signature: request.options.signature,
            };
            let options = EntryOptions {
                ttl: self.limited(Some(ttl), leader.began),
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
