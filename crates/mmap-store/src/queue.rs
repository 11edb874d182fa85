//! Group commit: concurrent writers queue up, one of them writes for all.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
#[cfg(not(shuttle))]
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

#[cfg(shuttle)]
use shuttle::sync::{Condvar, Mutex};

use crate::batch::Request;
use crate::error::{Error, Result};

/// A group takes no more requests once it holds this many bytes.
const GROUP_BYTES: usize = 8 << 20;
/// The longest that a leader waits for the company it had last time.
#[cfg(not(shuttle))]
const GATHER: Duration = Duration::from_micros(40);
/// Whoever waits for a group that is soon done watches for it instead of sleeping: at most this long,
/// and only where the last one was done within it. To be woken takes longer than to look.
const SOON: Duration = Duration::from_micros(250);
/// Where more than these wait, the others sleep: a crowd that watches has no processor to itself.
const WATCHERS: usize = 16;

pub(crate) fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The queue's own locks, which a model checker stands in for.
#[cfg(not(shuttle))]
use lock as hold;

#[cfg(shuttle)]
fn hold<T>(mutex: &Mutex<T>) -> shuttle::sync::MutexGuard<'_, T> {
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
    /// The state changed. Read without its lock, by who then takes it.
    is_called: AtomicBool,
}

impl Ticket {
    fn new(request: Request) -> Self {
        Self {
            bytes: request.frames.len(),
            request: Mutex::new(Some(request)),
            state: Mutex::new(State::Waiting),
            changed: Condvar::new(),
            is_called: AtomicBool::new(false),
        }
    }

    pub(crate) fn take(&self) -> Option<Request> {
        hold(&self.request).take()
    }

    pub(crate) fn finish(&self, result: Result<bool>) {
        *hold(&self.state) = State::Done(result);
        self.call();
    }

    fn lead(&self) {
        *hold(&self.state) = State::Leads;
        self.call();
    }

    fn call(&self) {
        self.is_called.store(true, Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// Looks for a change for a while, leaving the processor to whoever wants it.
    #[cfg(not(shuttle))]
    fn watch(&self) {
        let start = Instant::now();
        while !self.is_called.load(Ordering::Relaxed) && start.elapsed() < SOON {
            std::thread::yield_now();
        }
    }

    /// There is no time in a model.
    #[cfg(shuttle)]
    fn watch(&self) {}

    /// The result, or `None` when this ticket's owner is to lead.
    fn wait(&self) -> Option<Result<bool>> {
        let mut state = hold(&self.state);
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
        matches!(&*hold(&self.state), State::Done(_))
    }
}

#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<Arc<Ticket>>,
    led: bool,
    last_group: usize,
    /// The last group had company, and was done soon.
    is_brisk: bool,
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
        let (leads, is_brisk) = {
            let mut line = hold(&self.line);
            line.waiting.push_back(Arc::clone(&ticket));
            let is_brisk = line.is_brisk && line.waiting.len() <= WATCHERS;
            (!std::mem::replace(&mut line.led, true), is_brisk)
        };
        if !leads {
            if is_brisk {
                ticket.watch();
            }
            if let Some(result) = ticket.wait() {
                return result;
            }
        }
        if gather {
            self.gather();
        }
        let group = self.take_group();
        let pass_on = PassOn {
            queue: self,
            group: &group,
        };
        let begun = Instant::now();
        commit(&group);
        let is_brisk = gather && group.len() > 1 && begun.elapsed() < SOON;
        hold(&self.line).is_brisk = is_brisk;
        drop(pass_on);
        ticket.wait().unwrap_or(Err(Error::Closed))
    }

    /// Waits for as many writers as came last time, if there was company.
    fn gather(&self) {
        let expected = hold(&self.line).last_group;
        if expected < 2 {
            return;
        }
        self.wait_for(expected);
    }

    #[cfg(not(shuttle))]
    fn wait_for(&self, expected: usize) {
        let start = Instant::now();
        while hold(&self.line).waiting.len() < expected && start.elapsed() < GATHER {
            std::thread::yield_now();
        }
    }

    /// There is no time in a model: some turns stand for it.
    #[cfg(shuttle)]
    fn wait_for(&self, expected: usize) {
        for _ in 0..3 {
            if hold(&self.line).waiting.len() < expected {
                shuttle::thread::yield_now();
            }
        }
    }

    fn take_group(&self) -> Vec<Arc<Ticket>> {
        let mut line = hold(&self.line);
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
        let mut line = hold(&self.queue.line);
        match line.waiting.front() {
            Some(next) => next.lead(),
            None => line.led = false,
        }
    }
}

/// Run with `RUSTFLAGS="--cfg shuttle" cargo test -p mainspring-mmap-store --lib queue`.
#[cfg(all(test, shuttle))]
mod tests {
    use super::*;
    use crate::batch::Condition;
    use crate::packing::Packing;
    use crate::record::Kind;

    fn request(id: u8) -> Request {
        let packing = Packing {
            store_id: 1,
            above: None,
        };
        let mut request = Request::new(Condition::Always);
        let pushed = request.push(packing, Kind::Put, &[id], &[id]);
        pushed.expect("the key is short");
        request
    }

    /// Whatever the interleaving: each request is committed once, by one leader at a time, and each
    /// caller is told what became of its own.
    #[test]
    fn every_request_is_committed_once_and_its_caller_is_told() {
        shuttle::check_random(
            || {
                let queue = Arc::new(Queue::default());
                let log = Arc::new(Mutex::new(Vec::new()));
                let leading = Arc::new(Mutex::new(()));
                let writers: Vec<_> = (0..4_u8)
                    .map(|id| {
                        let shared = (queue.clone(), log.clone(), leading.clone());
                        shuttle::thread::spawn(move || {
                            let (queue, log, leading) = shared;
                            for turn in 0..2_u8 {
                                let own = id * 2 + turn;
                                let told = queue.submit(request(own), true, |group| {
                                    let alone = leading.try_lock();
                                    assert!(alone.is_ok(), "two leaders");
                                    for ticket in group {
                                        let taken = ticket.take().expect("taken once");
                                        let key = taken.frames[crate::record::HEADER];
                                        hold(&log).push(key);
                                        shuttle::thread::yield_now();
                                        ticket.finish(Ok(key % 2 == 0));
                                    }
                                });
                                assert_eq!(told.ok(), Some(own % 2 == 0));
                                assert!(hold(&log).contains(&own), "told before it was done");
                            }
                        })
                    })
                    .collect();
                writers
                    .into_iter()
                    .for_each(|w| w.join().expect("a writer"));
                let mut log = hold(&log).clone();
                log.sort_unstable();
                assert_eq!(log, (0..8).collect::<Vec<u8>>());
            },
            2_000,
        );
    }

    /// A leader that panics leaves nobody waiting.
    #[test]
    fn who_follows_a_leader_that_did_nothing_is_told() {
        shuttle::check_random(
            || {
                let queue = Arc::new(Queue::default());
                let writers: Vec<_> = (0..3_u8)
                    .map(|id| {
                        let queue = queue.clone();
                        // A commit that gives up finishes nobody's ticket.
                        shuttle::thread::spawn(move || queue.submit(request(id), false, |_| {}))
                    })
                    .collect();
                for writer in writers {
                    assert!(matches!(writer.join(), Ok(Err(Error::Closed))));
                }
            },
            2_000,
        );
    }
}
