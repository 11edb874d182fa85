//! The pool as a state machine: events and the time go in, [`Actions`] come out. No lock, no clock,
//! no future.
//!
//! Invariants, after every step:
//! - `idle + leased + connecting + checking = size`, and only `resize` can leave `size` above `max`;
//! - an answer that waits in the queue to be fetched counts as leased;
//! - a fresh idle resource and a waiting caller do not exist at the same time.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Duration;

use super::actions::Actions;
use super::entry::{Entry, Held};
use super::event::{DiscardReason, Event};
use super::policy::Policy;
use super::queue::{Queue, Waiter};
use super::stats::ResourceStats;
use crate::error::{Error, Source, Stage};

/// Spawned tasks that the runtime may drop in a row before waiting callers are told.
const MAX_ABORTS: u32 = 3;

pub(crate) type Answer<T> = Result<Held<T>, Error>;

pub(crate) struct Core<T> {
    pub(crate) policy: Policy,
    pub(crate) idle: VecDeque<Held<T>>,
    pub(crate) waiters: Queue<Answer<T>>,
    pub(crate) leased: usize,
    pub(crate) connecting: usize,
    pub(crate) checking: usize,
    pub(crate) closed: bool,
    /// The last check failed: rather connect than check the next one, if there is room.
    pub(crate) suspect: bool,
    pub(crate) failures: u32,
    pub(crate) retry_at: Duration,
    pub(crate) last_error: Option<Source>,
    pub(crate) aborts: u32,
    /// The time of the last checkout, tick or other step.
    pub(crate) seen: Duration,
    /// Work was left over by a dropped task, for the next caller to pick up.
    pub(crate) unsettled: bool,
    /// The limit shared with other pools refused places.
    pub(crate) starved: bool,
    /// Size that the last review found desirable.
    pub(crate) grow_to: usize,
    pub(crate) alarm: Alarm,
    pub(crate) upkeep: super::upkeep::Upkeep,
    pub(crate) stats: ResourceStats,
    pub(crate) observed: bool,
    next_id: u64,
    random: u64,
}

/// When the driver task sleeps until, and how to wake it earlier.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    pub(crate) running: bool,
    pub(crate) rung: bool,
    pub(crate) at: Option<Duration>,
    pub(crate) waker: Option<Waker>,
}

/// What [`Core::checkout`] found.
pub(crate) enum Found<T> {
    Ready(Held<T>),
    Queued(usize),
}

impl<T> Core<T> {
    pub(crate) fn new(policy: Policy, observed: bool, now: Duration) -> Self {
        Self {
            random: policy.seed,
            upkeep: super::upkeep::Upkeep::new(&policy, now),
            policy,
            idle: VecDeque::new(),
            waiters: Queue::new(),
            leased: 0,
            connecting: 0,
            checking: 0,
            closed: false,
            suspect: false,
            failures: 0,
            retry_at: Duration::ZERO,
            last_error: None,
            aborts: 0,
            seen: now,
            unsettled: false,
            starved: false,
            grow_to: 0,
            alarm: Alarm::default(),
            stats: ResourceStats::default(),
            observed,
            next_id: 0,
        }
    }

    pub(crate) fn size(&self) -> usize {
        self.idle.len() + self.leased + self.connecting + self.checking
    }

    /// The common checkout: the newest idle resource, when there is nothing to look after. `None`
    /// leaves everything as it was.
    #[inline]
    pub(crate) fn take_fresh(&mut self, now: Duration) -> Option<Held<T>> {
        self.seen = now;
        let newest = self.idle.back()?;
        let fresh = self.waiters.is_empty()
            && newest.expires > now
            && now.saturating_sub(newest.known_good()) <= self.policy.check_after
            && self.idle.len() > self.policy.min_idle;
        if !fresh {
            return None;
        }
        let mut entry = self.idle.pop_back()?;
        self.lend(&mut entry);
        Some(entry)
    }

