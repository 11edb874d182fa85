//! What the handles, guards and tasks of one pool share: the locked core and what surrounds it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::Duration;

use super::actions::Actions;
use super::core::Core;
use super::driver;
use super::entry::{Entry, Held};
use super::event::{DiscardReason, Event};
use super::manager::Manager;
use super::policy::Policy;
use super::runtime::Runtime;
use crate::sync::{Mutex, MutexGuard, lock};
use crate::telemetry::Telemetry;

pub(crate) type Observer = Arc<dyn Fn(&Event) + Send + Sync>;
pub(crate) type Hook<T> = Arc<dyn Fn(&mut T) -> bool + Send + Sync>;

/// Code of the user that the pool calls, never under its lock.
pub(crate) struct Hooks<T> {
    pub(crate) observer: Option<Observer>,
    pub(crate) after_connect: Option<Hook<T>>,
    pub(crate) before_recycle: Option<Hook<T>>,
    pub(crate) telemetry: Telemetry,
}

impl<T> Hooks<T> {
    /// Whether anybody wants to know what happens.
    #[inline]
    pub(crate) fn observed(&self) -> bool {
        self.observer.is_some() || self.telemetry.is_on()
    }

    pub(crate) fn none() -> Self {
        Self {
            observer: None,
            after_connect: None,
            before_recycle: None,
            telemetry: Telemetry::default(),
        }
    }
}

/// A pool's need for places.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    pub(crate) lane: u64,
    pub(crate) wanted: usize,
    /// Since when its oldest caller waits.
    pub(crate) since: Duration,
    /// It has no resource whose return could help.
    pub(crate) barren: bool,
}

/// A limit that several pools share.
///
/// Lock order: a pool's core before the quota; `release` is called without any lock.
pub(crate) trait Quota: Send + Sync {
    /// Takes up to `need.wanted` places. When it gives fewer, the pool is queued to be poked later.
    fn reserve(&self, need: Need) -> usize;
    /// Gives places back, and pokes a pool that queued.
    fn release(&self, count: usize);
    /// The pool needs no more places for now.
    fn withdraw(&self, lane: u64);
    /// Makes room by closing what other pools keep idle.
    fn make_room(&self, lane: u64);
    /// Whether a place is owed to another pool: to any that needs one when the asking pool has nobody
    /// waiting, else to one that has nothing at all and waits since before `since`.
    fn owed_elsewhere(&self, since: Option<Duration>, lane: u64) -> bool;
}

/// A pool as its siblings see it.
pub(crate) trait Lane: Send + Sync {
    /// When the resource that is idle for longest was returned.
    fn oldest_idle(&self) -> Option<Duration>;
    /// Lets that resource go.
    fn drop_oldest_idle(&self) -> bool;
    /// Looks again whether something can be connected.
    fn poke(&self);
}

pub(crate) struct Shared<M: Manager> {
    pub(crate) core: Mutex<Core<M::Resource>>,
    pub(crate) manager: M,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) policy: Policy,
    pub(crate) hooks: Hooks<M::Resource>,
    pub(crate) quota: Option<(Arc<dyn Quota>, u64)>,
    pub(crate) handles: AtomicUsize,
    itself: Weak<Self>,
}

type Act<M> = Actions<<M as Manager>::Resource>;

impl<M: Manager> Shared<M> {
    pub(crate) fn new(
        manager: M,
        runtime: Arc<dyn Runtime>,
        policy: Policy,
        hooks: Hooks<M::Resource>,
        quota: Option<(Arc<dyn Quota>, u64)>,
    ) -> Arc<Self> {
        let core = Core::new(policy, hooks.observed(), runtime.now());
        Arc::new_cyclic(|itself| Self {
            core: Mutex::new(core),
            manager,
            runtime,
            policy,
            hooks,
            quota,
            handles: AtomicUsize::new(1),
            itself: Weak::clone(itself),
        })
    }

