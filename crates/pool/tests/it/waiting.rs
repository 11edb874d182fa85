//! Order, limits and upkeep of a resource pool.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mainspring_pool::{
    BuildError, DiscardReason, Error, Event, OwnedPooled, Pressure, ResourcePool,
    ResourcePoolBuilder,
};

use crate::faults::{Faults, FaultyManager, SECOND};
use crate::sim::Sim;

type Lease = OwnedPooled<FaultyManager>;

fn setting() -> (Sim, FaultyManager, ResourcePoolBuilder<FaultyManager>) {
    let sim = Sim::fifo();
    let manager = FaultyManager::new(&sim, Faults::default());
    let builder = ResourcePool::builder(manager.clone()).min(0).seed(3);
    (sim, manager, builder)
}

fn get(sim: &Sim, pool: &ResourcePool<FaultyManager>) -> Result<Lease, Error> {
    let pool = pool.clone();
    sim.block_on(async move { pool.get_owned().await })
}

fn take(sim: &Sim, pool: &ResourcePool<FaultyManager>, count: usize) -> Vec<Lease> {
    (0..count).map(|_| get(sim, pool).unwrap()).collect()
}

#[test]
fn callers_are_served_in_the_order_of_their_coming() {
    let (sim, _, builder) = setting();
    let pool = builder.max(3).build_with(sim.clone()).unwrap();
    let served = Arc::new(Mutex::new(Vec::new()));
    let held = take(&sim, &pool, 3);
    for caller in 0..200 {
        let (pool, served, sim2) = (pool.clone(), Arc::clone(&served), sim.clone());
        sim.start(async move {
            let lease = pool.get().await.unwrap();
            served.lock().unwrap().push(caller);
            sim2.sleep(Duration::from_micros(caller % 7)).await;
            drop(lease);
        });
        sim.settle();
    }
    drop(held);
    // A newcomer at the very moment of a return does not overtake.
    assert!(pool.try_get().is_none());
    sim.run_for(SECOND);
    assert_eq!(*served.lock().unwrap(), (0..200).collect::<Vec<_>>());
}

#[test]
fn the_newest_idle_resource_is_lent_first() {
    let (sim, _, builder) = setting();
    let pool = builder.max(3).build_with(sim.clone()).unwrap();
    let mut held = take(&sim, &pool, 3);
    let ids: Vec<u64> = held.iter().map(|lease| lease.info().id).collect();
    held.drain(..).for_each(drop);
    let again: Vec<u64> = take(&sim, &pool, 3).iter().map(|l| l.info().id).collect();
    assert_eq!(again, ids.into_iter().rev().collect::<Vec<_>>());
}

#[test]
fn one_caller_too_many_is_refused() {
    let (sim, _, builder) = setting();
    let pool = builder
        .max(1)
        .max_waiters(2)
        .build_with(sim.clone())
        .unwrap();
    let held = take(&sim, &pool, 1);
    for _ in 0..2 {
        let pool = pool.clone();
        sim.start(async move { drop(pool.get().await) });
    }
    sim.settle();
    assert!(matches!(
        get(&sim, &pool),
        Err(Error::QueueFull { limit: 2 })
    ));
    assert_eq!(pool.stats().refused, 1);
    drop(held);
    sim.settle();
    assert!(get(&sim, &pool).is_ok());
}

#[test]
fn closing_answers_everybody_and_takes_everything_back() {
    let (sim, manager, builder) = setting();
    let pool = builder.max(2).build_with(sim.clone()).unwrap();
    let mut held = take(&sim, &pool, 2);
    held.pop();
    let waiting = {
        let pool = pool.clone();
        async move {
            (
                pool.get_owned().await.map(drop),
                pool.get_owned().await.map(drop),
            )
        }
    };
    pool.close();
    let (first, second) = sim.block_on(waiting);
    assert!(matches!(
        (first, second),
        (Err(Error::Closed), Err(Error::Closed))
    ));
    assert_eq!(manager.ledger.live(), 1);
    held.clear();
    assert_eq!(manager.ledger.live(), 0);
    assert!(pool.is_closed());
}

#[test]
fn dropping_the_last_handle_closes_the_pool() {
    let (sim, manager, builder) = setting();
    let pool = builder.build_with(sim.clone()).unwrap();
    let lease = get(&sim, &pool).unwrap();
    drop(pool);
    assert_eq!(manager.ledger.live(), 1);
    drop(lease);
    assert_eq!(manager.ledger.live(), 0);
    sim.settle();
    assert_eq!(sim.alive(), 0);
}

#[test]
fn resizing_shrinks_at_once_and_on_return_but_not_below_min() {
    let (sim, manager, builder) = setting();
    let pool = builder.min(2).max(6).build_with(sim.clone()).unwrap();
    let mut held = take(&sim, &pool, 6);
    held.truncate(4);
    assert_eq!(pool.resize(1), 2);
    assert_eq!((pool.stats().total, pool.stats().available), (4, 0));
    held.clear();
    assert_eq!(manager.ledger.live(), 2);
    assert_eq!(pool.resize(5), 5);
    assert_eq!(take(&sim, &pool, 5).len(), 5);
}

