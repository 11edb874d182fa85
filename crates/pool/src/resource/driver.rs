//! The tasks of a pool: one that keeps its time, and one for each connect and check.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use super::actions::Actions;
use super::core::Alarm;
use super::entry::Held;
use super::event::{DiscardReason, Event};
use super::manager::Manager;
use super::runtime::{Runtime, Task};
use super::shared::Shared;
use crate::error::Source;
use crate::sync::lock;

pub(crate) fn spawn_driver<M: Manager>(shared: &Arc<Shared<M>>) {
    let driver = Driver(Arc::downgrade(shared));
    let runtime = Arc::clone(&shared.runtime);
    shared.runtime.spawn(Box::pin(drive(driver, runtime)));
}

pub(crate) fn spawn_connect<M: Manager>(shared: &Arc<Shared<M>>) {
    let place = Place::new(shared, Work::Connect);
    shared.runtime.spawn(Box::pin(connect(place)));
}

pub(crate) fn spawn_check<M: Manager>(shared: &Arc<Shared<M>>, entry: Held<M::Resource>) {
    let place = Place::new(shared, Work::Check(entry.id));
    shared.runtime.spawn(Box::pin(check(place, entry)));
}

/// Ticks when something is due, until the pool is closed or gone. It holds no strong reference while
/// it sleeps.
async fn drive<M: Manager>(driver: Driver<M>, runtime: Arc<dyn Runtime>) {
    while let Some(due) = driver.tick() {
        let sleep = due.map(|at| runtime.sleep_until(at));
        Nap {
            driver: &driver,
            sleep,
        }
        .await;
    }
}

struct Driver<M: Manager>(Weak<Shared<M>>);

impl<M: Manager> Driver<M> {
    /// Does what is due. `None` ends the driver; otherwise the time of the next tick, if any.
    fn tick(&self) -> Option<Option<Duration>> {
        let shared = self.0.upgrade()?;
        shared.step(|core, now, act| core.tick(now, act));
        let now = shared.runtime.now();
        let mut core = lock(&shared.core);
        if core.closed {
            return None;
        }
        core.alarm.at = core.next_due(now);
        Some(core.alarm.at)
    }
}

impl<M: Manager> Drop for Driver<M> {
    fn drop(&mut self) {
        let Some(shared) = self.0.upgrade() else {
            return;
        };
        let mut act = Actions::new();
        let mut core = lock(&shared.core);
        core.alarm = Alarm::default();
        if !core.closed {
            core.aborted(&mut act);
        }
        drop(core);
        shared.carry_out(act);
    }
}

/// Ends when the time has come, or when the pool rings.
struct Nap<'a, M: Manager> {
    driver: &'a Driver<M>,
    sleep: Option<Task>,
}

impl<M: Manager> Future for Nap<'_, M> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(shared) = self.driver.0.upgrade() else {
            return Poll::Ready(());
        };
        {
            let mut core = lock(&shared.core);
            if std::mem::take(&mut core.alarm.rung) {
                return Poll::Ready(());
            }
            core.alarm.waker = Some(cx.waker().clone());
        }
        drop(shared);
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Work {
    Connect,
    /// Of the resource with this number.
    Check(u64),
}

/// The place in the pool that a running connect or check takes. When the runtime drops the task, the
/// place becomes free again.
struct Place<M: Manager> {
    shared: Arc<Shared<M>>,
    work: Work,
    settled: bool,
}

impl<M: Manager> Place<M> {
    fn new(shared: &Arc<Shared<M>>, work: Work) -> Self {
        Self {
            shared: Arc::clone(shared),
            work,
            settled: false,
        }
    }
}

impl<M: Manager> Drop for Place<M> {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        // Nothing is started from here: a runtime that drops its tasks would drop that as well.
        let mut act = Actions::new();
        let mut core = lock(&self.shared.core);
        match self.work {
            Work::Connect => core.connecting -= 1,
            Work::Check(id) => {
                core.checking -= 1;
                core.stats.destroyed += 1;
                let reason = DiscardReason::CheckFailed;
                core.note(&mut act, |_| Event::Discarded { id, reason });
            }
        }
        act.freed += 1;
        core.aborted(&mut act);
        drop(core);
        self.shared.carry_out(act);
    }
}

async fn connect<M: Manager>(mut place: Place<M>) {
    let shared = Arc::clone(&place.shared);
    let started = shared.runtime.now();
    let limit = started.saturating_add(shared.policy.connect_timeout);
    let outcome = bounded(&shared, limit, async {
        let mut value = shared.manager.connect().await?;
        let keep = shared.hooks.after_connect.as_ref();
        let keep = keep.is_none_or(|hook| hook(&mut value));
        Ok::<_, M::Error>((value, keep))
    })
    .await;
    place.settled = true;
    match outcome {
        Some(Ok((value, keep))) => admit(&shared, value, keep, started),
        Some(Err(error)) => refuse(&shared, Some(Arc::new(error)), started),
        None => refuse(&shared, None, started),
    }
}

fn admit<M: Manager>(shared: &Shared<M>, value: M::Resource, keep: bool, started: Duration) {
    shared.step(|core, now, act| {
        let took = now.saturating_sub(started);
        let entry = core.connected(value, started, now);
        let id = entry.id;
        core.note(act, |_| Event::Created { id, took });
        if keep {
            core.place(entry, now, act);
        } else {
            core.discard(entry, DiscardReason::Broken, act);
            core.hook_refused(started, now, act);
        }
    });
}

fn refuse<M: Manager>(shared: &Shared<M>, error: Option<Source>, started: Duration) {
    shared.step(|core, now, act| core.connect_failed(error, started, now, act));
}

async fn check<M: Manager>(mut place: Place<M>, mut entry: Held<M::Resource>) {
    let shared = Arc::clone(&place.shared);
    let started = shared.runtime.now();
    let limit = started.saturating_add(shared.policy.check_timeout);
    let outcome = bounded(&shared, limit, shared.manager.check(&mut entry.value)).await;
    place.settled = true;
    let (passed, error) = match outcome {
        Some(Ok(())) => (true, None),
        Some(Err(error)) => (false, Some(Arc::new(error) as Source)),
        None => (false, None),
    };
    if passed {
        let took = shared.runtime.now().saturating_sub(started);
        shared.hooks.telemetry.checked(took);
    }
    shared.step(|core, now, act| {
        core.checked(passed, error);
        if passed {
            core.stats.check.record(now.saturating_sub(started));
            entry.checked = now;
            core.place(entry, now, act);
        } else {
            core.discard(entry, DiscardReason::CheckFailed, act);
        }
    });
}

/// Runs the manager's future until `limit`. `None` when the time was up or it panicked.
async fn bounded<M: Manager, R>(
    shared: &Shared<M>,
    limit: Duration,
    work: impl Future<Output = R>,
) -> Option<R> {
    let mut work = pin!(work);
    let mut sleep = shared.runtime.sleep_until(limit);
    std::future::poll_fn(move |cx| {
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
            Err(_) => return Poll::Ready(None),
            Ok(Poll::Ready(result)) => return Poll::Ready(Some(result)),
            Ok(Poll::Pending) => {}
        }
        sleep.as_mut().poll(cx).map(|()| None)
    })
    .await
}
