//! Which key is asked for after which, and bringing it into memory before it is.

use crate::cache::Cache;
use crate::key::Key;
use crate::label::Scope;
use crate::sync::{AtomicU64, Mutex, Ordering};
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// Settings of prefetching: keys that follow one another are brought from the tiers below into memory before they
/// are asked for.
///
/// The cache learns, in each scope, which key is asked for after which. Once one follows another in more than
/// [`confidence`](Self::confidence) of at least three times, the first being asked for predicts the second.
#[derive(Clone)]
#[must_use = "settings do nothing until they are passed on"]
pub struct Prefetch {
    confidence: f64,
    floor: f64,
    keys: u64,
    gate: Arc<dyn Fn(&Key) -> bool + Send + Sync>,
}

impl Prefetch {
    /// A confidence above 0.7, a precision of at least 0.5, 10,000 keys, no gate.
    pub fn new() -> Self {
        Self {
            confidence: 0.7,
            floor: 0.5,
            keys: 10_000,
            gate: Arc::new(|_| true),
        }
    }

    /// How often one key must have followed the other, as a fraction; it must be exceeded. Default: 0.7.
    pub fn confidence(mut self, above: f64) -> Self {
        self.confidence = above;
        self
    }

    /// The fraction of predictions that must come true. Below it, over the last 32 or more, prefetching is off for
    /// 4,096 lookups and then tries again. Default: 0.5.
    pub fn floor(mut self, precision: f64) -> Self {
        self.floor = precision;
        self
    }

    /// Keys whose successor is remembered, about 150 bytes each. Default: 10,000.
    pub fn keys(mut self, keys: u64) -> Self {
        self.keys = keys;
        self
    }

    /// Asked for each predicted key whether it may be fetched now. Default: always.
    pub fn gate(mut self, may: impl Fn(&Key) -> bool + Send + Sync + 'static) -> Self {
        self.gate = Arc::new(may);
        self
    }
}

impl Default for Prefetch {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Prefetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prefetch")
            .field("confidence", &self.confidence)
            .field("floor", &self.floor)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

/// What prefetching did since the cache was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PrefetchStats {
    /// Predictions that were to be fetched.
    pub predicted: u64,
    /// Entries that came into memory for it.
    pub fetched: u64,
    /// Of those, the ones that were asked for in time.
    pub right: u64,
    /// Of those, the ones that were not.
    pub wrong: u64,
    /// True while prefetching is off because too few predictions came true.
    pub off: bool,
}

impl PrefetchStats {
    /// Predictions that came true, as a fraction of those whose time is over; zero before the first.
    #[must_use]
    pub fn precision(&self) -> f64 {
        match self.right + self.wrong {
            0 => 0.0,
            all => self.right as f64 / all as f64,
        }
    }
}

/// How long an entry that was prefetched lives in memory.
pub(crate) const LIVES: Duration = Duration::from_secs(300);
/// How long after the predicted time a prediction is given up.
const PATIENCE: u64 = 30_000;
/// Sightings before anything is predicted.
const SEEN: u16 = 3;
/// Predictions judged before prefetching may be switched off, and lookups for which it then is.
const JUDGED: u64 = 32;
const OFF_FOR: u64 = 4_096;
/// Bounds: scopes followed, predictions that wait to be fetched, entries watched.
const SCOPES: usize = 1_024;
const WAITING: usize = 64;
const WATCHED: usize = 1_024;

#[derive(Clone)]
struct Successor {
    key: Key,
    /// Times that it followed, and times that anything did; halved together.
    right: u16,
    seen: u16,
    /// Milliseconds that pass between the two, a moving mean.
    gap: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Prediction {
    pub(crate) key: Key,
    /// How often it followed, as a fraction.
    confidence: f64,
    /// When it is given up, in milliseconds.
    until: u64,
}

/// What is learnt of sequences, and what became of the predictions.
pub(crate) struct Sequences {
    settings: Prefetch,
    successors: Cache<u128, Successor>,
    state: Mutex<State>,
    predicted: AtomicU64,
}

#[derive(Default)]
struct State {
    last: HashMap<Scope, (u128, u64), foldhash::fast::RandomState>,
    /// The least sure first.
    waiting: Vec<Prediction>,
    watched: VecDeque<Prediction>,
    fetched: u64,
    right: u64,
    wrong: u64,
    /// Judged since prefetching was switched on.
    recent: (u64, u64),
    /// Lookups until it is on again.
    off: u64,
    driver: Option<Waker>,
}

impl State {
    /// True when the key waits to be fetched, or was and is watched.
    fn knows(&self, key: &Key) -> bool {
        let mut known = self.waiting.iter().chain(&self.watched);
        known.any(|one| one.key == *key)
    }

    fn judge(&mut self, right: bool, floor: f64) {
        let (good, bad) = &mut self.recent;
        if right {
            self.right += 1;
            *good += 1;
        } else {
            self.wrong += 1;
            *bad += 1;
        }
        let all = *good + *bad;
        if all >= JUDGED && (*good as f64) < floor * all as f64 {
            self.off = OFF_FOR;
            self.recent = (0, 0);
            self.waiting.clear();
        } else if all >= 4 * JUDGED {
            self.recent = (*good / 2, *bad / 2);
        }
    }
}

impl Sequences {
    pub(crate) fn new(settings: Prefetch) -> Self {
        Self {
            successors: Cache::new(settings.keys),
            settings,
            state: Mutex::new(State::default()),
            predicted: AtomicU64::new(0),
        }
    }

