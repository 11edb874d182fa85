//! One tool call as work for the driver: phases four to six.

mod admit;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

pub(crate) use admit::{Prepared, prepare};

use crate::driver::{Driver, deliver};
use crate::hold::Holds;
use crate::services::Services;
use crate::task::{Flow, Halt, Work};
use crate::tool::ToolContext;
use crate::toolbox::Registered;
use crate::{
    Budget, CallError, CallErrorKind, Cost, Error, Phase, RateReservation, Reservation, Stop,
    Submission, ToolError, ToolErrorKind, ToolOutcome, ToolOutput, Verdict,
};

type Attempt = Pin<Box<dyn Future<Output = Result<ToolOutput, ToolError>> + Send>>;

pub(crate) struct CallWork {
    services: Arc<Services>,
    driver: Arc<Driver>,
    registered: Registered,
    args: Arc<Value>,
    context: ToolContext,
    endpoint: Option<String>,
    cost: Cost,
    budget: Option<Budget>,
    submitted: Duration,
    first_start: Option<Duration>,
    phase: Phase,
    cancelled: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    attempt: Option<Attempt>,
    /// What the attempt came to, while something of it still goes on.
    answer: Option<Result<ToolOutput, ToolError>>,
    money: Option<Reservation>,
    rate: Option<RateReservation>,
    result: Option<Result<ToolOutput, CallError>>,
    ended: Duration,
    /// Nothing once the outcome is sent.
    reply: Option<mpsc::UnboundedSender<ToolOutcome>>,
}

/// What to do with the result of one run.
enum Next {
    End,
    Again(Duration),
}

impl CallWork {
    /// Resolves when the caller's own token is cancelled.
    pub(crate) fn watched(&self) -> Option<Pin<Box<WaitForCancellationFutureOwned>>> {
        let watched = || Box::pin(self.cancellation().clone().cancelled_owned());
        self.cancelled.is_some().then(watched)
    }

    pub(crate) fn deadline_left(&self, submission: &Submission) -> Option<Duration> {
        submission
            .deadline
            .map(|at| at.saturating_sub(self.submitted))
    }

    pub(crate) fn cancellation(&self) -> &CancellationToken {
        &self.context.inner.cancellation
    }

    /// Ends a call that was never submitted.
    pub(crate) fn refuse(mut self, phase: Phase, error: CallError) {
        self.phase = phase;
        self.end(Err(error));
        deliver(Box::pin(self));
    }

    /// Phase four. Something taken here is given back by dropping it.
    fn reserve(&mut self) -> Result<Option<Duration>, CallError> {
        let now = self.driver.now();
        if self.cancellation().is_cancelled() {
            return Err(CallError::stopped(self.phase, Stop::Cancelled));
        }
        let first = *self.first_start.get_or_insert_with(|| {
            self.services.counts.enter(Phase::Reserve);
            now
        });
        if let Some(opens) = self
            .endpoint
            .as_deref()
            .and_then(|endpoint| self.services.cooldowns.closed_until(endpoint, now))
        {
            if opens.saturating_sub(first) > self.services.retry.within {
                return Err(no_room(Error::RateLimited {
                    retry_after: opens - now,
                }));
            }
            return Ok(Some(
                opens.saturating_add(self.services.spread(opens - now)),
            ));
        }
        if self.rate.is_none()
            && let Some(limiter) = self
                .endpoint
                .as_ref()
                .and_then(|e| self.services.rates.get(e))
        {
            let units = self.cost.tokens.max(1);
            self.rate = Some(limiter.reserve(units, now).map_err(no_room)?);
        }
        if let Some(at) = self.rate.as_ref().map(RateReservation::ready_at)
            && at > now
        {
            return Ok(Some(at));
        }
        if let Some(budget) = &self.budget {
            self.money = Some(budget.reserve(self.cost.money).map_err(no_room)?);
        }
        Ok(None)
    }