    /// The common return: to the oldest caller, whose waker comes back, or to the idle ones. `Err`
    /// leaves everything as it was. Reads no clock: the time is that of the last checkout or tick.
    #[inline]
    pub(crate) fn put_fresh(&mut self, mut entry: Held<T>) -> Result<Option<Waker>, Held<T>> {
        let alarmed = self.alarm.at.is_some_and(|at| at <= self.upkeep.next_sweep);
        if self.closed || !alarmed || self.size() > self.policy.max || entry.expires <= self.seen {
            return Err(entry);
        }
        entry.idle_since = self.seen;
        self.leased -= 1;
        if self.waiters.is_empty() {
            self.idle.push_back(entry);
            return Ok(None);
        }
        Ok(self.grant(entry).and_then(|waiter| waiter.waker))
    }

    /// Answers the oldest caller with a resource.
    fn grant(&mut self, mut entry: Held<T>) -> Option<Waiter> {
        self.lend(&mut entry);
        self.waiters.answer_front(Ok(entry))
    }

    /// Takes an idle resource that needs no check, the one returned last or the client's own. Only
    /// when nobody waits.
    pub(crate) fn take_idle(
        &mut self,
        now: Duration,
        client: Option<u64>,
        act: &mut Actions<T>,
    ) -> Option<Held<T>> {
        while self.waiters.is_empty() && !self.closed {
            let newest = self.idle.back()?;
            if newest.expires <= now {
                self.drop_newest(DiscardReason::Lifetime, act);
            } else if now.saturating_sub(newest.known_good()) > self.policy.check_after {
                return None;
            } else {
                let mut entry = self.pick(now, client)?;
                self.lend(&mut entry);
                return Some(entry);
            }
        }
        None
    }

    fn pick(&mut self, now: Duration, client: Option<u64>) -> Option<Held<T>> {
        let own = client.and_then(|client| {
            self.idle.iter().rposition(|entry| {
                entry.client == Some(client)
                    && entry.expires > now
                    && now.saturating_sub(entry.known_good()) <= self.policy.check_after
            })
        });
        match own {
            Some(at) => self.idle.remove(at),
            None => self.idle.pop_back(),
        }
    }

    /// Takes an idle resource out for somebody who only looks at it.
    pub(crate) fn take_out(&mut self, id: u64) -> Option<Held<T>> {
        let at = self.idle.iter().position(|entry| entry.id == id)?;
        self.leased += 1;
        self.idle.remove(at)
    }

    #[inline]
    fn lend(&mut self, entry: &mut Entry<T>) {
        entry.uses += 1;
        self.leased += 1;
        self.stats.acquisitions += 1;
        self.upkeep.saw_leased(self.leased);
    }

    /// A resource for a caller, or a place in the queue.
    pub(crate) fn checkout(
        &mut self,
        now: Duration,
        client: Option<u64>,
        waiter: Waiter,
        at_front: bool,
        act: &mut Actions<T>,
    ) -> Result<Found<T>, Error> {
        if self.closed {
            return Err(Error::Closed);
        }
        if let Some(entry) = self.take_idle(now, client, act) {
            return Ok(Found::Ready(entry));
        }
        let limit = self.policy.max_waiters;
        if self.waiters.len() >= limit && !at_front {
            self.stats.refused += 1;
            return Err(Error::QueueFull { limit });
        }
        self.ring_at(waiter.deadline.min(waiter.wait_until), act);
        Ok(Found::Queued(self.waiters.push(waiter, at_front)))
    }

    /// Everything there may be is on loan or about to be, and the driver will look in time: a caller
    /// joins the queue, and nothing else follows from that.
    pub(crate) fn can_only_wait(&self, waiter: &Waiter) -> bool {
        let due = waiter.deadline.min(waiter.wait_until);
        let settled = !self.closed && !self.starved && self.alarm.running;
        settled
            && self.idle.is_empty()
            && self.size() >= self.policy.max
            && self.waiters.len() < self.policy.max_waiters
            && self.alarm.at.is_some_and(|at| at <= due)
    }

    /// A resource on loan came back in order.
    pub(crate) fn put_back(&mut self, mut entry: Held<T>, now: Duration, act: &mut Actions<T>) {
        self.leased -= 1;
        entry.idle_since = now;
        self.place(entry, now, act);
    }

