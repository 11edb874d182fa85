//! What users of other pools suffer from, as tests.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainspring_pool::{Error, ResourcePool, ResourcePoolBuilder, Runtime, Stage};

use crate::faults::{Faults, FaultyManager, SECOND};
use crate::sim::Sim;

const MS: Duration = Duration::from_millis(1);

fn manager(sim: &Sim, faults: Faults) -> FaultyManager {
    FaultyManager::new(sim, faults)
}

fn builder(manager: &FaultyManager) -> ResourcePoolBuilder<FaultyManager> {
    ResourcePool::builder(manager.clone()).min(0).seed(1)
}

/// sqlx#3132: 20,000 connects a second that nobody waited for.
#[test]
fn timeouts_do_not_start_connects_and_throw_them_away() {
    let sim = Sim::fifo();
    let slow = Faults {
        connect_time: 2_000,
        ..Faults::default()
    };
    let manager = manager(&sim, slow);
    let pool = builder(&manager).max(4).build_with(sim.clone()).unwrap();
    for _ in 0..200 {
        let pool = pool.clone();
        sim.start(async move { drop(pool.get().within(10 * MS).await) });
        sim.run_for(10 * MS);
    }
    assert!(
        manager.ledger.connects() <= 4,
        "{}",
        manager.ledger.connects()
    );
    sim.run_for(5 * SECOND);
    // What the impatient started serves the next caller at once.
    let start = sim.now();
    let kept = pool.clone();
    sim.block_on(async move { kept.get_owned().await.map(drop) })
        .unwrap();
    assert_eq!(sim.now(), start);
    assert!(manager.ledger.connects() <= 4);
}

/// sqlx#4146: a ping into a black hole.
#[test]
fn a_black_holed_ping_holds_no_permit_and_has_its_own_timeout() {
    let sim = Sim::fifo();
    let black_hole = Faults {
        check_hang: 100,
        ..Faults::default()
    };
    let manager = manager(&sim, black_hole);
    let pool = builder(&manager)
        .max(4)
        .check_after(5 * SECOND)
        .idle_timeout(900 * SECOND);
    let pool = pool.build_with(sim.clone()).unwrap();
    let warm = pool.clone();
    sim.block_on(async move { drop((warm.get().await, warm.get().await)) });
    let idle = pool.stats().available;
    sim.run_for(4_999 * MS + 2 * MS);
    // The background check hangs; the caller is served all the same.
    let start = sim.now();
    let caller = pool.clone();
    let lease = sim
        .block_on(async move { caller.get_owned().await })
        .unwrap();
    assert!(sim.now() - start <= SECOND, "{:?}", sim.now() - start);
    drop(lease);
    sim.run_for(2 * SECOND);
    assert!(idle > 0 && pool.stats().check_failures > 0);
    assert_eq!(pool.stats().in_use, 0);
}

#[test]
fn a_dead_server_is_not_stormed_and_all_callers_hear_of_it_together() {
    let sim = Sim::fifo();
    let manager = manager(&sim, Faults::default());
    manager.down.store(true, Ordering::Relaxed);
    let pool = builder(&manager).max(10).build_with(sim.clone()).unwrap();
    let errors = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..100 {
        let (pool, errors, sim2) = (pool.clone(), Arc::clone(&errors), sim.clone());
        sim.start(async move {
            let error = pool.get().await.map(drop).unwrap_err();
            errors.lock().unwrap().push((sim2.now(), error));
        });
    }
    sim.run_for(5 * SECOND);
    let errors = errors.lock().unwrap();
    assert_eq!(errors.len(), 100);
    assert!(
        matches!(errors[0].1, Error::Connect { .. }),
        "{}",
        errors[0].1
    );
    assert!(
        errors.iter().all(|(at, _)| *at == errors[0].0),
        "not together"
    );
    // Two may start at first; then one at a time.
    assert!(
        manager.ledger.connects() <= 6,
        "{}",
        manager.ledger.connects()
    );
}

