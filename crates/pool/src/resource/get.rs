//! The future of a checkout.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::core::{Answer, Core, Found};
use super::entry::Held;
use super::event::{DiscardReason, Event};
use super::guard::Pooled;
use super::manager::Manager;
use super::queue::Waiter;
use super::shared::Shared;
use crate::error::Error;
use crate::sync::{MutexGuard, lock};

type Locked<'a, M> = MutexGuard<'a, Core<<M as Manager>::Resource>>;

/// A checkout in progress; see [`ResourcePool::get`](crate::ResourcePool::get).
///
/// It takes its place in the queue when it is first polled, and gives it up when it is dropped; a
/// resource that it had been given by then goes to the next caller.
#[must_use = "futures do nothing unless they are awaited"]
pub struct Get<'a, M: Manager> {
    shared: &'a Arc<Shared<M>>,
    within: Option<Duration>,
    client: Option<u64>,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    New,
    Waiting { at: usize, since: Duration },
    Done,
}

impl<'a, M: Manager> Get<'a, M> {
    pub(crate) fn new(shared: &'a Arc<Shared<M>>) -> Self {
        Self {
            shared,
            within: None,
            client: None,
            state: State::New,
        }
    }

    /// Another deadline for this checkout than the pool's acquire timeout, counted from the first poll.
    pub fn within(mut self, time: Duration) -> Self {
        self.within = Some(time);
        self
    }

    /// Prefers an idle resource that this client used last, for caches on its other side. O(idle).
    pub fn for_client(mut self, client: u64) -> Self {
        self.client = Some(client);
        self
    }

    /// The common case, an idle resource that can be lent as it is; everything else is slow.
    #[inline]
    fn start(&mut self, cx: &mut Context<'_>) -> Poll<Result<Pooled<'a, M>, Error>> {
        let shared = self.shared;
        let now = shared.runtime.now();
        let mut core = lock(&shared.core);
        let anybodys = self.client.is_none();
        let Some(entry) = anybodys.then(|| core.take_fresh(now)).flatten() else {
            return self.start_slowly(core, now, cx);
        };
        drop(core);
        match self.vet(entry) {
            Some(pooled) => Poll::Ready(Ok(pooled)),
            None => self.start_again(now, cx),
        }
    }

    #[cold]
    fn start_slowly(
        &mut self,
        core: Locked<'_, M>,
        now: Duration,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Pooled<'a, M>, Error>> {
        match self.check_out(core, now, false, cx) {
            Ok(Found::Ready(entry)) => match self.vet(entry) {
                Some(pooled) => Poll::Ready(Ok(pooled)),
                None => self.start_again(now, cx),
            },
            Ok(Found::Queued(_)) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// What it was given is broken: it lost its turn through no fault of its own.
    #[cold]
    fn start_again(
        &mut self,
        now: Duration,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Pooled<'a, M>, Error>> {
        loop {
            let core = lock(&self.shared.core);
            match self.check_out(core, now, true, cx) {
                Ok(Found::Ready(entry)) => {
                    if let Some(pooled) = self.vet(entry) {
                        return Poll::Ready(Ok(pooled));
                    }
                }
                Ok(Found::Queued(_)) => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn check_out(
        &mut self,
        mut core: Locked<'_, M>,
        now: Duration,
        at_front: bool,
        cx: &mut Context<'_>,
    ) -> Result<Found<M::Resource>, Error> {
        let shared = self.shared;
        let (waiter, client) = (self.waiter(now, cx), self.client);
        if !at_front && core.can_only_wait(&waiter) {
            let at = core.waiters.push(waiter, false);
            drop(core);
            self.state = State::Waiting { at, since: now };
            shared.hooks.telemetry.queued();
            return Ok(Found::Queued(at));
        }
        let found = shared.step_in(core, now, |core, now, act| {
            let found = core.checkout(now, client, waiter, at_front, act);
            if let Ok(Found::Queued(at)) = found {
                self.state = State::Waiting { at, since: now };
            }
            found
        });
        match &found {
            Ok(Found::Queued(_)) => shared.hooks.telemetry.queued(),
            Err(Error::QueueFull { .. }) => shared.hooks.telemetry.refused(),
            _ => {}
        }
        found
    }

    fn waiter(&self, now: Duration, cx: &mut Context<'_>) -> Waiter {
        let policy = &self.shared.policy;
        let deadline = now.saturating_add(self.within.unwrap_or(policy.acquire_timeout));
        Waiter {
            waker: Some(cx.waker().clone()),
            since: now,
            wait_until: now.saturating_add(policy.wait_timeout),
            deadline,
        }
    }

    /// An idle resource that turns out to be broken is not handed out.
    pub(crate) fn vet(&self, mut entry: Held<M::Resource>) -> Option<Pooled<'a, M>> {
        if self.shared.finds_broken(&mut entry) {
            self.shared.discard_leased(entry, DiscardReason::Broken);
            return None;
        }
        Some(self.hand_out(entry))
    }

    fn hand_out(&self, mut entry: Held<M::Resource>) -> Pooled<'a, M> {
        entry.client = self.client.or(entry.client);
        self.shared.report(|| Event::Acquired {
            id: entry.id,
            reused: entry.uses > 1,
        });
        Pooled::new(entry, self.shared)
    }

    fn fetch(
        &mut self,
        at: usize,
        since: Duration,
        cx: &mut Context<'_>,
    ) -> Poll<Answer<M::Resource>> {
        let shared = self.shared;
        let now = shared.runtime.now();
        let mut core = lock(&shared.core);
        match core.waiters.take(at) {
            Ok(answer) => {
                self.state = State::Done;
                let served = answer.is_ok();
                if served {
                    core.waited(since, now);
                }
                drop(core);
                let waited = served.then(|| now.saturating_sub(since));
                shared.hooks.telemetry.left(waited);
                return Poll::Ready(answer);
            }
            Err(Some(waiter)) => match &mut waiter.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                empty => *empty = Some(cx.waker().clone()),
            },
            Err(None) => {}
        }
        let unsettled = core.unsettled;
        drop(core);
        if unsettled {
            shared.step(|_, _, _| ());
        }
        Poll::Pending
    }
}

impl<'a, M: Manager> Future for Get<'a, M> {
    type Output = Result<Pooled<'a, M>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        match this.state {
            State::New => {
                this.state = State::Done;
                this.start(cx)
            }
            State::Waiting { at, since } => this
                .fetch(at, since, cx)
                .map(|answer| answer.map(|entry| this.hand_out(entry))),
            State::Done => Poll::Pending,
        }
    }
}

impl<M: Manager> Drop for Get<'_, M> {
    fn drop(&mut self) {
        if let State::Waiting { at, .. } = self.state {
            self.shared
                .step(|core, now, act| core.abandon(at, now, act));
            self.shared.hooks.telemetry.left(None);
        }
    }
}

impl<M: Manager> fmt::Debug for Get<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Get")
            .field("within", &self.within)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