    /// Gives a usable resource that nobody holds to the oldest caller, or keeps it idle.
    pub(crate) fn place(&mut self, entry: Held<T>, now: Duration, act: &mut Actions<T>) {
        let reason = if self.closed {
            Some(DiscardReason::Closed)
        } else if self.size() >= self.policy.max {
            Some(DiscardReason::Shrunk)
        } else if entry.expires <= now {
            Some(DiscardReason::Lifetime)
        } else {
            None
        };
        if let Some(reason) = reason {
            return self.discard(entry, reason, act);
        }
        if self.waiters.is_empty() {
            return self.keep_idle(entry, act);
        }
        let woken = self.grant(entry);
        act.wake(woken.and_then(|waiter| waiter.waker));
    }

    /// A caller fetched what it had waited for.
    pub(crate) fn waited(&mut self, since: Duration, now: Duration) {
        let wait = now.saturating_sub(since);
        self.stats.wait.record(wait);
        self.upkeep.saw_wait(wait);
    }

    /// Idle resources are kept in the order of their return.
    fn keep_idle(&mut self, entry: Held<T>, act: &mut Actions<T>) {
        let newer = |other: &Held<T>| other.idle_since > entry.idle_since;
        if self.idle.back().is_some_and(newer) {
            let at = self
                .idle
                .partition_point(|other| other.idle_since <= entry.idle_since);
            self.idle.insert(at, entry);
        } else {
            self.idle.push_back(entry);
        }
        self.ring_at(self.upkeep.next_sweep, act);
    }

    /// A resource that is no longer counted leaves for good.
    pub(crate) fn discard(&mut self, entry: Held<T>, why: DiscardReason, act: &mut Actions<T>) {
        self.stats.destroyed += 1;
        act.freed += 1;
        self.note(act, |_| Event::Discarded {
            id: entry.id,
            reason: why,
        });
        act.discards.push((entry, why));
    }

    pub(crate) fn drop_newest(&mut self, why: DiscardReason, act: &mut Actions<T>) {
        if let Some(entry) = self.idle.pop_back() {
            self.discard(entry, why, act);
        }
    }

    pub(crate) fn drop_oldest(&mut self, why: DiscardReason, act: &mut Actions<T>) -> bool {
        let oldest = self.idle.pop_front();
        let found = oldest.is_some();
        if let Some(entry) = oldest {
            self.discard(entry, why, act);
        }
        found
    }

    /// A connect succeeded.
    pub(crate) fn connected(&mut self, value: T, started: Duration, now: Duration) -> Held<T> {
        let took = now.saturating_sub(started);
        self.connecting -= 1;
        self.failures = 0;
        self.aborts = 0;
        self.last_error = None;
        self.stats.created += 1;
        self.stats.connect.record(took);
        let id = self.next_id;
        self.next_id += 1;
        let lifetime = self.jitter(self.policy.max_lifetime);
        Box::new(Entry {
            value,
            id,
            created: now,
            expires: now.saturating_add(lifetime),
            idle_since: now,
            idle_limit: self.jitter(self.policy.idle_timeout),
            checked: now,
            uses: 0,
            client: None,
        })
    }

    /// A connect failed: everybody backs off together, and once the allowed attempts have failed
    /// with nothing left that could come home, everybody hears of it.
    pub(crate) fn connect_failed(
        &mut self,
        error: Option<Source>,
        started: Duration,
        now: Duration,
        act: &mut Actions<T>,
    ) {
        self.connecting -= 1;
        self.aborts = 0;
        act.freed += 1;
        self.stats.connect_failures += 1;
        self.note(act, |_| Event::ConnectFailed {
            error: error.clone(),
        });
        self.last_error = error.or(self.last_error.take());
        self.failed(started, now, act);
    }

    fn failed(&mut self, started: Duration, now: Duration, act: &mut Actions<T>) {
        // Connects that were under way together fail together: that is one failure, not many.
        if self.failures == 0 || started >= self.retry_at {
            self.failures = self.failures.saturating_add(1);
            self.retry_at = now.saturating_add(self.backoff());
            self.ring_at(self.retry_at, act);
        }
        if self.failures > self.policy.retries && self.size() == 0 {
            let source = self.last_error.clone().unwrap_or_else(unknown_failure);
            let attempts = self.failures;
            self.answer_all(act, &Error::Connect { attempts, source });
        }
    }