    /// A lookup of a key: learns, judges, predicts. Returns what memory should drop.
    pub(crate) fn looked_up(&self, key: &Key, now: u64) -> Vec<Key> {
        let digest = key.digest();
        let before = self.follow(key, digest, now);
        if let Some((before, at)) = before {
            self.learn(before, key, now.saturating_sub(at));
        }
        let predicted = self.predict(digest, now);
        let (dropped, fresh) = self.advance(digest, now, predicted);
        // The gate is asked without the lock: it may use the cache.
        if let Some(fresh) = fresh.filter(|one| (self.settings.gate)(&one.key))
            && let Some(driver) = self.queue(fresh)
        {
            driver.wake();
        }
        dropped
    }

    /// The key that was asked for before in that scope.
    fn follow(&self, key: &Key, digest: u128, now: u64) -> Option<(u128, u64)> {
        let mut state = self.state.lock();
        if state.last.len() >= SCOPES && !state.last.contains_key(key.scope()) {
            state.last.clear();
        }
        state.last.insert(key.scope().clone(), (digest, now))
    }

    fn learn(&self, before: u128, key: &Key, gap: u64) {
        if before == key.digest() {
            return;
        }
        let known = self.successors.get(&before);
        let next = match known {
            Some(mut known) => {
                let same = known.key == *key;
                known.seen += 1;
                if same {
                    known.right += 1;
                    known.gap = (known.gap * 3 + gap) / 4;
                } else if known.right * 2 < known.seen {
                    // Another key may be the one that follows.
                    (known.key, known.right, known.seen) = (key.clone(), 1, 1);
                    known.gap = gap;
                }
                if known.seen >= 64 {
                    (known.right, known.seen) = (known.right / 2, known.seen / 2);
                }
                known
            }
            None => Successor {
                key: key.clone(),
                right: 1,
                seen: 1,
                gap,
            },
        };
        self.successors.insert(before, next);
    }

    fn predict(&self, digest: u128, now: u64) -> Option<Prediction> {
        let known = self.successors.get(&digest)?;
        let confidence = f64::from(known.right) / f64::from(known.seen.max(1));
        let sure = confidence > self.settings.confidence;
        (sure && known.seen >= SEEN).then(|| Prediction {
            key: known.key,
            confidence,
            until: now.saturating_add(known.gap).saturating_add(PATIENCE),
        })
    }

    fn advance(
        &self,
        digest: u128,
        now: u64,
        predicted: Option<Prediction>,
    ) -> (Vec<Key>, Option<Prediction>) {
        let state = &mut *self.state.lock();
        let floor = self.settings.floor;
        let mut dropped = Vec::new();
        if let Some(at) = state
            .watched
            .iter()
            .position(|one| one.key.digest() == digest)
        {
            let one = state.watched.remove(at);
            let in_time = one.is_some_and(|one| now < one.until);
            state.judge(in_time, floor);
        }
        while state.watched.front().is_some_and(|one| now >= one.until) {
            dropped.extend(state.watched.pop_front().map(|one| one.key));
            state.judge(false, floor);
        }
        state
            .waiting
            .retain(|one| now < one.until && one.key.digest() != digest);
        if state.off > 0 {
            state.off -= 1;
            return (dropped, None);
        }
        let fresh = predicted.filter(|one| !state.knows(&one.key));
        (dropped, fresh)
    }

    /// Has a prediction fetched; gives back who is to be woken.
    fn queue(&self, prediction: Prediction) -> Option<Waker> {
        let mut state = self.state.lock();
        if state.off > 0 || state.knows(&prediction.key) {
            return None;
        }
        self.predicted.fetch_add(1, Ordering::Relaxed);
        if state.waiting.len() >= WAITING {
            // The surest is last.
            state.waiting.remove(0);
        }
        let as_sure = |one: &Prediction| one.confidence >= prediction.confidence;
        let at = state.waiting.iter().position(as_sure);
        let at = at.unwrap_or(state.waiting.len());
        state.waiting.insert(at, prediction);
        state.driver.take()
    }

    /// The surest prediction that waits, of several the one that has waited longest; without one, `waker` is woken by the next.
    pub(crate) fn next(&self, waker: &Waker) -> Option<Prediction> {
        let mut state = self.state.lock();
        let next = state.waiting.pop();
        if next.is_none() {
            state.driver = Some(waker.clone());
        }
        next
    }

    /// A predicted entry came into memory: whether it is asked for will be seen.
    pub(crate) fn fetched(&self, prediction: Prediction) {
        let mut state = self.state.lock();
        state.fetched += 1;
        if state.watched.len() < WATCHED {
            // In the order of their ends, nearly: an early one behind a late one is judged a little later.
            state.watched.push_back(prediction);
        }
    }

    /// True for what was fetched and not asked for yet.
    pub(crate) fn awaits(&self, key: &Key) -> bool {
        let state = self.state.lock();
        state.watched.iter().any(|one| one.key == *key)
    }

    pub(crate) fn stats(&self) -> PrefetchStats {
        let state = self.state.lock();
        PrefetchStats {
            predicted: self.predicted.load(Ordering::Relaxed),
            fetched: state.fetched,
            right: state.right,
            wrong: state.wrong,
            off: state.off > 0,
        }
    }
}
