//! The future of a checkout.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::core::{Answer, Found};
use super::entry::Held;
use super::event::Event;
use super::guard::Pooled;
use super::manager::Manager;
use super::queue::Waiter;
use super::shared::Shared;
use crate::error::Error;
use crate::sync::lock;

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
        let now = self.shared.runtime.now();
        let mut at_front = false;
        let anybodys = self.client.is_none();
        let fresh = anybodys.then(|| lock(&self.shared.core).take_fresh(now));
        if let Some(entry) = fresh.flatten() {
            match self.vet(entry) {
                Some(pooled) => return Poll::Ready(Ok(pooled)),
                None => at_front = true,
            }
        }
        self.start_slowly(now, at_front, cx)
    }

    #[cold]
    fn start_slowly(
        &mut self,
        now: Duration,
        mut at_front: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Pooled<'a, M>, Error>> {
        let shared = self.shared;
        loop {
            let waiter = self.waiter(now, cx);
            let client = self.client;
            let found = shared.step(|core, now, act| {
                let found = core.checkout(now, client, waiter, at_front, act);
                if let Ok(Found::Queued(at)) = found {
                    self.state = State::Waiting { at, since: now };
                }
                found
            });
            match found {
                Ok(Found::Ready(entry)) => match self.vet(entry) {
                    Some(pooled) => return Poll::Ready(Ok(pooled)),
                    // It lost its turn through no fault of its own.
                    None => at_front = true,
                },
                Ok(Found::Queued(_)) => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
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
    fn vet(&self, entry: Held<M::Resource>) -> Option<Pooled<'a, M>> {
        let mut pooled = self.hand_out(entry);
        if pooled.is_broken() {
            pooled.discard();
            return None;
        }
        Some(pooled)
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
                if answer.is_ok() {
                    core.waited(since, now);
                }
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