#[test]
fn detached_discarded_and_refused_resources_free_their_place() {
    let (sim, manager, builder) = setting();
    let pool = builder.max(2).before_recycle(|token| token.number != 1);
    let pool = pool.build_with(sim.clone()).unwrap();
    let mut held = take(&sim, &pool, 2);
    let detached = held.remove(0).detach();
    assert_eq!((pool.stats().total, manager.ledger.live()), (1, 2));
    drop(detached);
    held.clear(); // number 1: the hook refuses it
    assert_eq!((pool.stats().total, manager.ledger.live()), (0, 0));
    get(&sim, &pool).unwrap().discard();
    assert_eq!((pool.stats().total, pool.stats().destroyed), (0, 3));
}

#[test]
fn a_resource_returned_in_a_panic_is_discarded() {
    let (sim, manager, builder) = setting();
    let pool = builder.build_with(sim.clone()).unwrap();
    let lease = get(&sim, &pool).unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _lease = lease;
        std::panic::resume_unwind(Box::new(()));
    }));
    assert!(panicked.is_err());
    assert_eq!((pool.stats().total, manager.ledger.live()), (0, 0));
}

#[test]
fn retain_looks_at_idle_resources_only() {
    let (sim, _, builder) = setting();
    let pool = builder.max(5).build_with(sim.clone()).unwrap();
    let mut held = take(&sim, &pool, 5);
    held.truncate(1);
    assert_eq!(
        pool.retain(|token, info| token.number % 2 == 0 && info.uses == 1),
        2
    );
    assert_eq!((pool.stats().available, pool.stats().in_use), (2, 1));
}

#[test]
fn retain_looks_at_every_idle_resource_once() {
    let (sim, _, builder) = setting();
    let pool = builder.max(5).build_with(sim.clone()).unwrap();
    for lease in take(&sim, &pool, 5) {
        sim.run_for(SECOND);
        drop(lease);
        drop(pool.try_get()); // so that the pool looks at the clock
    }
    let mut seen = Vec::new();
    let closed = pool.retain(|token, _| {
        seen.push(token.number);
        token.number != 3
    });
    seen.sort_unstable();
    assert_eq!((closed, seen), (1, vec![0, 1, 2, 3, 4]));
    // The order of reuse is as before.
    assert_eq!(get(&sim, &pool).unwrap().number, 4);
}

#[test]
fn a_client_gets_its_own_resource_back() {
    let (sim, _, builder) = setting();
    let pool = builder.max(3).build_with(sim.clone()).unwrap();
    let lend = |client: u64| {
        let pool = pool.clone();
        sim.block_on(async move { pool.get().for_client(client).await.unwrap().into_owned() })
    };
    let (one, two) = (lend(1), lend(2));
    let (id_one, id_two) = (one.info().id, two.info().id);
    drop(one);
    drop(two);
    assert_eq!(lend(1).info().id, id_one);
    assert_eq!(lend(2).info().id, id_two);
}

#[test]
fn min_and_min_idle_are_opened_eagerly_and_held() {
    let (sim, manager, builder) = setting();
    let pool = builder
        .min(2)
        .min_idle(3)
        .max(6)
        .build_with(sim.clone())
        .unwrap();
    sim.settle();
    assert_eq!(pool.stats().available, 3);
    let held = take(&sim, &pool, 2);
    sim.settle();
    assert_eq!(pool.stats().available, 3);
    drop(held);
    sim.run_for(3_600 * SECOND);
    assert_eq!(pool.stats().total, 3);
    assert_eq!(pool.trim(Pressure::Critical).items, 3);
    sim.run_for(SECOND);
    assert_eq!((pool.stats().total, manager.ledger.live()), (3, 3));
}

#[test]
fn idle_and_old_resources_are_closed_down_to_min() {
    let (sim, _, builder) = setting();
    let pool = builder
        .min(1)
        .max(4)
        .idle_timeout(10 * SECOND)
        .max_lifetime(100 * SECOND);
    let pool = pool.build_with(sim.clone()).unwrap();
    drop(take(&sim, &pool, 4));
    let oldest = pool.stats().created;
    sim.run_for(16 * SECOND);
    assert_eq!(pool.stats().total, 1);
    sim.run_for(100 * SECOND);
    let stats = pool.stats();
    assert_eq!(stats.total, 1);
    assert_eq!(
        stats.created,
        oldest + 1,
        "the last one reached its lifetime and was replaced"
    );
}

#[test]
fn a_review_shrinks_what_recent_load_did_not_need() {
    let (sim, _, builder) = setting();
    let pool = builder
        .max(10)
        .idle_timeout(Duration::MAX)
        .max_lifetime(Duration::MAX);
    let pool = pool.build_with(sim.clone()).unwrap();
    drop(take(&sim, &pool, 10));
    sim.run_for(4 * 60 * SECOND);
    assert_eq!(pool.stats().total, 10, "the peak is within the window");
    sim.run_for(10 * 60 * SECOND);
    assert!(pool.stats().total < 10, "{:?}", pool.stats());
}

