//! What the driver does when time passes: expiry of waiting callers, sweeps, health checks, reviews.

use std::collections::VecDeque;
use std::time::Duration;

use super::actions::Actions;
use super::core::Core;
use super::event::{DiscardReason, Event};
use super::policy::Policy;
use crate::error::{Error, Stage};

/// Review periods over which the high-water mark is taken.
const WINDOW: usize = 5;
/// Mean wait in a review period from which the pool grows ahead of need, and by what share.
const SLOW_WAIT: Duration = Duration::from_secs(1);
const GROW_STEP: f64 = 0.2;

/// Due times and the observations that reviews are based on.
#[derive(Debug)]
pub(crate) struct Upkeep {
    pub(crate) next_sweep: Duration,
    pub(crate) next_review: Duration,
    /// The most on loan, per review period; the newest is last.
    marks: VecDeque<usize>,
    waits: u32,
    waited: Duration,
}

impl Upkeep {
    pub(crate) fn new(policy: &Policy, now: Duration) -> Self {
        Self {
            next_sweep: now.saturating_add(policy.sweep_every()),
            next_review: now.saturating_add(policy.review_every),
            marks: VecDeque::from([0]),
            waits: 0,
            waited: Duration::ZERO,
        }
    }

    pub(crate) fn saw_leased(&mut self, leased: usize) {
        if let Some(mark) = self.marks.back_mut() {
            *mark = leased.max(*mark);
        }
    }

    pub(crate) fn saw_wait(&mut self, wait: Duration) {
        self.waits = self.waits.saturating_add(1);
        self.waited = self.waited.saturating_add(wait);
    }

    pub(crate) fn high_water(&self) -> usize {
        self.marks.iter().copied().max().unwrap_or(0)
    }

    fn mean_wait(&self) -> Duration {
        self.waited.checked_div(self.waits).unwrap_or_default()
    }

    fn next_period(&mut self, leased: usize) {
        self.waits = 0;
        self.waited = Duration::ZERO;
        self.marks.push_back(leased);
        if self.marks.len() > WINDOW {
            self.marks.pop_front();
        }
    }
}

impl<T> Core<T> {
    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Duration, act: &mut Actions<T>) {
        self.aborts = 0;
        self.expire(now, act);
        if self.upkeep.next_sweep <= now {
            self.upkeep.next_sweep = now.saturating_add(self.policy.sweep_every());
            self.sweep(now, act);
            self.check_idle(now, act);
        }
        if self.upkeep.next_review <= now {
            self.upkeep.next_review = now.saturating_add(self.policy.review_every);
            self.review(act);
        }
    }

    /// Tells callers whose time is up.
    pub(crate) fn expire(&mut self, now: Duration, act: &mut Actions<T>) {
        let due: Vec<(usize, Stage, Duration)> = self
            .waiters
            .iter()
            .enumerate()
            .map(|(position, (at, waiter))| (at, self.stage(position), waiter))
            .filter(|(_, stage, waiter)| {
                waiter.deadline <= now || (*stage == Stage::Wait && waiter.wait_until <= now)
            })
            .map(|(at, stage, waiter)| (at, stage, now.saturating_sub(waiter.since)))
            .collect();
        for (at, stage, waited) in due {
            self.time_out(at, stage, waited, act);
        }
    }

    fn time_out(&mut self, at: usize, stage: Stage, waited: Duration, act: &mut Actions<T>) {
        match stage {
            Stage::Wait => self.stats.wait_timeouts += 1,
            Stage::Connect => self.stats.connect_timeouts += 1,
            Stage::Check => self.stats.check_timeouts += 1,
        }
        self.note(act, |_| Event::TimedOut { stage });
        let answer = Err(Error::Timeout {
            stage,
            waited,
            last: self.last_error.clone(),
        });
        let waiter = self.waiters.answer(at, answer);
        act.wake(waiter.and_then(|waiter| waiter.waker));
    }

    /// Lets go of resources that are too old, or were idle for too long and are not needed.
    fn sweep(&mut self, now: Duration, act: &mut Actions<T>) {
        let mut at = 0;
        while at < self.idle.len() {
            if self.idle[at].expires > now {
                at += 1;
            } else if let Some(entry) = self.idle.remove(at) {
                self.discard(entry, DiscardReason::Lifetime, act);
            }
        }
        while self.may_shrink() && self.oldest_is_stale(now) {
            self.drop_oldest(DiscardReason::Idle, act);
        }
    }

    fn may_shrink(&self) -> bool {
        self.size() > self.policy.min && self.idle.len() > self.policy.min_idle
    }

    fn oldest_is_stale(&self, now: Duration) -> bool {
        let stale = |since: Duration, limit| now.saturating_sub(since) >= limit;
        self.idle
            .front()
            .is_some_and(|entry| stale(entry.idle_since, entry.idle_limit))
    }

    /// Checks long-idle resources in the background, at most a quarter of them at a time.
    fn check_idle(&mut self, now: Duration, act: &mut Actions<T>) {
        let mut quota = self.idle.len().div_ceil(4).saturating_sub(self.checking);
        let mut at = 0;
        while quota > 0 && at < self.idle.len() {
            let age = now.saturating_sub(self.idle[at].known_good());
            if age < self.policy.check_every {
                at += 1;
            } else if let Some(entry) = self.idle.remove(at) {
                self.checking += 1;
                act.checks.push(entry);
                quota -= 1;
            }
        }
    }

    /// Adapts the size to the load of the last periods.
    fn review(&mut self, act: &mut Actions<T>) {
        let size = self.size();
        let share = |step: f64| (size as f64 * step).ceil() as usize;
        let high_water = self.upkeep.high_water();
        self.grow_to = 0;
        if self.upkeep.mean_wait() > SLOW_WAIT {
            self.grow_to = (size + share(GROW_STEP)).min(self.policy.max);
        } else if (high_water as f64) < size as f64 * self.policy.shrink_below {
            let keep = (size - share(self.policy.shrink_step).min(size)).max(high_water);
            while self.may_shrink()
                && self.size() > keep
                && self.drop_oldest(DiscardReason::Shrunk, act)
            {}
        }
        self.upkeep.next_period(self.leased);
    }

    /// When [`tick`](Self::tick) has work next; `None` when nothing is foreseeable. O(waiting callers).
    pub(crate) fn next_due(&self, now: Duration) -> Option<Duration> {
        let waiting = self.waiters.iter().enumerate().map(|(position, (_, w))| {
            if self.stage(position) == Stage::Wait {
                w.deadline.min(w.wait_until)
            } else {
                w.deadline
            }
        });
        let round = self.upkeep.next_sweep.min(self.upkeep.next_review);
        let round = (self.size() > 0).then_some(round);
        let retrying = self.failures > 0 && now < self.retry_at && self.missing() > 0;
        let retry = retrying.then_some(self.retry_at);
        waiting.chain(round).chain(retry).min()
    }
}
