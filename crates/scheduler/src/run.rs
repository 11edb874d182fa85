//! A set of calls, and their outcomes as they come.

use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};

use futures_core::Stream;
use tokio::sync::mpsc;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::call::{Prepared, prepare};
use crate::driver::{BoxedWork, Driver, discard, refuse};
use crate::services::Services;
use crate::wake_once::WakeOnce;
use crate::{
    BoxFuture, CallError, CallErrorKind, Decision, Phase, Stop, TaskId, ToolCall, ToolOutcome,
    Toolbox,
};

type Verdict = Result<(), CallError>;

/// A call that is not submitted yet: it waits for an approval, or for a conflicting call before it that does.
struct Held {
    prepared: Prepared,
    gate: Option<BoxFuture<'static, Verdict>>,
    /// Why it ends before it is submitted: its deadline or its cancellation.
    stopped: BoxFuture<'static, Stop>,
}

impl Held {
    fn new(prepared: Prepared, question: Option<BoxFuture<'static, Result<(), String>>>) -> Self {
        Self {
            stopped: stopped(&prepared),
            gate: question.map(gate),
            prepared,
        }
    }

    /// Ends the call. Its question is somebody else's code to drop.
    fn refuse(self, error: CallError) {
        self.prepared.work.refuse(Phase::Authorise, error);
        discard(self.gate);
    }

    /// An answer, or that it is not worth waiting for any more. Ready without an answer when there is no question.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Verdict> {
        if let Poll::Ready(why) = self.stopped.as_mut().poll(cx) {
            return Poll::Ready(Err(CallError::stopped(Phase::Authorise, why)));
        }
        self.gate
            .as_mut()
            .map_or(Poll::Ready(Ok(())), |gate| gate.as_mut().poll(cx))
    }
}

/// The outcomes of a run as they come, one for every call. Dropping it cancels what is not over.
pub struct Outcomes {
    driver: Arc<Driver>,
    receiver: mpsc::UnboundedReceiver<ToolOutcome>,
    left: usize,
    ids: Vec<TaskId>,
    held: Vec<Held>,
    /// Tokens of calls that may still be queued.
    tokens: Vec<(TaskId, Pin<Box<WaitForCancellationFutureOwned>>)>,
    bell: Arc<Bell>,
}

/// Rings when a token is cancelled or new: only then are they asked, and not once for every outcome.
struct Bell {
    rung: AtomicBool,
    waiting: WakeOnce,
}

impl Bell {
    /// Whether it rang since the last time; from now on it wakes `cx`.
    fn answer(&self, cx: &Context<'_>) -> bool {
        self.waiting.register(cx);
        self.rung.swap(false, Ordering::AcqRel)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.waiting.wake();
    }
}

impl Outcomes {
    pub(crate) fn start(
        calls: Vec<ToolCall>,
        toolbox: &Toolbox,
        services: &Arc<Services>,
        driver: &Arc<Driver>,
    ) -> Self {
        let (reply, receiver) = mpsc::unbounded_channel();
        let mut outcomes = Self {
            driver: driver.clone(),
            receiver,
            left: calls.len(),
            ids: Vec::with_capacity(calls.len()),
            held: Vec::new(),
            tokens: Vec::new(),
            bell: Arc::new(Bell {
                rung: AtomicBool::new(true),
                waiting: WakeOnce::default(),
            }),
        };
        let mut ready: Vec<Prepared> = Vec::new();
        for (index, call) in calls.into_iter().enumerate() {
            let (id, name) = (call.id.clone(), call.name.clone());
            match prepare(call, index, toolbox, services, driver, &reply) {
                Ok(prepared) => outcomes.decide(prepared, &mut ready),
                Err(error) => {
                    services.counts.fail(error.phase);
                    let phase = error.phase;
                    let zero = std::time::Duration::ZERO;
                    let outcome = ToolOutcome {
                        index,
                        id,
                        tool: name,
                        result: Err(error),
                        phase,
                        queued: zero,
                        ran: zero,
                        attempts: 0,
                    };
                    let _ = reply.send(outcome);
                }
            }
        }
        outcomes.submit(ready);
        outcomes
    }

    fn decide(&mut self, mut prepared: Prepared, ready: &mut Vec<Prepared>) {
        match std::mem::replace(&mut prepared.decision, Decision::Allow) {
            Decision::Allow if !self.behind_held(&prepared, self.held.len()) => {
                ready.push(prepared)
            }
            Decision::Allow => self.held.push(Held::new(prepared, None)),
            Decision::Deny(why) => prepared.work.refuse(Phase::Authorise, denied(&why)),
            Decision::Ask(question) => self.held.push(Held::new(prepared, Some(question))),
        }
    }

    /// Whether one of the first `count` held calls conflicts.
    fn behind_held(&self, prepared: &Prepared, count: usize) -> bool {
        let access = &prepared.submission.access;
        self.held[..count]
            .iter()
            .any(|held| held.prepared.submission.access.conflicts_with(access))
    }

