//! How many resources the pool needs, and the checks and connects that follow from it.

use std::time::Duration;

use super::actions::Actions;
use super::core::Core;
use super::event::DiscardReason;

impl<T> Core<T> {
    /// Starts the checks and connects that are called for. `reserve` is asked for places and may
    /// give fewer.
    pub(crate) fn settle(
        &mut self,
        now: Duration,
        act: &mut Actions<T>,
        reserve: impl FnOnce(usize) -> usize,
    ) {
        self.unsettled = false;
        self.start_checks(now, act);
        let wanted = self.wanted(now);
        if wanted > 0 {
            let granted = reserve(wanted);
            self.connecting += granted;
            act.connects += granted;
            if granted == 0 && self.suspect {
                self.suspect = false;
                self.start_checks(now, act);
            }
        }
        if !self.alarm.running && !self.closed {
            self.alarm.running = true;
            act.start_driver = true;
        }
    }

    /// Callers wait and only long-idle resources are left: check those.
    fn start_checks(&mut self, now: Duration, act: &mut Actions<T>) {
        while self.waiters.len() > self.connecting + self.checking {
            if self.suspect && self.wanted(now) > 0 {
                return;
            }
            let Some(entry) = self.idle.pop_back() else {
                return;
            };
            if entry.expires <= now {
                self.discard(entry, DiscardReason::Lifetime, act);
            } else if now.saturating_sub(entry.known_good()) > self.policy.check_after {
                self.checking += 1;
                act.checks.push(entry);
            } else {
                self.place(entry, now, act);
            }
        }
    }

    /// Connects to start now.
    pub(crate) fn wanted(&self, now: Duration) -> usize {
        if self.closed || (self.failures > 0 && now < self.retry_at) {
            return 0;
        }
        match self.missing() {
            0 => 0,
            missing => missing.min(self.connect_limit()),
        }
    }

    /// Resources that should exist and do not, whether or not they may be connected yet.
    pub(crate) fn missing(&self) -> usize {
        let size = self.size();
        let pending = self.connecting + self.checking;
        let spare = self.idle.len() + pending.saturating_sub(self.waiters.len());
        let need =
            self.waiters.len().saturating_sub(pending) + self.policy.min_idle.saturating_sub(spare);
        let floor = self.policy.min.max(self.grow_to).saturating_sub(size);
        need.max(floor).min(self.policy.max.saturating_sub(size))
    }

    /// How many more connects may run: one while connecting fails, else a share of what exists.
    fn connect_limit(&self) -> usize {
        let at_once = if self.failures > 0 {
            1
        } else {
            let open = self.size() - self.connecting;
            let share = (open as f64 * (self.policy.growth - 1.0)).ceil() as usize;
            share.max(2)
        };
        at_once.saturating_sub(self.connecting)
    }
}