    /// Runs one step of the core, starts what it calls for, and carries the actions out.
    pub(crate) fn step<R>(
        &self,
        step: impl FnOnce(&mut Core<M::Resource>, Duration, &mut Act<M>) -> R,
    ) -> R {
        let now = self.runtime.now();
        self.step_in(lock(&self.core), now, step)
    }

    /// As [`step`](Self::step), for a caller that holds the lock and knows the time already.
    pub(crate) fn step_in<R>(
        &self,
        mut core: MutexGuard<'_, Core<M::Resource>>,
        now: Duration,
        step: impl FnOnce(&mut Core<M::Resource>, Duration, &mut Act<M>) -> R,
    ) -> R {
        let mut act = Actions::new();
        core.seen = now;
        let result = step(&mut core, now, &mut act);
        let short = self.settle(&mut core, now, &mut act);
        self.yield_place(&mut core, &mut act);
        drop(core);
        if !act.is_empty() {
            self.carry_out(act);
        }
        self.make_room(short);
        result
    }

    /// Starts checks and connects; says whether the shared limit refused some.
    pub(crate) fn settle(
        &self,
        core: &mut Core<M::Resource>,
        now: Duration,
        act: &mut Act<M>,
    ) -> bool {
        let mut short = false;
        let since = core.waiters.front().map_or(now, |front| front.since);
        let barren = core.size() == 0;
        core.settle(now, act, |wanted| match &self.quota {
            None => wanted,
            Some((quota, lane)) => {
                let granted = quota.reserve(Need {
                    lane: *lane,
                    wanted,
                    since,
                    barren,
                });
                short = granted < wanted;
                granted
            }
        });
        if let Some((quota, lane)) = &self.quota
            && std::mem::replace(&mut core.starved, short)
            && !short
        {
            quota.withdraw(*lane);
        }
        short
    }

    pub(crate) fn make_room(&self, short: bool) {
        if let (true, Some((quota, lane))) = (short, &self.quota) {
            quota.make_room(*lane);
        }
    }

    /// Wakes, spawns, reports and lets go, in this order, without the lock.
    pub(crate) fn carry_out(&self, mut act: Act<M>) {
        act.wakers().for_each(wake);
        self.spawn(&mut act);
        for event in act.events.drain(..) {
            self.report(|| event);
        }
        for (entry, _) in act.discards.drain(..) {
            self.let_go(entry);
        }
        if let (true, Some((quota, _))) = (act.freed > 0, &self.quota) {
            quota.release(act.freed);
        }
    }

    fn spawn(&self, act: &mut Act<M>) {
        let nothing = act.connects == 0 && act.checks.is_empty() && !act.start_driver;
        let Some(shared) = (!nothing).then(|| self.itself.upgrade()).flatten() else {
            return;
        };
        if act.start_driver {
            start(|| driver::spawn_driver(&shared));
        }
        for _ in 0..act.connects {
            start(|| driver::spawn_connect(&shared));
        }
        for entry in act.checks.drain(..) {
            start(|| driver::spawn_check(&shared, entry));
        }
    }

    pub(crate) fn report(&self, event: impl FnOnce() -> Event) {
        if self.hooks.observed() {
            self.tell(&event());
        }
    }

    #[cold]
    fn tell(&self, event: &Event) {
        self.hooks.telemetry.event(event);
        // A panicking observer must not cost a resource or a place.
        if let Some(observer) = &self.hooks.observer {
            let _ = catch_unwind(AssertUnwindSafe(|| observer(event)));
        }
    }

    fn let_go(&self, entry: Held<M::Resource>) {
        let _ = catch_unwind(AssertUnwindSafe(|| self.manager.discard(entry.value)));
    }

    /// Puts a resource that was only looked at back where it was.
    pub(crate) fn restore(&self, entry: Held<M::Resource>) {
        self.step(|core, now, act| {
            core.leased -= 1;
            core.place(entry, now, act);
        });
    }