#[test]
fn events_tell_the_life_of_a_resource() {
    let (sim, _, builder) = setting();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let pool = builder.on_event(move |event| {
        log.lock().unwrap().push(match event {
            Event::Created { .. } => "created",
            Event::Acquired { reused: false, .. } => "acquired",
            Event::Acquired { reused: true, .. } => "reused",
            Event::Released { .. } => "released",
            Event::Discarded {
                reason: DiscardReason::Broken,
                ..
            } => "broken",
            Event::Discarded { .. } => "discarded",
            _ => "other",
        });
    });
    let pool = pool.build_with(sim.clone()).unwrap();
    drop(get(&sim, &pool).unwrap());
    let mut lease = get(&sim, &pool).unwrap();
    lease.dying = true;
    drop(lease);
    let seen = seen.lock().unwrap();
    assert_eq!(
        *seen,
        [
            "created", "acquired", "released", "reused", "released", "broken"
        ]
    );
}

#[test]
fn a_panicking_manager_is_a_failing_manager() {
    let sim = Sim::fifo();
    let faults = Faults {
        connect_panic: 100,
        ..Faults::default()
    };
    let manager = FaultyManager::new(&sim, faults);
    let pool = ResourcePool::builder(manager.clone())
        .min(0)
        .build_with(sim.clone())
        .unwrap();
    assert!(matches!(
        get(&sim, &pool),
        Err(Error::Connect { attempts: 4.., .. })
    ));
    manager.healed.store(true, Ordering::Relaxed);
    sim.run_for(SECOND);
    assert!(get(&sim, &pool).is_ok());
}

#[test]
fn stats_tell_wait_connect_and_check_apart() {
    let sim = Sim::fifo();
    let faults = Faults {
        connect_time: 100,
        check_time: 100,
        ..Faults::default()
    };
    let manager = FaultyManager::new(&sim, faults);
    let pool = ResourcePool::builder(manager)
        .min(0)
        .max(1)
        .check_after(SECOND);
    let pool = pool.build_with(sim.clone()).unwrap();
    drop(get(&sim, &pool).unwrap());
    sim.run_for(3 * SECOND);
    let held = get(&sim, &pool).unwrap();
    let stats = pool.stats();
    assert!((stats.utilisation() - 100.0).abs() < f64::EPSILON);
    assert_eq!((stats.connect.count, stats.healthy()), (1, 1));
    assert!(stats.check.count >= 1 && stats.check.mean() > Duration::ZERO);
    assert!(stats.wait.count >= 1 && stats.wait.max >= stats.wait.mean());
    drop(held);
}

#[test]
fn settings_that_make_no_pool_are_refused() {
    let refused = |builder: ResourcePoolBuilder<FaultyManager>| {
        builder.build_with(Sim::fifo()).map(drop).unwrap_err()
    };
    assert_eq!(refused(setting().2.max(0)), BuildError::NoCapacity);
    let above = BuildError::MinAboveMax { min: 3, max: 2 };
    assert_eq!(refused(setting().2.max(2).min(3)), above);
    assert_eq!(refused(setting().2.growth(1.0)), BuildError::BadRatio);
    assert_eq!(
        refused(setting().2.shrink_below(f64::NAN)),
        BuildError::BadRatio
    );
}

fn poll<'a>(
    get: &mut std::pin::Pin<&mut mainspring_pool::Get<'a, FaultyManager>>,
) -> Option<mainspring_pool::Pooled<'a, FaultyManager>> {
    use std::future::Future;
    use std::task::{Context, Poll, Waker};

    match get.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(lease) => Some(lease.unwrap()),
        Poll::Pending => None,
    }
}

#[test]
fn a_steady_checkout_allocates_nothing_contended_or_not() {
    use std::pin::pin;

    let (sim, _, builder) = setting();
    let pool = builder.max(1).build_with(sim.clone()).unwrap();
    drop(take(&sim, &pool, 1));
    let round = || {
        let first = poll(&mut pin!(pool.get())).expect("one is idle");
        let mut second = pin!(pool.get());
        assert!(poll(&mut second).is_none());
        drop(first);
        drop(poll(&mut second).expect("handed over"));
    };
    round();
    sim.settle();
    let counted = crate::counting::allocations(|| (0..1_000).for_each(|_| round()));
    assert_eq!(counted, 0);
}

#[test]
fn whoever_comes_after_the_close_is_told_at_once() {
    let sim = Sim::fifo();
    let manager = FaultyManager::new(&sim, Faults::default());
    let builder = ResourcePool::builder(manager).min(0).max(1);
    let pool = builder.build_with(sim.clone()).unwrap();
    let user = pool.clone();
    // The only one is on loan and the driver sleeps: a caller would have nothing to do but wait.
    let lease = sim.block_on(async move { user.get_owned().await.unwrap() });
    let mut waiting = Box::pin(pool.get());
    let polled = waiting
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending());
    sim.settle();
    drop(waiting);
    pool.close();
    let mut late = Box::pin(pool.get());
    let told = late.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(told, Poll::Ready(Err(Error::Closed))));
    drop(lease);
    assert_eq!(pool.stats().total, 0);
}
