//! A tier as the cache uses it: counted, and never trusted with what it may have missed.

use crate::change::Tell;
use crate::debts::Debts;
use crate::entry::TierEntry;
use crate::epochs::Epochs;
use crate::error::Error;
use crate::key::Key;
use crate::label::Label;
use crate::log;
use crate::sync::{Arc, AtomicBool, AtomicU64, Ordering};
use crate::tier::{Marks, Tier, TierStats};
use crate::tiered_builder::TierSettings;
use std::time::{Duration, Instant};

/// A tier with its settings and counters.
///
/// A tier that fails is skipped. When what failed was a removal, an invalidation or a write over something
/// older, the tier holds what must not be served: that is its debt, and before it is used again it is emptied.
pub(crate) struct Level {
    tier: Arc<dyn Tier>,
    pub(crate) settings: TierSettings,
    epochs: Arc<Epochs>,
    /// Changes that the tier missed since it was last emptied.
    debt: AtomicU64,
    /// How much of it is settled; both only grow, so that a late task cannot settle what came after it.
    settled: AtomicU64,
    /// Where a debt is noted for the next process.
    debts: Option<Owing>,
    /// True while the debt is noted, in the folder and in the tier.
    noted: AtomicBool,
    hits: AtomicU64,
    misses: AtomicU64,
    dead: AtomicU64,
    puts: AtomicU64,
    failures: AtomicU64,
    nanos: AtomicU64,
}

/// Where a tier's debts are noted, and as whose.
pub(crate) struct Owing {
    pub(crate) debts: Arc<Debts>,
    pub(crate) name: String,
}

