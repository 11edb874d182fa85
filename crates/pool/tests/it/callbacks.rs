//! Code of the user that panics, and what it is told.

use std::io;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use mainspring_pool::{Event, Manager, OwnedPooled, ResourcePool, Runtime, Task};

use crate::faults::{Faults, FaultyManager, SECOND};
use crate::sim::Sim;

/// `is_broken` panics at the calls that are due; otherwise nothing is wrong.
#[derive(Clone, Default)]
struct Touchy {
    asked: Arc<AtomicUsize>,
    panics_at: usize,
    discarded: Arc<AtomicUsize>,
}

impl Manager for Touchy {
    type Resource = u8;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<u8> {
        Ok(1)
    }

    fn is_broken(&self, _: &mut u8) -> bool {
        if self.asked.fetch_add(1, Ordering::Relaxed) + 1 == self.panics_at {
            resume_unwind(Box::new("planned"));
        }
        false
    }

    fn discard(&self, _: u8) {
        self.discarded.fetch_add(1, Ordering::Relaxed);
        resume_unwind(Box::new("planned"));
    }
}

#[test]
fn a_panic_while_a_resource_is_looked_at_counts_as_broken() {
    // The first call is that of the return, the second that of the next checkout.
    for panics_at in 1..=2 {
        let sim = Sim::fifo();
        let manager = Touchy {
            panics_at,
            ..Touchy::default()
        };
        let builder = ResourcePool::builder(manager.clone()).min(0);
        let pool = builder.build_with(sim.clone()).unwrap();
        let user = pool.clone();
        sim.block_on(async move {
            for _ in 0..3 {
                assert_eq!(**user.get().await.as_ref().unwrap(), 1);
            }
        });
        let stats = pool.stats();
        assert_eq!((stats.in_use, stats.available, stats.created), (0, 1, 2));
        assert_eq!(manager.discarded.load(Ordering::Relaxed), 1);
    }
}

struct Angry;

impl Wake for Angry {
    fn wake(self: Arc<Self>) {
        resume_unwind(Box::new("planned"));
    }
}

fn one_place_taken() -> (Sim, ResourcePool<FaultyManager>, OwnedPooled<FaultyManager>) {
    let sim = Sim::fifo();
    let manager = FaultyManager::new(&sim, Faults::default());
    let builder = ResourcePool::builder(manager).min(0).max(1).seed(1);
    let pool = builder.build_with(sim.clone()).unwrap();
    let holder = pool.clone();
    let lease = sim.block_on(async move { holder.get_owned().await.unwrap() });
    (sim, pool, lease)
}

#[test]
fn a_panicking_waker_costs_no_place() {
    let (sim, pool, lease) = one_place_taken();
    let waker = Waker::from(Arc::new(Angry));
    let mut waiting = Box::pin(pool.get());
    let polled = waiting.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    let mut second = Box::pin(pool.get());
    assert!(
        second
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    );
    // The place becomes free and the connect for the two callers has to start all the same.
    lease.discard();
    sim.run_for(SECOND);
    drop(waiting);
    let served = second
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(served, Poll::Ready(Ok(_))), "{:?}", pool.stats());
    drop((served, second));
    assert_eq!((pool.stats().in_use, pool.stats().waiting), (0, 0));
}

#[test]
fn every_kind_of_checkout_is_reported() {
    let sim = Sim::fifo();
    let manager = FaultyManager::new(&sim, Faults::default());
    let lent = Arc::new(Mutex::new(0_i64));
    let count = Arc::clone(&lent);
    let builder = ResourcePool::builder(manager)
        .min(1)
        .on_event(move |event| {
            *count.lock().unwrap() += match event {
                Event::Acquired { .. } => 1,
                Event::Released { .. } => -1,
                _ => 0,
            };
        });
    let pool = builder.build_with(sim.clone()).unwrap();
    sim.settle();
    let lease = pool.try_get().unwrap();
    assert_eq!(*lent.lock().unwrap(), 1);
    drop(lease);
    assert_eq!(*lent.lock().unwrap(), 0);
    assert_eq!(pool.retain(|_, _| true), 0);
}

/// Spawns all but one task; that one is dropped, with or without a panic.
#[derive(Clone)]
struct Refusing {
    sim: Sim,
    spawned: Arc<AtomicUsize>,
    refuses: usize,
    panics: bool,
}

impl Runtime for Refusing {
    fn now(&self) -> Duration {
        self.sim.now()
    }

    fn sleep_until(&self, at: Duration) -> Task {
        self.sim.sleep_until(at)
    }

    fn spawn(&self, task: Task) {
        if self.spawned.fetch_add(1, Ordering::Relaxed) + 1 != self.refuses {
            return self.sim.spawn(task);
        }
        if self.panics {
            resume_unwind(Box::new("planned"));
        }
    }
}

/// Whichever task a runtime refuses: all callers are served, and nothing is counted that is not there.
#[test]
fn a_refused_spawn_costs_neither_a_place_nor_a_wake_up() {
    for (refuses, panics) in (1..8).flat_map(|n| [(n, false), (n, true)]) {
        let sim = Sim::fifo();
        let faults = Faults {
            connect_time: 50,
            ..Faults::default()
        };
        let manager = FaultyManager::new(&sim, faults);
        let runtime = Refusing {
            sim: sim.clone(),
            spawned: Arc::default(),
            refuses,
            panics,
        };
        let builder = ResourcePool::builder(manager).min(0).max(6);
        let pool = builder.build_with(runtime.clone()).unwrap();
        let served = Arc::new(AtomicUsize::new(0));
        for _ in 0..6 {
            let (user, count, sim2) = (pool.clone(), Arc::clone(&served), sim.clone());
            sim.start(async move {
                let lease = user.get().await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                // Kept until all have one, so that each caller needs a connect of its own.
                sim2.sleep(3 * SECOND).await;
                drop(lease);
            });
        }
        sim.run_for(SECOND);
        let stats = pool.stats();
        let seen = (served.load(Ordering::Relaxed), stats.in_use, stats.total);
        assert_eq!(seen, (6, 6, 6), "{refuses} {panics}: {stats:?}");
        sim.run_for(5 * SECOND);
        let stats = pool.stats();
        assert_eq!((stats.available, stats.total), (6, 6), "{refuses} {panics}");
        assert!(runtime.spawned.load(Ordering::Relaxed) > refuses.min(7));
    }
}

#[test]
fn a_waker_that_panics_does_not_reach_the_one_who_returns() {
    let (sim, pool, lease) = one_place_taken();
    let waker = Waker::from(Arc::new(Angry));
    let mut waiting = Box::pin(pool.get());
    let polled = waiting.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    // The driver has set its alarm by now, so that the return takes the short way.
    sim.settle();
    drop(lease);
    drop(waiting);
    assert_eq!((pool.stats().in_use, pool.stats().available), (0, 1));
}
