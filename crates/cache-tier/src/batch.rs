//! Lookups and loads of many keys at once.

use crate::entry::TierEntry;
use crate::error::{Error, SharedError};
use crate::fetch::{Found, Hit, Memory, Request, from_memory};
use crate::flight::{Join, Leader, Outcome};
use crate::key::Key;
use crate::label::Label;
use crate::level::nanos;
use crate::log;
use crate::options::EntryOptions;
use crate::tiered::{Counters, Inner};
use std::error::Error as StdError;
use std::future::Future;
use std::time::Instant;

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    pub(crate) async fn serve_many<F, Fut, E>(
        &self,
        keys: &[Key],
        options: &EntryOptions,
        load: Option<F>,
    ) -> Result<Vec<Option<Found<V>>>, Error>
    where
        F: Fn(Vec<Key>) -> Fut,
        Fut: Future<Output = Result<Vec<Option<V>>, E>>,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let mut results: Vec<Option<Found<V>>> = keys.iter().map(|_| None).collect();
        let mut open: Vec<usize> = (0..keys.len()).collect();
        let mut first = true;
        while !open.is_empty() {
            let mut leads = Vec::new();
            let mut follows = Vec::new();
            for index in std::mem::take(&mut open) {
                match self.in_memory(&keys[index], options, first) {
                    Memory::Fresh(value) => results[index] = Some(from_memory(value, false)),
                    Memory::Soft(value) => results[index] = Some(self.served_stale(value)),
                    Memory::Failed(error) if load.is_some() => return Err(Error::Load(error)),
                    Memory::Failed(_) => {}
                    Memory::Nothing => {
                        let request = Request::new(self, &keys[index], options);
                        match self.join(&request) {
                            Join::Lead(leader) => leads.push(Lead {
                                index,
                                leader,
                                request,
                            }),
                            Join::Follow(follower) => follows.push((index, follower)),
                        }
                    }
                }
            }
            first = false;
            self.lead_many(leads, load.as_ref(), &mut results).await?;
            for (index, follower) in follows {
                Counters::add(&self.counters.joined, 1);
                match follower.await {
                    Outcome::Found(found) => results[index] = Some(found),
                    Outcome::Failed(error) if load.is_some() => return Err(Error::Load(error)),
                    Outcome::Missing if load.is_none() => {}
                    Outcome::Failed(_) => {}
                    Outcome::Missing | Outcome::Abandoned => open.push(index),
                }
            }
        }
        Ok(results)
    }

    async fn lead_many<F, Fut, E>(
        &self,
        leads: Vec<Lead<'_, V>>,
        load: Option<&F>,
        results: &mut [Option<Found<V>>],
    ) -> Result<(), Error>
    where
        F: Fn(Vec<Key>) -> Fut,
        Fut: Future<Output = Result<Vec<Option<V>>, E>>,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        if leads.is_empty() {
            return Ok(());
        }
        let labels: Vec<Label> = leads
            .iter()
            .flat_map(|lead| lead.request.labels.iter().copied())
            .collect();
        let heard = self.learn(&labels).await;
        for lead in &leads {
            lead.leader.flight.advance(self.epochs.generation());
        }
        let missing = self.look_below_many(leads, heard, results).await;
        let Some(load) = load else {
            missing
                .into_iter()
                .for_each(|lead| lead.leader.land(Outcome::Missing));
            return Ok(());
        };
        if missing.is_empty() {
            return Ok(());
        }
        let wanted: Vec<Key> = missing
            .iter()
            .map(|lead| lead.request.key.clone())
            .collect();
        let started = Instant::now();
        let scope = missing[0].request.key.scope();
        let loaded = log::loading(scope, load(wanted)).await;
        Counters::add(&self.counters.loads, 1);
        Counters::add(&self.counters.load_nanos, nanos(started));
        match loaded {
            Ok(values) => {
                let share = u32::try_from(missing.len().max(1)).unwrap_or(u32::MAX);
                let took = started.elapsed() / share;
                let values = values.into_iter().chain(std::iter::repeat_with(|| None));
                for (lead, value) in missing.into_iter().zip(values) {
                    match value {
                        Some(value) => {
                            results[lead.index] =
                                Some(self.publish(lead.leader, &lead.request, value, took).await);
                        }
                        None => lead.leader.land(Outcome::Missing),
                    }
                }
                Ok(())
            }
            Err(error) => {
                Counters::add(&self.counters.load_failures, 1);
                for lead in &missing {
                    self.tags.failed(self.tags.mask(&lead.request.labels));
                }
                let error = SharedError::from(error.into());
                missing
                    .into_iter()
                    .for_each(|lead| lead.leader.land(Outcome::Failed(error.clone())));
                Err(Error::Load(error))
            }
        }
    }

    /// Asks each tier once for all keys that are still open; gives back those that none has.
    async fn look_below_many<'a>(
        &self,
        leads: Vec<Lead<'a, V>>,
        heard: bool,
        results: &mut [Option<Found<V>>],
    ) -> Vec<Lead<'a, V>> {
        if self.is_off() {
            return leads;
        }
        let mut open = Vec::with_capacity(leads.len());
        let waiting = |lead: &Lead<'_, V>| self.behind.as_ref()?.get(lead.request.key);
        let waiting: Vec<_> = leads.iter().map(waiting).collect();
        let told = self.learn_unnamed(&leads, &waiting, heard).await;
        let trusted = self.is_trusted(None, told);
        for (lead, waiting) in leads.into_iter().zip(waiting) {
            let waiting = waiting.filter(|_| trusted);
            match waiting.and_then(|entry| self.decoded(0, entry, lead.request.options)) {
                Some(hit) => self.land_hit(lead, hit, results).await,
                None => open.push(lead),
            }
        }
        for (index, level) in self.levels.iter().enumerate() {
            if open.is_empty() {
                break;
            }
            if !self.is_trusted(Some(index), heard) {
                continue;
            }
            let keys: Vec<Key> = open.iter().map(|lead| lead.request.key.clone()).collect();
            let started = Instant::now();
            let entries = level.get_many(&keys).await;
            let told = self.learn_unnamed(&open, &entries, heard).await;
            let entries = entries.into_iter().chain(std::iter::repeat_with(|| None));
            let before = open.len();
            let mut still = Vec::with_capacity(before);
            let mut doubtful = Vec::new();
            for (lead, entry) in std::mem::take(&mut open).into_iter().zip(entries) {
                let admit = |entry| self.admitted(index, entry, &lead.request, told);
                let hit = entry.and_then(admit);
                match hit {
                    Some(hit) if self.is_in_doubt(lead.request.key, &hit) => {
                        doubtful.push((lead, hit));
                    }
                    Some(hit) => self.land_hit(lead, hit, results).await,
                    None => still.push(lead),
                }
            }
            self.land_doubtful(doubtful, heard, results).await;
            level.looked_up((before - still.len()) as u64, still.len() as u64, started);
            open = still;
        }
        open
    }

    /// Lands what the shared tier has in place of entries that others may have overwritten, and those where it has
    /// none.
    async fn land_doubtful(
        &self,
        doubtful: Vec<(Lead<'_, V>, Hit<V>)>,
        heard: bool,
        results: &mut [Option<Found<V>>],
    ) {
        let Some(shared) = self.shared.filter(|_| !doubtful.is_empty()) else {
            return;
        };
        let (leads, hits): (Vec<_>, Vec<_>) = doubtful.into_iter().unzip();
        let mut entries = Vec::new();
        let mut told = heard;
        let started = Instant::now();
        if self.is_trusted(Some(shared), heard) {
            let keys: Vec<Key> = leads.iter().map(|lead| lead.request.key.clone()).collect();
            entries = self.levels[shared].get_many(&keys).await;
            told = self.learn_unnamed(&leads, &entries, heard).await;
        }
        let (all, mut newer) = (leads.len() as u64, 0);
        let entries = entries.into_iter().chain(std::iter::repeat_with(|| None));
        for ((lead, hit), entry) in leads.into_iter().zip(hits).zip(entries) {
            let admit = |entry| self.admitted(shared, entry, &lead.request, told);
            let theirs = entry.and_then(admit);
            newer += u64::from(theirs.is_some());
            self.land_hit(lead, theirs.unwrap_or(hit), results).await;
        }
        self.levels[shared].looked_up(newer, all - newer, started);
    }

    /// Learns about the labels that stored entries have and the lookups did not name, once for all of them.
    async fn learn_unnamed(
        &self,
        leads: &[Lead<'_, V>],
        entries: &[Option<TierEntry>],
        heard: bool,
    ) -> bool {
        let each = leads.iter().zip(entries);
        let mut labels: Vec<Label> = each
            .filter_map(|(lead, entry)| Some(lead.request.unnamed(entry.as_ref()?)))
            .flatten()
            .collect();
        labels.sort_unstable();
        labels.dedup();
        self.learn_more(&labels, heard).await
    }

    async fn land_hit(&self, lead: Lead<'_, V>, hit: Hit<V>, results: &mut [Option<Found<V>>]) {
        let soft = self.is_soft(&hit.entry);
        let found = self.promote(lead.leader, &lead.request, hit, soft).await;
        results[lead.index] = Some(found);
    }
}

/// One key of a batch that this caller leads.
struct Lead<'a, V> {
    index: usize,
    leader: Leader<'a, Found<V>>,
    request: Request<'a>,
}
