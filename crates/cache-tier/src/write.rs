//! Writes and invalidations through all tiers.

use crate::entry::TierEntry;
use crate::error::Error;
use crate::key::Key;
use crate::label::{Effects, Label, Labels, Scope};
use crate::log;
use crate::options::EntryOptions;
use crate::stored::{Stored, TierFailure};
use crate::tiered::{Content, Counters, Inner, Resident, TieredCache};
use std::future::poll_fn;
use std::ops::Range;
use std::task::Poll;
use std::time::Duration;

impl<V: Clone + Send + Sync + 'static> TieredCache<V> {
    /// Puts a value into memory and the tiers (or the queue of those written behind). When this returns, no
    /// lookup finds an older value. A tier that fails is skipped and counted; [`set`](Self::set) tells which.
    ///
    /// # Errors
    /// [`Error::Codec`] when the value has no bytes: it is in memory then, and older bytes are removed from
    /// the tiers.
    pub async fn insert(&self, key: &Key, value: V, options: &EntryOptions) -> Result<(), Error> {
        self.set(key, value, options).await.map(drop)
    }

    /// Like [`insert`](Self::insert), and says which tiers failed to store the value.
    ///
    /// # Errors
    /// As [`insert`](Self::insert): a failing tier is no error.
    pub async fn set(&self, key: &Key, value: V, options: &EntryOptions) -> Result<Stored, Error> {
        let inner = &*self.inner;
        let labels = inner.labels(key, options);
        // Born before what others invalidated, the value would be stale on arrival.
        inner.learn(&labels).await;
        let birth = inner.epochs.generation();
        let encoded = inner.encode(&value, labels.clone(), options, birth);
        let held = inner.locks.acquire(key).await;
        inner.flights.supersede(key, || {
            let made = (inner.clock.millis(), Duration::ZERO);
            inner.install(key, value, options, &labels, birth, made)
        });
        let result = match encoded {
            Ok(entry) => Ok(inner.store(key, entry, options.ttl).await),
            Err(error) => {
                inner.remove_below(key).await;
                Err(error)
            }
        };
        // A lookup that began meanwhile may have read what was there before.
        inner.flights.supersede(key, || ());
        drop(held);
        result
    }

    /// Puts many values, one after the other: warms a cache from an iterator.
    ///
    /// # Errors
    /// The first value that has no bytes ends it; those before it are in.
    pub async fn warm(
        &self,
        entries: impl IntoIterator<Item = (Key, V)>,
        options: &EntryOptions,
    ) -> Result<u64, Error> {
        let mut count = 0;
        for (key, value) in entries {
            self.insert(&key, value, options).await?;
            count += 1;
        }
        Ok(count)
    }

    /// Fills memory from the tiers below, with at most so many entries: a cache that starts need not begin cold.
    /// Tiers that cannot tell their keys are left out (`DirTier` can: what was written or read last comes first).
    /// Returns how many came.
    pub async fn warm_from_tiers(&self, limit: usize) -> usize {
        let mut warmed = 0;
        for level in &self.inner.levels {
            let keys = level.keys(limit.saturating_sub(warmed)).await;
            for keys in keys.chunks(256) {
                warmed += self.get_many(keys).await.iter().flatten().count();
            }
            if warmed >= limit {
                break;
            }
        }
        warmed
    }

    /// Removes the entry from every tier. When this returns, no lookup finds the value, and no load that
    /// began before will publish one. True when memory had it.
    pub async fn invalidate(&self, key: &Key) -> bool {
        let inner = &*self.inner;
        // At once, so that a caller who gives up while a tier is slow has done what can be done.
        let before = inner
            .flights
            .supersede(key, || inner.memory.remove(key).is_some());
        let held = inner.locks.acquire(key).await;
        inner.remove_below(key).await;
        inner.outdate(key).await;
        let after = inner
            .flights
            .supersede(key, || inner.memory.remove(key).is_some());
        drop(held);
        before || after
    }

    /// The same as [`invalidate`](Self::invalidate).
    pub async fn remove(&self, key: &Key) -> bool {
        self.invalidate(key).await
    }

    /// Invalidates every entry under the tag, in every tier: O(1), whatever their number.
    pub async fn invalidate_tag(&self, tag: &str) {
        self.inner.invalidate_labels(&[Label::tag(tag)]).await;
    }

    /// Invalidates every entry in the scope and below it, in every tier: O(1).
    pub async fn invalidate_scope(&self, scope: impl Into<Scope>) {
        let scope = scope.into();
        self.inner
            .invalidate_labels(&[Label::scope(scope.as_str())])
            .await;
    }

    /// Invalidates every entry that reads what these effects write, in every tier: O(effects).
    pub async fn invalidate_writes(&self, effects: &Effects) {
        self.inner.invalidate_labels(effects.labels()).await;
    }

    /// Says what an event invalidates; `rule` is given the event's subject. Several rules for one event all
    /// apply.
    ///
    /// ```
    /// # futures_util::FutureExt::now_or_never(async {
    /// # use mainspring_cache_tier::*;
    /// # let cache = TieredCache::<String>::builder(BytesCodec).open().await?;
    /// cache.on_event("agent_updated", |id| Effects::new().scope(format!("agent:{id}:*")));
    /// assert!(cache.emit("agent_updated", "7").await);
    /// # Ok::<(), Error>(())
    /// # }).unwrap().unwrap();
    /// ```
    pub fn on_event(&self, event: &str, rule: impl Fn(&str) -> Effects + Send + Sync + 'static) {
        self.inner.events.add(event, rule);
    }

    /// Tells of an event about a subject; false when no rule knows the event.
    pub async fn emit(&self, event: &str, subject: &str) -> bool {
        let Some(effects) = self.inner.events.effects(event, subject) else {
            return false;
        };
        for effects in effects {
            self.invalidate_writes(&effects).await;
        }
        true
    }

    /// Removes everything from every tier. Entries written while it runs may stay.
    pub async fn clear(&self) {
        let inner = &*self.inner;
        // The root scope covers every entry, also one that a load under way is about to write.
        inner.invalidate_labels(&[Label::scope("")]).await;
        inner.flights.supersede_all(|| inner.memory.clear());
        if let Some(behind) = &inner.behind {
            behind.clear();
        }
        for level in &inner.levels {
            level.clear().await;
        }
    }

    /// Writes everything that waits, and has every tier make it durable.
    ///
    /// # Errors
    /// The first error of a tier's flush; the others are flushed all the same.
    pub async fn flush(&self) -> Result<(), Error> {
        let inner = &*self.inner;
        if let Some(behind) = &inner.behind {
            // Only what waits now: writers could otherwise keep this busy for ever.
            let (mut left, _) = behind.waiting();
            while left > 0 && inner.write_oldest().await {
                left -= 1;
            }
        }
        let mut first = Ok(());
        for level in &inner.levels {
            if let Err(error) = level.flush().await {
                first = first.and(Err(error));
            }
        }
        first
    }

    /// Writes behind for as long as the cache is open: spawn it on your runtime. Returns at once for a cache
    /// that writes through.
    pub async fn drive(&self) {
        let Some(behind) = &self.inner.behind else {
            return;
        };
        loop {
            poll_fn(|context| {
                if behind.watch(context.waker()) {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
            let wrote = self.inner.write_oldest().await;
            if !wrote && behind.is_closed() {
                return;
            }
        }
    }

    /// Ends writing behind and flushes. The cache stays usable and writes through from now on.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub async fn close(&self) -> Result<(), Error> {
        if let Some(behind) = &self.inner.behind {
            behind.close();
        }
        self.flush().await
    }
}

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    /// Puts a value into memory, that was begun to be made at a time, in milliseconds, and cost another.
    pub(crate) fn install(
        &self,
        key: &Key,
        value: V,
        options: &EntryOptions,
        labels: &[Label],
        birth: u64,
        (began, cost): (u64, Duration),
    ) {
        let cost = options.cost.unwrap_or(cost);
        let resident = Resident {
            since: self.clock.millis(),
            cost: u32::try_from(cost.as_micros()).unwrap_or(u32::MAX),
            tags: self.tags.mask(labels),
            content: Content::Value(value),
            soft_at: options.soft_ttl.map_or(0, |soft| self.after(soft)),
            signature: options.signature,
        };
        let options = EntryOptions {
            ttl: self.limited(options.ttl, began),
            labels: Labels::new(labels),
            cost: Some(cost),
            ..EntryOptions::default()
        };
        self.memory
            .insert_born(key.clone(), resident, &options, birth);
    }

    fn encode(
        &self,
        value: &V,
        labels: Vec<Label>,
        options: &EntryOptions,
        birth: u64,
    ) -> Result<TierEntry, Error> {
        Ok(TierEntry {
            value: self.codec.encode(value)?,
            birth,
            expires_at: 0,
            soft_at: options.soft_ttl.map_or(0, |soft| self.after(soft)),
            signature: options.signature,
            labels,
        })
    }

    /// The bytes of a loaded value; `None` when there are no tiers or it has none.
    pub(crate) fn entry(
        &self,
        value: &V,
        labels: Vec<Label>,
        options: &EntryOptions,
        birth: u64,
    ) -> Option<TierEntry> {
        if self.levels.is_empty() {
            return None;
        }
        match self.encode(value, labels, options, birth) {
            Ok(entry) => Some(entry),
            Err(_) => {
                Counters::add(&self.counters.undecodable, 1);
                None
            }
        }
    }

    /// Writes an entry to every tier, now or later. The caller holds the key's lock.
    pub(crate) async fn store(
        &self,
        key: &Key,
        mut entry: TierEntry,
        ttl: Option<Duration>,
    ) -> Stored {
        let mut stored = Stored::default();
        if self.is_off() {
            // What is there is older than what is not written.
            self.remove_below(key).await;
            return stored;
        }
        if let Some(behind) = &self.behind {
            entry.expires_at = self.last_expiry(ttl);
            stored.waits = behind.push(key, entry.clone(), ttl);
        }
        if !stored.waits {
            let all = 0..self.levels.len();
            stored.failed = self.write_levels(key, &entry, ttl, all).await;
        }
        stored
    }

    /// When an entry written now will have expired in every tier; zero for never.
    fn last_expiry(&self, ttl: Option<Duration>) -> u64 {
        let mut last = 0;
        for level in &self.levels {
            match self.expiry_in(level, ttl) {
                0 => return 0,
                at => last = last.max(at),
            }
        }
        last
    }

    /// Writes the entry that has waited longest; false when none waits.
    async fn write_oldest(&self) -> bool {
        let Some(key) = self.behind.as_ref().and_then(|behind| behind.oldest()) else {
            return false;
        };
        let held = self.locks.acquire(&key).await;
        self.write_waiting(&key).await;
        drop(held);
        true
    }

    async fn write_waiting(&self, key: &Key) {
        let Some(behind) = &self.behind else { return };
        let Some(waiting) = behind.peek(key) else {
            return;
        };
        self.write_levels(key, &waiting.entry, waiting.ttl, 0..self.levels.len())
            .await;
        behind.done(key, waiting.ticket);
    }

    /// Writes an entry to some of the tiers, and says which of them failed. The caller holds the key's lock.
    pub(crate) async fn write_levels(
        &self,
        key: &Key,
        entry: &TierEntry,
        ttl: Option<Duration>,
        levels: Range<usize>,
    ) -> Vec<TierFailure> {
        let mut failed = Vec::new();
        let mut entry = entry.clone();
        let limit = entry.expires_at;
        for (tier, level) in self.levels[..levels.end]
            .iter()
            .enumerate()
            .skip(levels.start)
        {
            let own = self.expiry_in(level, ttl);
            entry.expires_at = [limit, own]
                .into_iter()
                .filter(|at| *at != 0)
                .min()
                .unwrap_or(0);
            if let Err(error) = level.put(key, &entry).await {
                failed.push(TierFailure {
                    tier,
                    name: level.name().into(),
                    error,
                });
            }
        }
        failed
    }

    /// Removes an entry from every tier. The caller holds the key's lock.
    pub(crate) async fn remove_below(&self, key: &Key) {
        if let Some(behind) = &self.behind {
            behind.remove(key);
        }
        for level in &self.levels {
            level.remove(key).await;
        }
    }

    /// Makes what other processes are loading for the key stale, so that it is not served from the tier that
    /// they share.
    async fn outdate(&self, key: &Key) {
        let Some(level) = self.shared.map(|index| &self.levels[index]) else {
            return;
        };
        let label = Label::of_key(key);
        let proposed = self.epochs.generation().saturating_add(1);
        if let Some(epoch) = level.mark(&[label], proposed).await {
            self.epochs.learn(&[(label, epoch)]);
        }
    }

    async fn invalidate_labels(&self, labels: &[Label]) {
        if labels.is_empty() {
            return;
        }
        log::invalidated(labels.len());
        let ordered = self.order(labels).await;
        let epoch = match ordered {
            Some(epoch) => {
                let marks: Vec<_> = labels.iter().map(|label| (*label, epoch)).collect();
                self.epochs.learn(&marks);
                epoch
            }
            None => self.epochs.invalidate(labels),
        };
        for (index, level) in self.levels.iter().enumerate() {
            if self.shared != Some(index) {
                level.mark(labels, epoch).await;
            }
        }
    }

    /// The time that the shared tier, which orders the invalidations of all processes, gives to this one.
    async fn order(&self, labels: &[Label]) -> Option<u64> {
        self.levels[self.shared?]
            .mark(labels, self.epochs.generation().saturating_add(1))
            .await
    }
}
