//! Pools by key under a common limit.

use std::sync::atomic::Ordering;
use std::time::Duration;

use mainspring_pool::{Error, KeyedPool, KeyedPoolBuilder, KeyedPooled, Pressure, Runtime};

use crate::faults::{Faults, FaultyManager, SECOND};
use crate::sim::Sim;

type Pool = KeyedPool<u64, FaultyManager>;

fn setting() -> (Sim, FaultyManager, KeyedPoolBuilder<u64, FaultyManager>) {
    let sim = Sim::fifo();
    let manager = FaultyManager::new(&sim, Faults::default());
    let builder = KeyedPool::builder(manager.clone()).seed(5);
    (sim, manager, builder)
}

fn get(sim: &Sim, pool: &Pool, key: u64) -> Result<KeyedPooled<u64, FaultyManager>, Error> {
    let pool = pool.clone();
    sim.block_on(async move { pool.get(&key).await })
}

#[test]
fn keys_have_their_own_limit_and_resources() {
    let (sim, _, builder) = setting();
    let pool = builder.per_key(1).total(5).build_with(sim.clone()).unwrap();
    let (one, two) = (get(&sim, &pool, 1).unwrap(), get(&sim, &pool, 2).unwrap());
    assert_ne!(one.number, two.number);
    let full = pool.clone();
    let refused = sim.block_on(async move { full.get_within(&1, SECOND).await.map(drop) });
    assert!(matches!(refused, Err(Error::Timeout { .. })));
    let number = one.number;
    drop(one);
    assert_eq!(get(&sim, &pool, 1).unwrap().number, number);
}

#[test]
fn the_least_recent_idle_resource_of_another_key_makes_room() {
    let (sim, manager, builder) = setting();
    let pool = builder.total(3).build_with(sim.clone()).unwrap();
    for key in [1, 2, 3] {
        drop(get(&sim, &pool, key).unwrap());
        sim.run_for(SECOND);
    }
    drop(get(&sim, &pool, 1).unwrap()); // key 2 is now the least recent
    drop(get(&sim, &pool, 4).unwrap());
    let idle = |key| pool.key_stats(&key).unwrap().available;
    assert_eq!([idle(1), idle(2), idle(3), idle(4)], [1, 0, 1, 1]);
    assert_eq!(manager.ledger.live(), 3);
}

#[test]
fn the_key_that_waits_for_longest_gets_the_next_return_of_any_key() {
    let (sim, manager, builder) = setting();
    let pool = builder.total(2).build_with(sim.clone()).unwrap();
    let held = (get(&sim, &pool, 1).unwrap(), get(&sim, &pool, 1).unwrap());
    let order = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    for key in [2, 1, 3] {
        let (pool, order, sim2) = (pool.clone(), order.clone(), sim.clone());
        sim.start(async move {
            let lease = pool.get(&key).await.unwrap();
            order.lock().unwrap().push(key);
            sim2.sleep(SECOND).await;
            drop(lease);
        });
        sim.run_for(Duration::from_millis(1));
    }
    drop(held.0);
    sim.run_for(10 * SECOND);
    assert_eq!(*order.lock().unwrap(), [2, 1, 3]);
    drop(held.1);
    assert!(
        manager
            .ledger
            .most
            .load(std::sync::atomic::Ordering::Relaxed)
            <= 2
    );
}

#[test]
fn keys_are_bounded_and_the_unused_make_room() {
    let (sim, _, builder) = setting();
    let pool = builder.max_keys(2).build_with(sim.clone()).unwrap();
    let held = (get(&sim, &pool, 1).unwrap(), get(&sim, &pool, 2).unwrap());
    assert!(matches!(
        get(&sim, &pool, 3),
        Err(Error::TooManyKeys { limit: 2 })
    ));
    drop(held.1);
    assert!(get(&sim, &pool, 3).is_ok());
    let mut keys = pool.keys();
    keys.sort_unstable();
    assert_eq!(keys, [1, 3]);
}

#[test]
fn removing_and_trimming_close_idle_resources() {
    let (sim, manager, builder) = setting();
    let pool = builder.build_with(sim.clone()).unwrap();
    let held = get(&sim, &pool, 1).unwrap();
    drop((get(&sim, &pool, 1), get(&sim, &pool, 2)));
    assert_eq!(pool.stats().available, 2);
    assert_eq!(pool.trim(Pressure::Critical).items, 2);
    assert!(pool.remove(&1) && !pool.remove(&1));
    assert_eq!(manager.ledger.live(), 1);
    drop(held);
    assert_eq!((manager.ledger.live(), pool.stats().total), (0, 0));
    drop(pool);
    sim.run_until(sim.now() + SECOND);
    assert_eq!(sim.alive(), 0);
}

/// A key whose server comes back needs hundreds of places at once, and others have them idle.
#[test]
fn room_is_made_for_hundreds_at_once() {
    let (sim, manager, builder) = setting();
    let builder = builder.per_key(2_000).total(3_000).max_waiters(2_000);
    let builder = builder.idle_timeout(9_000 * SECOND);
    let pool = builder.build_with(sim.clone()).unwrap();
    let hold = |key: u64, count: usize| -> Vec<_> {
        (0..count).map(|_| get(&sim, &pool, key).unwrap()).collect()
    };
    let held = hold(2, 1_000);
    drop(hold(1, 2_000));
    manager.down.store(true, Ordering::Relaxed);
    for _ in 0..900 {
        let pool = pool.clone();
        sim.start(async move {
            let lease = pool.get(&2).await.unwrap();
            std::future::pending::<()>().await;
            drop(lease);
        });
    }
    sim.run_for(SECOND / 20);
    manager.down.store(false, Ordering::Relaxed);
    sim.run_for(5 * SECOND);
    let stats = pool.key_stats(&2).unwrap();
    assert_eq!((stats.in_use, stats.waiting), (1_900, 0), "{stats:?}");
    assert_eq!(pool.stats().total, 3_000);
    drop(held);
}
