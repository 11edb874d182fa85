//! The storm must find bugs that are planted in a simple pool, and none in the simple pool itself.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mainspring_pool::{Runtime, Task};

use crate::faults::{Ledger, Token};
use crate::sim::Sim;
use crate::storm::{Checkout, Lease, Subject, blow, storm};

#[derive(Clone, Copy, PartialEq)]
enum Bug {
    None,
    /// A caller that leaves after it was woken does not pass the wake-up on.
    LostWakeUp,
    /// A caller that leaves after it was given a permit keeps it.
    LeakedPermit,
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
    _token: Token,
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
            let _token = Token::new(&simple.ledger);
            drop(state);
            return Poll::Ready(Some(Permit { simple, _token }));
        }
        if self.deadline.as_mut().poll(cx).is_ready() {
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
            Bug::None => {
                state.woken.retain(|other| *other != id);
                self.simple.wake_one(&mut state);
            }
            Bug::LostWakeUp => state.woken.retain(|other| *other != id),
            Bug::LeakedPermit => {
                state.woken.retain(|other| *other != id);
                state.free -= 1;
                self.simple.wake_one(&mut state);
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.simple.give_back();
    }
}

impl Lease for Permit {
    fn finish(self: Box<Self>, _: &Sim) {}
}

struct Handle(Arc<Simple>);

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
        let in_use = self.0.max - state.free;
        [self.0.max, in_use, state.free, 0, state.queue.len()]
    }

    fn max(&self) -> usize {
        self.0.max
    }

    fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.0.ledger)
    }
}

fn found_in(bug: Bug, seeds: u64) -> usize {
    let found = |seed: &u64| {
        let sim = Sim::new(*seed);
        let simple = Simple {
            max: 1 + sim.below(4) as usize,
            sim: sim.clone(),
            bug,
            ledger: Arc::default(),
            state: Mutex::new(State {
                free: 0,
                queue: VecDeque::new(),
                woken: Vec::new(),
                next: 0,
            }),
        };
        simple.state.lock().unwrap().free = simple.max;
        let subject = Arc::new(Handle(Arc::new(simple)));
        catch_unwind(AssertUnwindSafe(|| blow(&sim, subject, false))).is_err()
    };
    (0..seeds).filter(found).count()
}

#[test]
fn a_correct_pool_weathers_the_storm() {
    assert_eq!(found_in(Bug::None, 300), 0);
}

#[test]
fn a_planted_lost_wake_up_is_found() {
    assert!(found_in(Bug::LostWakeUp, 300) > 0);
}

#[test]
fn a_planted_leaked_permit_is_found() {
    assert!(found_in(Bug::LeakedPermit, 300) > 0);
}

#[test]
fn the_pools_weather_five_hundred_storms() {
    (0..500).for_each(|seed| {
        if let Err(what) = catch_unwind(|| storm(seed)) {
            eprintln!("failing seed: {seed}");
            std::panic::resume_unwind(what);
        }
    });
}