    fn submit(&mut self, ready: Vec<Prepared>) {
        self.bell.rung.store(true, Ordering::Release);
        let mut tokens: Vec<_> = ready
            .iter()
            .map(|prepared| prepared.work.watched())
            .collect();
        let (mut submissions, mut works): (Vec<_>, Vec<BoxedWork>) = ready
            .into_iter()
            .map(|prepared| (prepared.submission, Box::pin(prepared.work) as BoxedWork))
            .unzip();
        let mut taken = Vec::with_capacity(works.len());
        let refused = self
            .driver
            .submit(&mut submissions, &mut works, |position, id| {
                taken.push((position, id));
            });
        for (position, id) in taken {
            self.ids.push(id);
            let token = tokens[position].take();
            self.tokens.extend(token.map(|token| (id, token)));
        }
        for (_, error, work) in refused {
            refuse(work, error);
        }
    }

    /// Asks the gates, and submits what no longer waits.
    fn poll_held(&mut self, cx: &mut Context<'_>) {
        let mut position = 0;
        while position < self.held.len() {
            let held = &mut self.held[position];
            match held.poll(cx) {
                Poll::Pending => position += 1,
                Poll::Ready(Ok(())) if held.gate.is_some() => discard(held.gate.take()),
                Poll::Ready(Err(error)) => {
                    self.held.remove(position).refuse(error);
                    // Those behind it may be free now.
                    position = 0;
                }
                Poll::Ready(Ok(()))
                    if self.behind_held(&self.held[position].prepared, position) =>
                {
                    position += 1;
                }
                Poll::Ready(Ok(())) => {
                    let held = self.held.remove(position);
                    self.submit(vec![held.prepared]);
                    position = 0;
                }
            }
        }
    }

    fn poll_tokens(&mut self, cx: &Context<'_>) {
        if !self.bell.answer(cx) {
            return;
        }
        let bell = Waker::from(self.bell.clone());
        let mut cx = Context::from_waker(&bell);
        let mut cancelled = Vec::new();
        self.tokens.retain_mut(|(id, token)| {
            let ready = token.as_mut().poll(&mut cx).is_ready();
            if ready {
                cancelled.push(*id);
            }
            !ready
        });
        if !cancelled.is_empty() {
            self.driver.cancel(&cancelled);
        }
    }

    /// The next outcome, in the order in which calls end; `None` after the last.
    pub async fn next(&mut self) -> Option<ToolOutcome> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Stops every call that is not over; their outcomes still come.
    pub fn cancel(&mut self) {
        for held in self.held.drain(..) {
            held.refuse(CallError::stopped(Phase::Authorise, Stop::Cancelled));
        }
        self.driver.cancel(&self.ids);
    }

    /// How many outcomes are still to come.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.left
    }

    pub(crate) async fn in_call_order(mut self) -> Vec<ToolOutcome> {
        let mut outcomes = Vec::with_capacity(self.left);
        while let Some(outcome) = self.next().await {
            outcomes.push(outcome);
        }
        outcomes.sort_by_key(|outcome| outcome.index);
        outcomes
    }
}

impl Stream for Outcomes {
    type Item = ToolOutcome;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ToolOutcome>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        if !self.held.is_empty() {
            self.poll_held(cx);
        }
        if !self.tokens.is_empty() {
            self.poll_tokens(cx);
        }
        let outcome = ready!(self.receiver.poll_recv(cx));
        self.left = if outcome.is_some() { self.left - 1 } else { 0 };
        Poll::Ready(outcome)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl Drop for Outcomes {
    fn drop(&mut self) {
        if self.left > 0 {
            self.cancel();
        }
    }
}

impl fmt::Debug for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcomes")
            .field("remaining", &self.left)
            .finish_non_exhaustive()
    }
}

fn denied(why: &str) -> CallError {
    CallError::new(
        Phase::Authorise,
        CallErrorKind::Denied,
        format!("the call was not allowed: {why}"),
    )
}

/// The answer; a question that panics says no.
fn gate(mut question: BoxFuture<'static, Result<(), String>>) -> BoxFuture<'static, Verdict> {
    Box::pin(poll_fn(move |cx| {
        let asked = catch_unwind(AssertUnwindSafe(|| question.as_mut().poll(cx)));
        let answer = match asked {
            Ok(answer) => ready!(answer),
            Err(_) => Err("the question panicked".to_owned()),
        };
        Poll::Ready(answer.map_err(|why| denied(&why)))
    }))
}

/// Resolves with the call's deadline or cancellation.
fn stopped(prepared: &Prepared) -> BoxFuture<'static, Stop> {
    let left = prepared.work.deadline_left(&prepared.submission);
    let cancelled = prepared.work.cancellation().clone();
    Box::pin(async move {
        let deadline = async move {
            match left {
                Some(left) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        };
        match cancelled.run_until_cancelled(deadline).await {
            None => Stop::Cancelled,
            Some(()) => Stop::Deadline,
        }
    })
}
