//! A resource pool against a naive model of it.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use mainspring_pool::{Error, OwnedPooled, Pressure, ResourcePool};
use proptest::prelude::*;

use crate::faults::{Faults, FaultyManager};
use crate::sim::Sim;

#[derive(Debug, Clone)]
enum Op {
    Get,
    Return(usize),
    Discard(usize),
    Cancel(usize),
    Resize(usize),
    Trim,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        5 => Just(Op::Get),
        4 => (0..16_usize).prop_map(Op::Return),
        1 => (0..16_usize).prop_map(Op::Discard),
        2 => (0..16_usize).prop_map(Op::Cancel),
        1 => (1..6_usize).prop_map(Op::Resize),
        1 => Just(Op::Trim),
    ];
    proptest::collection::vec(op, 1..80)
}

/// Who holds which resource, who waits, what is idle; connecting takes no time.
struct Model {
    max: usize,
    next: u64,
    idle: Vec<u64>,
    queue: VecDeque<usize>,
    holders: BTreeMap<usize, u64>,
}

impl Model {
    fn size(&self) -> usize {
        self.idle.len() + self.holders.len()
    }

    fn serve(&mut self) {
        while !self.queue.is_empty() {
            let resource = match self.idle.pop() {
                Some(resource) => resource,
                None if self.size() < self.max => {
                    self.next += 1;
                    self.next - 1
                }
                None => return,
            };
            let caller = self.queue.pop_front().expect("not empty");
            self.holders.insert(caller, resource);
        }
    }

    fn give_back(&mut self, caller: usize) {
        let resource = self.holders.remove(&caller).expect("a holder");
        if self.size() < self.max {
            self.idle.push(resource);
        }
        self.serve();
    }

    fn resize(&mut self, max: usize) {
        self.max = max;
        while self.size() > max && !self.idle.is_empty() {
            self.idle.remove(0);
        }
        self.serve();
    }
}

type Wait = Pin<Box<dyn Future<Output = Result<OwnedPooled<FaultyManager>, Error>>>>;

struct Real {
    sim: Sim,
    pool: ResourcePool<FaultyManager>,
    waiting: BTreeMap<usize, Wait>,
    holding: BTreeMap<usize, OwnedPooled<FaultyManager>>,
}

impl Real {
    /// Polls the waiting callers, oldest first, until nothing happens any more.
    fn poll_all(&mut self) {
        let mut before = usize::MAX;
        while before != self.waiting.len() {
            before = self.waiting.len();
            self.poll_once();
            self.sim.settle();
            self.poll_once();
        }
    }

    fn poll_once(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        let holding = &mut self.holding;
        self.waiting
            .retain(|caller, wait| match wait.as_mut().poll(&mut cx) {
                Poll::Pending => true,
                Poll::Ready(lease) => {
                    holding.insert(*caller, lease.expect("no faults"));
                    false
                }
            });
    }
}

fn nth<V>(map: &BTreeMap<usize, V>, at: usize) -> Option<usize> {
    map.keys().nth(at % map.len().max(1)).copied()
}

fn apply(op: &Op, caller: usize, model: &mut Model, real: &mut Real) {
    match op {
        Op::Get => {
            model.queue.push_back(caller);
            model.serve();
            let pool = real.pool.clone();
            real.waiting
                .insert(caller, Box::pin(async move { pool.get_owned().await }));
        }
        Op::Return(at) => {
            let Some(holder) = nth(&real.holding, *at) else {
                return;
            };
            real.holding.remove(&holder);
            model.give_back(holder);
        }
        Op::Discard(at) => {
            let Some(holder) = nth(&real.holding, *at) else {
                return;
            };
            real.holding.remove(&holder).expect("holds").discard();
            model.holders.remove(&holder);
            model.serve();
        }
        Op::Cancel(at) => {
            let Some(waiter) = nth(&real.waiting, *at) else {
                return;
            };
            real.waiting.remove(&waiter);
            model.queue.retain(|other| *other != waiter);
        }
        Op::Resize(max) => {
            real.pool.resize(*max);
            model.resize(*max);
        }
        Op::Trim => {
            real.pool.trim(Pressure::Critical);
            model.idle.clear();
            model.serve();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_pool_does_what_the_model_does(ops in ops()) {
        let sim = Sim::fifo();
        let manager = FaultyManager::new(&sim, Faults::default());
        let pool = ResourcePool::builder(manager).min(0).max(3).build_with(sim.clone()).unwrap();
        let mut real = Real { sim, pool, waiting: BTreeMap::new(), holding: BTreeMap::new() };
        let mut model = Model {
            max: 3,
            next: 0,
            idle: Vec::new(),
            queue: VecDeque::new(),
            holders: BTreeMap::new(),
        };
        for (caller, op) in ops.iter().enumerate() {
            apply(op, caller, &mut model, &mut real);
            real.poll_all();
            let held: BTreeMap<usize, u64> =
                real.holding.iter().map(|(caller, lease)| (*caller, lease.number)).collect();
            prop_assert_eq!(&held, &model.holders);
            prop_assert_eq!(real.waiting.len(), model.queue.len());
            prop_assert_eq!(real.pool.stats().available, model.idle.len());
            prop_assert_eq!(real.pool.stats().total, model.size());
        }
    }
}