    /// Phase five begins.
    fn start(&mut self) {
        self.phase = Phase::Execute;
        self.context.attempt += 1;
        if self.context.attempt == 1 {
            self.services.counts.enter(Phase::Execute);
        } else {
            self.services.counts.retry();
        }
        let tool = self.registered.tool.clone();
        let (args, context) = (self.args.clone(), self.context.clone());
        self.attempt = Some(Box::pin(async move { tool.call(&args, &context).await }));
    }

    /// One run returned.
    fn returned(&mut self, result: Result<ToolOutput, ToolError>) -> Next {
        self.attempt = None;
        let now = self.driver.now();
        self.book(&result);
        match result {
            Ok(output) => {
                if let Some(endpoint) = &self.endpoint {
                    self.services.cooldowns.answered(endpoint, now);
                }
                let checked = self.check(output);
                self.end(checked);
                Next::End
            }
            Err(error) => self.failed(error, now),
        }
    }

    /// Settles what the run was worth.
    fn book(&mut self, result: &Result<ToolOutput, ToolError>) {
        let usage = match result {
            Ok(output) => Some(output.usage.unwrap_or(self.cost)),
            Err(error) => error.usage,
        };
        if let Some(rate) = self.rate.take() {
            rate.settle(usage.unwrap_or(self.cost).tokens.max(1));
        }
        if let Some(money) = self.money.take() {
            money.settle(usage.map_or(0, |usage| usage.money));
        }
    }

    fn failed(&mut self, error: ToolError, now: Duration) -> Next {
        let after = match error.kind {
            ToolErrorKind::RateLimited(after) => {
                let after = after.map(|after| after.delay((self.services.wall_clock)()));
                match &self.endpoint {
                    Some(endpoint) => {
                        Some(self.services.cooldowns.refused(endpoint, now, after) - now)
                    }
                    None => after,
                }
            }
            _ => None,
        };
        let delay = match error.kind {
            ToolErrorKind::Permanent => None,
            _ => {
                let elapsed = now.saturating_sub(self.first_start.unwrap_or(now));
                self.services.retry.delay(
                    self.context.attempt,
                    elapsed,
                    after,
                    self.services.random(),
                )
            }
        };
        if let Some(delay) = delay {
            self.phase = Phase::Reserve;
            return Next::Again(now.saturating_add(delay));
        }
        let runs = self.context.attempt;
        let message = if runs > 1 {
            format!("{error} (after {runs} runs)")
        } else {
            error.to_string()
        };
        self.end(Err(CallError::new(
            Phase::Execute,
            CallErrorKind::Tool(error.kind),
            message,
        )));
        Next::End
    }

    /// Phase six.
    fn check(&mut self, output: ToolOutput) -> Result<ToolOutput, CallError> {
        self.phase = Phase::Check;
        self.services.counts.enter(Phase::Check);
        let most = self.services.max_output;
        if let Some(size) = size_above(&output.content, most) {
            let message =
                format!("the result has {size} bytes, at most {most} are allowed; ask for less");
            return Err(CallError::new(
                Phase::Check,
                CallErrorKind::Oversized,
                message,
            ));
        }
        if let Some(schema) = &self.registered.output {
            schema.check(&output.content).map_err(|what| {
                let message = format!("the tool's result does not fit its own schema: {what}");
                CallError::new(Phase::Check, CallErrorKind::InvalidOutput, message)
            })?;
        }
        Ok(output)
    }

    /// Gives everything back and keeps the result. What the tool left goes last: it may panic when it is dropped.
    fn end(&mut self, result: Result<ToolOutput, CallError>) {
        let left = (self.attempt.take(), self.answer.take());
        if let (_, Some(answer)) = &left {
            // It did its work before it was stopped.
            self.book(answer);
        }
        self.money = None;
        self.rate = None;
        self.cancelled = None;
        if self.result.is_none() {
            self.ended = self.driver.now();
            if result.is_err() {
                self.services.counts.fail(self.phase);
            }
            self.result = Some(result);
        }
        drop(left);
    }

    fn holds(&self) -> &Holds {
        &self.context.inner.holds
    }