#[test]
fn without_a_pause_retries_are_counted_all_the_same() {
    let sim = Sim::fifo();
    let manager = manager(&sim, Faults::default());
    manager.down.store(true, Ordering::Relaxed);
    let pool = builder(&manager).retries(2, Duration::ZERO, Duration::ZERO);
    let pool = pool.build_with(sim.clone()).unwrap();
    let caller = pool.clone();
    let error = sim.block_on(async move { caller.get_owned().await.map(drop).unwrap_err() });
    assert!(
        matches!(error, Error::Connect { attempts: 3, .. }),
        "{error}"
    );
}

/// Ten connects that fail together are one failure: the pause is the first one, not the largest.
#[test]
fn a_blip_that_fails_many_connects_at_once_is_one_failure() {
    let sim = Sim::fifo();
    let manager = manager(&sim, Faults::default());
    let pool = builder(&manager).max(40).build_with(sim.clone()).unwrap();
    let holder = pool.clone();
    let held = sim.block_on(async move {
        let mut held = Vec::new();
        for _ in 0..20 {
            held.push(holder.get_owned().await.unwrap());
        }
        held
    });
    manager.down.store(true, Ordering::Relaxed);
    for _ in 0..10 {
        let (pool, sim2) = (pool.clone(), sim.clone());
        sim.start(async move {
            let _lease = pool.get().await.unwrap();
            sim2.sleep(SECOND).await;
        });
    }
    sim.run_for(50 * MS);
    assert!(pool.stats().connect_failures > 1);
    manager.down.store(false, Ordering::Relaxed);
    sim.run_for(60 * MS);
    assert_eq!((pool.stats().in_use, pool.stats().waiting), (30, 0));
    drop(held);
}

/// ping on every checkout: 5 ms at the 99th percentile.
#[test]
fn a_resource_that_was_just_used_is_not_pinged() {
    let sim = Sim::fifo();
    let manager = manager(&sim, Faults::default());
    let pool = builder(&manager).build_with(sim.clone()).unwrap();
    let user = pool.clone();
    sim.block_on(async move {
        for _ in 0..100 {
            drop(user.get().await.unwrap());
        }
    });
    assert_eq!(manager.ledger.checks(), 0);
}

#[test]
fn a_burst_does_not_create_more_than_it_needs() {
    let sim = Sim::fifo();
    let slow = Faults {
        connect_time: 50,
        ..Faults::default()
    };
    let manager = manager(&sim, slow);
    let pool = builder(&manager)
        .max(100)
        .max_waiters(200)
        .build_with(sim.clone())
        .unwrap();
    for _ in 0..100 {
        let (pool, sim2) = (pool.clone(), sim.clone());
        sim.start(async move {
            let lease = pool.get().await.unwrap();
            sim2.sleep(MS).await;
            drop(lease);
        });
    }
    sim.run_for(SECOND);
    assert_eq!(pool.stats().acquisitions, 100);
    assert!(pool.stats().created <= 12, "{}", pool.stats().created);
}

/// One timeout for everything hides what is wrong.
#[test]
fn a_timeout_says_what_it_waited_for_and_what_went_wrong() {
    let sim = Sim::fifo();
    let hang = Faults {
        connect_hang: 100,
        ..Faults::default()
    };
    let manager = manager(&sim, hang);
    let pool = builder(&manager)
        .max(1)
        .wait_timeout(SECOND)
        .acquire_timeout(3 * SECOND);
    let pool = pool
        .connect_timeout(60 * SECOND)
        .build_with(sim.clone())
        .unwrap();
    let first = timed_out(&sim, &pool);
    assert_eq!(first, (Stage::Connect, 3 * SECOND));
    manager.healed.store(true, Ordering::Relaxed);
    sim.run_for(61 * SECOND);
    let holder = pool.clone();
    let lease = sim
        .block_on(async move { holder.get_owned().await })
        .unwrap();
    assert_eq!(timed_out(&sim, &pool), (Stage::Wait, SECOND));
    drop(lease);
    let stats = pool.stats();
    assert_eq!((stats.connect_timeouts, stats.wait_timeouts), (1, 1));
    assert_eq!(stats.timeouts(), 2);
}

fn timed_out(sim: &Sim, pool: &ResourcePool<FaultyManager>) -> (Stage, Duration) {
    let pool = pool.clone();
    match sim.block_on(async move { pool.get_owned().await.map(drop) }) {
        Err(Error::Timeout { stage, waited, .. }) => (stage, waited),
        other => panic!("{other:?}"),
    }
}