    /// A new resource was refused by the hook: the next attempt waits as after a failure.
    pub(crate) fn hook_refused(&mut self, started: Duration, now: Duration, act: &mut Actions<T>) {
        self.failed(started, now, act);
    }

    fn backoff(&mut self) -> Duration {
        let doublings = (self.failures - 1).min(16);
        let full = self.policy.backoff.saturating_mul(1 << doublings);
        self.jitter(full.min(self.policy.max_backoff))
    }

    /// A check ended; the resource is placed by the caller when it passed.
    pub(crate) fn checked(&mut self, passed: bool, error: Option<Source>) {
        self.checking -= 1;
        self.suspect = !passed;
        self.stats.check_failures += u64::from(!passed);
        self.last_error = error.or(self.last_error.take());
    }

    /// A connect or check was dropped by the runtime before it ended.
    pub(crate) fn aborted(&mut self, act: &mut Actions<T>) {
        self.aborts += 1;
        self.unsettled = true;
        if self.aborts > MAX_ABORTS {
            self.aborts = 0;
            self.answer_all(act, &Error::RuntimeGone);
        }
        let front = self.waiters.front().and_then(|front| front.waker.clone());
        act.wake(front);
    }

    pub(crate) fn answer_all(&mut self, act: &mut Actions<T>, error: &Error) {
        while let Some(waiter) = self.waiters.answer_front(Err(error.clone())) {
            act.wake(waiter.waker);
        }
    }

    /// Gives an abandoned caller's place up, and passes on what it had been given.
    pub(crate) fn abandon(&mut self, at: usize, now: Duration, act: &mut Actions<T>) {
        if let Some(Ok(entry)) = self.waiters.leave(at) {
            self.leased -= 1;
            self.stats.acquisitions -= 1;
            self.place(entry, now, act);
        }
    }

    pub(crate) fn close(&mut self, act: &mut Actions<T>) {
        self.closed = true;
        while self.drop_oldest(DiscardReason::Closed, act) {}
        self.answer_all(act, &Error::Closed);
        self.ring(act);
    }

    /// Sets the most resources there may be, and lets surplus idle ones go, the oldest first.
    pub(crate) fn resize(&mut self, max: usize, act: &mut Actions<T>) -> usize {
        let floor = self.policy.min.max(self.policy.min_idle).max(1);
        self.policy.max = max.max(floor);
        while self.size() > self.policy.max && self.drop_oldest(DiscardReason::Shrunk, act) {}
        self.policy.max
    }

    /// What the caller at this position of the queue waits for.
    pub(crate) fn stage(&self, position: usize) -> Stage {
        if position < self.connecting {
            Stage::Connect
        } else if position < self.connecting + self.checking {
            Stage::Check
        } else if self.failures > 0 && self.size() < self.policy.max {
            Stage::Connect
        } else {
            Stage::Wait
        }
    }

    /// Makes sure that the driver looks at the pool at `at`, or earlier.
    pub(crate) fn ring_at(&mut self, at: Duration, act: &mut Actions<T>) {
        if self.alarm.at.is_none_or(|armed| at < armed) {
            self.ring(act);
        }
    }

    fn ring(&mut self, act: &mut Actions<T>) {
        self.alarm.rung = true;
        let waker = self.alarm.waker.take();
        act.wake(waker);
    }

    pub(crate) fn note(&mut self, act: &mut Actions<T>, event: impl FnOnce(&Self) -> Event) {
        if self.observed {
            act.events.push(event(self));
        }
    }

    /// `limit` less up to a tenth of it, so that resources born together do not die together.
    fn jitter(&mut self, limit: Duration) -> Duration {
        // SplitMix64 (Steele, Lea, Flood 2014).
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let share = ((z ^ (z >> 31)) >> 32) as u32;
        let tenth = (limit / 10).as_nanos();
        let cut = (tenth.min(u128::from(u64::MAX)) * u128::from(share)) >> 32;
        limit.saturating_sub(Duration::from_nanos(cut as u64))
    }
}

fn unknown_failure() -> Source {
    std::sync::Arc::new(std::io::Error::other(
        "the manager panicked or the connect timed out",
    ))
}