    /// Has its result: over as soon as nothing of it goes on.
    fn over(&self, cx: &Context<'_>) -> Poll<Flow> {
        let verdict = self.verdict();
        self.holds().poll_none(cx).map(|()| Flow::Done(verdict))
    }

    /// Sends the outcome, if there is one and it was not sent.
    fn send(&mut self) {
        let Some(result) = self.result.take() else {
            return;
        };
        let Some(reply) = self.reply.take() else {
            return;
        };
        let first = self.first_start.unwrap_or(self.ended);
        let inner = &self.context.inner;
        let outcome = ToolOutcome {
            index: inner.index,
            id: inner.id.clone(),
            tool: inner.tool.clone(),
            result,
            phase: self.phase,
            queued: first.saturating_sub(self.submitted),
            ran: self.ended.saturating_sub(first),
            attempts: self.context.attempt,
        };
        // Nobody may be waiting any more.
        let _ = reply.send(outcome);
    }

    fn verdict(&self) -> Verdict {
        match &self.result {
            Some(Ok(_)) => Verdict::Success,
            Some(Err(error)) if matches!(error.kind, CallErrorKind::Stopped(_)) => {
                Verdict::Cancelled
            }
            _ => Verdict::Failure,
        }
    }
}

impl Work for CallWork {
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Flow> {
        let this = &mut *self;
        if this.result.is_some() {
            // Something of it still went on when it ended.
            return this.over(cx);
        }
        if this.attempt.is_none() {
            match this.reserve() {
                Ok(None) => this.start(),
                Ok(Some(at)) => return Poll::Ready(Flow::Again(at)),
                Err(error) => {
                    this.end(Err(error));
                    return Poll::Ready(Flow::Done(this.verdict()));
                }
            }
        }
        let cancelled = this
            .cancelled
            .as_mut()
            .is_some_and(|token| token.as_mut().poll(cx).is_ready());
        if cancelled {
            this.end(Err(CallError::stopped(this.phase, Stop::Cancelled)));
            return this.over(cx);
        }
        let result = match (this.answer.take(), this.attempt.as_mut()) {
            (Some(result), _) => result,
            (None, Some(attempt)) => ready!(attempt.as_mut().poll(cx)),
            (None, None) => return Poll::Pending,
        };
        if this.holds().poll_none(cx).is_pending() {
            this.answer = Some(result);
            return Poll::Pending;
        }
        Poll::Ready(match this.returned(result) {
            Next::End => Flow::Done(this.verdict()),
            Next::Again(at) => Flow::Again(at),
        })
    }

    fn halt(mut self: Pin<&mut Self>, why: Halt) {
        self.context.inner.cancellation.cancel();
        let phase = self.phase;
        self.end(Err(match why {
            Halt::Stop(why) => CallError::stopped(phase, why),
            Halt::Refused(error) => no_room(error),
            Halt::Panic(message) => CallError::new(
                phase,
                CallErrorKind::Panicked,
                format!("the tool panicked: {message}"),
            ),
        }));
    }

    fn settle(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.holds().poll_none(cx)
    }

    fn deliver(mut self: Pin<&mut Self>) {
        self.send();
    }
}

impl Drop for CallWork {
    /// However a call vanishes, it has an outcome.
    fn drop(&mut self) {
        if self.reply.is_some() {
            let closed = CallError::stopped(self.phase, Stop::Closed);
            self.result.get_or_insert(Err(closed));
            self.send();
        }
    }
}

fn no_room(error: Error) -> CallError {
    let message = error.to_string();
    CallError::new(Phase::Reserve, CallErrorKind::NoRoom(error), message)
}

/// The size of a result in bytes when it is above `most`: a text's length, or that of the JSON.
fn size_above(content: &Value, most: usize) -> Option<usize> {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let size = match content {
        Value::String(text) => text.len(),
        other => {
            let mut count = Count(0);
            match serde_json::to_writer(&mut count, other) {
                Ok(()) => count.0,
                Err(_) => usize::MAX,
            }
        }
    };
    (size > most).then_some(size)
}