    /// A guard dropped.
    pub(crate) fn give_back(&self, mut entry: Held<M::Resource>) {
        let verdict = if std::thread::panicking() {
            Err(DiscardReason::Panicked)
        } else if self.passes(&mut entry) {
            Ok(())
        } else {
            Err(DiscardReason::Broken)
        };
        self.report(|| Event::Released { id: entry.id });
        match verdict {
            Ok(()) => self.put_back(entry),
            Err(why) => self.discard_leased(entry, why),
        }
    }

    /// Asks the manager about a resource that was idle. A panic counts as broken.
    #[inline]
    pub(crate) fn finds_broken(&self, entry: &mut Entry<M::Resource>) -> bool {
        let broken = || self.manager.is_broken(&mut entry.value);
        catch_unwind(AssertUnwindSafe(broken)).unwrap_or(true)
    }

    fn passes(&self, entry: &mut Entry<M::Resource>) -> bool {
        let value = &mut entry.value;
        let passes = || {
            !self.manager.is_broken(value)
                && self.hooks.before_recycle.as_ref().is_none_or(|h| h(value))
        };
        catch_unwind(AssertUnwindSafe(passes)).unwrap_or(false)
    }

    /// The hot half of a return: one lock, no clock.
    fn put_back(&self, entry: Held<M::Resource>) {
        let mut core = lock(&self.core);
        if self.owed_elsewhere(&core) {
            drop(core);
            return self.discard_leased(entry, DiscardReason::Stolen);
        }
        let outcome = core.put_fresh(entry);
        drop(core);
        match outcome {
            Ok(None) => {}
            Ok(Some(waker)) => wake(waker),
            Err(entry) => self.step(|core, now, act| core.put_back(entry, now, act)),
        }
    }

    /// What became idle without a return, by a connect or check whose caller had left, may be owed to
    /// another pool as well.
    fn yield_place(&self, core: &mut Core<M::Resource>, act: &mut Act<M>) {
        if act.freed == 0 && !core.idle.is_empty() && self.owed_elsewhere(core) {
            core.drop_oldest(DiscardReason::Stolen, act);
        }
    }

    fn owed_elsewhere(&self, core: &Core<M::Resource>) -> bool {
        self.quota.as_ref().is_some_and(|(quota, lane)| {
            quota.owed_elsewhere(core.waiters.front().map(|front| front.since), *lane)
        })
    }

    pub(crate) fn discard_leased(&self, entry: Held<M::Resource>, why: DiscardReason) {
        self.step(|core, _, act| {
            core.leased -= 1;
            core.discard(entry, why, act);
        });
    }

    /// Takes a resource on loan out of the pool's books.
    pub(crate) fn detach(&self, entry: Entry<M::Resource>) -> M::Resource {
        let id = entry.id;
        self.report(|| Event::Released { id });
        self.step(|core, _, act| {
            core.leased -= 1;
            core.stats.destroyed += 1;
            act.freed += 1;
        });
        self.report(|| Event::Discarded {
            id,
            reason: DiscardReason::Detached,
        });
        entry.value
    }

    pub(crate) fn close(&self) {
        self.step(|core, _, act| core.close(act));
    }

    pub(crate) fn drop_handle(&self) {
        if self.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.close();
        }
    }
}

/// A task that the runtime drops, with or without a panic, gives its place back by itself; the others
/// are started all the same.
fn start(spawn: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(spawn));
}

/// A panicking waker must cost neither the others theirs, nor a guard that drops its thread.
fn wake(waker: Waker) {
    let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
}

impl<M: Manager> Lane for Shared<M> {
    fn oldest_idle(&self) -> Option<Duration> {
        lock(&self.core).idle.front().map(|entry| entry.idle_since)
    }

    fn drop_oldest_idle(&self) -> bool {
        self.step(|core, _, act| core.drop_oldest(DiscardReason::Stolen, act))
    }

    fn poke(&self) {
        self.step(|_, _, _| ());
    }
}