impl Level {
    pub(crate) fn new(
        tier: Arc<dyn Tier>,
        settings: TierSettings,
        epochs: Arc<Epochs>,
        debts: Option<Owing>,
    ) -> Self {
        let zero = || AtomicU64::new(0);
        let owed = debts
            .as_ref()
            .is_some_and(|owing| owing.debts.is_owed(&owing.name));
        Self {
            tier,
            settings,
            epochs,
            debt: AtomicU64::new(u64::from(owed)),
            settled: zero(),
            debts,
            noted: AtomicBool::new(false),
            hits: zero(),
            misses: zero(),
            dead: zero(),
            puts: zero(),
            failures: zero(),
            nanos: zero(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        self.tier.name()
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.tier.is_shared()
    }

    /// The tier's answer, `None` where it failed.
    fn heard<T>(&self, answer: Result<T, Error>) -> Option<T> {
        if let Err(error) = &answer {
            self.failures.fetch_add(1, Ordering::Relaxed);
            log::failed(self.tier.name(), error);
        }
        answer.ok()
    }

    /// Notes that the tier missed something, here and where the next process will see it.
    async fn owe(&self) {
        self.debt.fetch_add(1, Ordering::AcqRel);
        self.note_debt().await;
    }

    /// Notes the debt for the next process; what fails is tried again at every later call until the debt is paid.
    async fn note_debt(&self) {
        if self.noted.load(Ordering::Acquire) {
            return;
        }
        let owing = self.debts.as_ref();
        let here = owing.is_none_or(|owing| self.heard(owing.debts.owe(&owing.name)).is_some());
        let there = self.heard(self.tier.distrust().await).is_some();
        if here && there {
            self.noted.store(true, Ordering::Release);
        }
    }

    /// Empties a tier that missed something; false when that fails, and the tier must not be used.
    async fn settle(&self) -> bool {
        let debt = self.debt.load(Ordering::Acquire);
        if self.settled.load(Ordering::Acquire) >= debt {
            return true;
        }
        if self.heard(self.tier.clear().await).is_none() || !self.rejoin().await {
            self.note_debt().await;
            return false;
        }
        if let Some(owing) = &self.debts
            && self.heard(owing.debts.pay(&owing.name)).is_none()
        {
            return false;
        }
        self.noted.store(false, Ordering::Release);
        // What was missed meanwhile is still owed; another task may have settled as much already.
        self.settled.fetch_max(debt, Ordering::AcqRel);
        let paid = self.debt.load(Ordering::Acquire) <= self.settled.load(Ordering::Acquire);
        if !paid {
            self.note_debt().await;
        }
        paid
    }

    /// Marks everything as invalidated in a tier that was emptied, so that a load which began before, here or in
    /// another process, brings nothing into it that what was missed made stale. In a shared tier that also brings
    /// the clocks together again: what other processes invalidated in between is not known, so everything that
    /// memory has is stale.
    async fn rejoin(&self) -> bool {
        let root = Label::scope("");
        if !self.is_shared() {
            let epoch = self.epochs.generation();
            return self.heard(self.tier.mark(&[root], epoch).await).is_some();
        }
        let epoch = self.epochs.invalidate(&[root]);
        match self.heard(self.tier.mark(&[root], epoch).await) {
            Some(latest) => {
                self.epochs.learn(&[(root, latest)]);
                true
            }
            None => false,
        }
    }

    pub(crate) async fn get(&self, key: &Key) -> Option<TierEntry> {
        if !self.settle().await {
            return None;
        }
        self.heard(self.tier.get(key).await).flatten()
    }

    /// What the tier has; `None` when it does not answer.
    pub(crate) async fn look(&self, key: &Key) -> Option<Option<TierEntry>> {
        if !self.settle().await {
            return None;
        }
        match self.tier.get(key).await {
            Err(Error::Damaged { .. }) => Some(None),
            answer => self.heard(answer),
        }
    }

    /// As many answers as keys, or none at all.
    pub(crate) async fn get_many(&self, keys: &[Key]) -> Vec<Option<TierEntry>> {
        if !self.settle().await {
            return Vec::new();
        }
        self.heard(self.tier.get_many(keys).await)
            .unwrap_or_default()
    }

    pub(crate) async fn put(&self, key: &Key, entry: &TierEntry) -> Result<(), Error> {
        if !self.settle().await {
            return Err(Error::Unavailable {
                what: "it missed a change, and could not be emptied yet",
            });
        }
        let put = self.tier.put(key, entry).await;
        if self.heard(put.clone()).is_some() {
            self.puts.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        // What was there before is older than what could not be written.
        self.remove(key).await;
        if self.is_shared() {
            // The write may yet arrive, after the removal: make it stale wherever it is.
            let label = Label::of_key(key);
            if let Some(epoch) = self
                .mark(&[label], self.epochs.generation().saturating_add(1))
                .await
            {
                self.epochs.learn(&[(label, epoch)]);
            }
        }
        put
    }

    pub(crate) async fn remove(&self, key: &Key) {
        if self.heard(self.tier.remove(key).await).is_none() {
            self.owe().await;
        }
    }

    /// Notes an invalidation; `None` when the tier could not.
    pub(crate) async fn mark(&self, labels: &[Label], epoch: u64) -> Option<u64> {
        let noted = self.heard(self.tier.mark(labels, epoch).await);
        if noted.is_none() {
            // Owed first: should this future be dropped while the tier is emptied, it is emptied later.
            self.owe().await;
            self.settle().await;
        }
        noted
    }

    /// What other processes invalidated.
    pub(crate) async fn observe(&self, labels: &[Label]) -> Option<Marks> {
        if !self.settle().await {
            return None;
        }
        let marks = self.heard(self.tier.observe(labels).await)?;
        let here = self.epochs.generation();
        if marks.latest < here {
            // The store lost its clock. No entry may be born at a time that it has yet to give out.
            self.heard(self.tier.mark(&[], here).await)?;
        }
        Some(marks)
    }

    pub(crate) async fn keys(&self, limit: usize) -> Vec<Key> {
        self.heard(self.tier.keys(limit).await).unwrap_or_default()
    }

    pub(crate) async fn watch(&self, tell: Tell) {
        self.heard(self.tier.watch(tell).await);
    }

    pub(crate) async fn clear(&self) {
        if self.heard(self.tier.clear().await).is_none() {
            self.owe().await;
        }
    }

    pub(crate) async fn flush(&self) -> Result<(), Error> {
        let flushed = self.tier.flush().await;
        if flushed.is_err() {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        flushed
    }

    pub(crate) fn looked_up(&self, hits: u64, misses: u64, started: Instant) {
        self.hits.fetch_add(hits, Ordering::Relaxed);
        self.misses.fetch_add(misses, Ordering::Relaxed);
        self.nanos.fetch_add(nanos(started), Ordering::Relaxed);
    }

    pub(crate) fn was_dead(&self) {
        self.dead.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self) -> TierStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TierStats {
            name: self.tier.name().to_owned(),
            hits: read(&self.hits),
            misses: read(&self.misses),
            dead: read(&self.dead),
            puts: read(&self.puts),
            failures: read(&self.failures),
            lookup_time: Duration::from_nanos(read(&self.nanos)),
            usage: self.tier.usage(),
        }
    }
}

pub(crate) fn nanos(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
