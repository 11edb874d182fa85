//! A simple pool, a counting semaphore with a queue, into which bugs can be planted.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mainspring_pool::{Runtime, Task};

use super::faults::{Ledger, Token};
use super::sim::Sim;
use super::storm::{Checkout, Lease, Subject};

/// What can be wrong with it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bug {
    None,
    /// A caller that leaves after it was woken does not pass the wake-up on.
    LostWakeUp,
    /// A caller that leaves after it was given a permit keeps it.
    LeakedPermit,
    /// One more is lent than there may be.
    AboveMax,
    /// Nobody looks at the deadline.
    NoDeadline,
    /// A resource that comes back stays alive beside the pool.
    LeakedResource,
}

impl Bug {
    pub(crate) const PLANTED: [(&str, Self); 5] = [
        ("lost-wake-up", Self::LostWakeUp),
        ("leaked-permit", Self::LeakedPermit),
        ("above-max", Self::AboveMax),
        ("no-deadline", Self::NoDeadline),
        ("leaked-resource", Self::LeakedResource),
    ];
}

/// A counting semaphore with a queue.
struct Simple {
    sim: Sim,
    max: usize,
    bug: Bug,
    ledger: Arc<Ledger>,
    state: Mutex<State>,
}

struct State {
    free: usize,
    queue: VecDeque<(u64, Waker)>,
    woken: Vec<u64>,
    next: u64,
}

struct Wait {
    simple: Arc<Simple>,
    id: Option<u64>,
    deadline: Task,
}

struct Permit {
    simple: Arc<Simple>,
    token: Option<Token>,
}

impl Simple {
    fn give_back(&self) {
        let mut state = self.state.lock().unwrap();
        state.free += 1;
        self.wake_one(&mut state);
    }

    fn wake_one(&self, state: &mut State) {
        if state.free > state.woken.len()
            && let Some((id, waker)) = state.queue.pop_front()
        {
            state.woken.push(id);
            waker.wake();
        }
    }
}

impl Future for Wait {
    type Output = Option<Permit>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Permit>> {
        let simple = Arc::clone(&self.simple);
        let mut state = simple.state.lock().unwrap();
        let woken = self.id.is_some_and(|id| state.woken.contains(&id));
        let free = state.free > state.woken.len() && state.queue.is_empty();
        if woken || (self.id.is_none() && free) {
            state.woken.retain(|id| Some(*id) != self.id);
            state.free -= 1;
            self.id = None;
            let token = Some(Token::new(&simple.ledger));
            drop(state);
            return Poll::Ready(Some(Permit { simple, token }));
        }
        let forever = simple.bug == Bug::NoDeadline;
        if !forever && self.deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        match self.id {
            None => {
                state.next += 1;
                let id = state.next;
                state.queue.push_back((id, cx.waker().clone()));
                self.id = Some(id);
            }
            Some(id) => {
                let queue = state.queue.iter_mut();
                queue
                    .filter(|(own, _)| *own == id)
                    .for_each(|(_, waker)| waker.clone_from(cx.waker()));
            }
        }
        Poll::Pending
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        let mut state = self.simple.state.lock().unwrap();
        state.queue.retain(|(other, _)| *other != id);
        if !state.woken.contains(&id) {
            return;
        }
        match self.simple.bug {
            Bug::LostWakeUp => state.woken.retain(|other| *other != id),
            Bug::LeakedPermit => {
                state.woken.retain(|other| *other != id);
                state.free -= 1;
                self.simple.wake_one(&mut state);
            }
            _ => {
                state.woken.retain(|other| *other != id);
                self.simple.wake_one(&mut state);
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.simple.bug == Bug::LeakedResource {
            std::mem::forget(self.token.take());
        }
        self.simple.give_back();
    }
}

impl Lease for Permit {
    fn finish(self: Box<Self>, _: &Sim) {}
}

pub(crate) struct Handle(Arc<Simple>);

impl Subject for Handle {
    fn get(&self, within: Duration) -> Checkout<'_> {
        let wait = Wait {
            simple: Arc::clone(&self.0),
            id: None,
            deadline: self.0.sim.sleep_until(self.0.sim.now() + within),
        };
        Box::pin(async move { wait.await.map(|permit| Box::new(permit) as Box<dyn Lease>) })
    }

    fn figures(&self) -> [usize; 5] {
        let state = self.0.state.lock().unwrap();
        let in_use = self.0.max.saturating_sub(state.free);
        [
            in_use + state.free,
            in_use,
            state.free,
            0,
            state.queue.len(),
        ]
    }

    fn max(&self) -> usize {
        self.0.max
    }

    fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.0.ledger)
    }
}

/// The simple pool with the bug, and as many resources as the seed says.
pub(crate) fn simple(sim: &Sim, bug: Bug) -> Handle {
    let max = 1 + sim.below(4) as usize;
    Handle(Arc::new(Simple {
        max,
        sim: sim.clone(),
        bug,
        ledger: Arc::default(),
        state: Mutex::new(State {
            free: max + usize::from(bug == Bug::AboveMax),
            queue: VecDeque::new(),
            woken: Vec::new(),
            next: 0,
        }),
    }))
}
