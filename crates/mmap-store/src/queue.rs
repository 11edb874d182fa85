//! Group commit: concurrent writers queue up, one of them writes for all.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::batch::Request;
use crate::error::{Error, Result};

/// A group takes no more requests once it holds this many bytes.
const GROUP_BYTES: usize = 8 << 20;
/// The longest that a leader waits for the company it had last time.
const GATHER: Duration = Duration::from_micros(40);

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
enum State {
    Waiting,
    /// The previous leader passed its role on.
    Leads,
    Done(Result<bool>),
}

#[derive(Debug)]
pub(crate) struct Ticket {
    request: Mutex<Option<Request>>,
    bytes: usize,
    state: Mutex<State>,
    changed: Condvar,
}

impl Ticket {
    fn new(request: Request) -> Self {
        Self {
            bytes: request.frames.len(),
            request: Mutex::new(Some(request)),
            state: Mutex::new(State::Waiting),
            changed: Condvar::new(),
        }
    }

    pub(crate) fn take(&self) -> Option<Request> {
        lock(&self.request).take()
    }

    pub(crate) fn finish(&self, result: Result<bool>) {
        *lock(&self.state) = State::Done(result);
        self.changed.notify_one();
    }

    fn lead(&self) {
        *lock(&self.state) = State::Leads;
        self.changed.notify_one();
    }

    /// The result, or `None` when this ticket's owner is to lead.
    fn wait(&self) -> Option<Result<bool>> {
        let mut state = lock(&self.state);
        loop {
            match &*state {
                State::Waiting => {}
                State::Leads => return None,
                State::Done(result) => return Some(result.clone()),
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn is_done(&self) -> bool {
        matches!(&*lock(&self.state), State::Done(_))
    }
}

#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<Arc<Ticket>>,
    led: bool,
    last_group: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    line: Mutex<Line>,
}

impl Queue {
    /// Has `request` committed, by this thread or by another. `commit` must finish every ticket of
    /// the group it is given.
    pub(crate) fn submit(
        &self,
        request: Request,
        gather: bool,
        commit: impl FnOnce(&[Arc<Ticket>]),
    ) -> Result<bool> {
        let ticket = Arc::new(Ticket::new(request));
        let leads = {
            let mut line = lock(&self.line);
            line.waiting.push_back(Arc::clone(&ticket));
            !std::mem::replace(&mut line.led, true)
        };
        if !leads && let Some(result) = ticket.wait() {
            return result;
        }
        if gather {
            self.gather();
        }
        let group = self.take_group();
        let pass_on = PassOn {
            queue: self,
            group: &group,
        };
        commit(&group);
        drop(pass_on);
        ticket.wait().unwrap_or(Err(Error::Closed))
    }

    /// Waits for as many writers as came last time, if there was company.
    fn gather(&self) {
        let expected = lock(&self.line).last_group;
        if expected < 2 {
            return;
        }
        let start = Instant::now();
        while lock(&self.line).waiting.len() < expected && start.elapsed() < GATHER {
            std::thread::yield_now();
        }
    }

    fn take_group(&self) -> Vec<Arc<Ticket>> {
        let mut line = lock(&self.line);
        let mut bytes = 0;
        let mut group = Vec::new();
        while let Some(next) = line.waiting.front() {
            bytes += next.bytes;
            if !group.is_empty() && bytes > GROUP_BYTES {
                break;
            }
            group.extend(line.waiting.pop_front());
        }
        line.last_group = group.len();
        group
    }
}

/// Ends a leader's term, also when it panicked: nobody is left waiting.
struct PassOn<'a> {
    queue: &'a Queue,
    group: &'a [Arc<Ticket>],
}

impl Drop for PassOn<'_> {
    fn drop(&mut self) {
        for ticket in self.group {
            if !ticket.is_done() {
                ticket.finish(Err(Error::Closed));
            }
        }
        let mut line = lock(&self.queue.line);
        match line.waiting.front() {
            Some(next) => next.lead(),
            None => line.led = false,
        }
    }
}
