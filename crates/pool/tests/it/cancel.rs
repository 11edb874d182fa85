//! Every future, the callers' and the pool's own, is dropped at every poll.

use std::sync::atomic::Ordering;
use std::time::Duration;

use mainspring_pool::{ResourcePool, ResourceStats};

use crate::faults::{Faults, FaultyManager, SECOND};
use crate::sim::Sim;

type Pool = ResourcePool<FaultyManager>;

struct Scene {
    sim: Sim,
    pool: Pool,
    manager: FaultyManager,
}

fn scene(faults: Faults, max: usize) -> Scene {
    let sim = Sim::fifo();
    let manager = FaultyManager::new(&sim, faults);
    let pool = ResourcePool::builder(manager.clone())
        .min(0)
        .max(max)
        .check_after(2 * SECOND)
        .connect_timeout(SECOND)
        .check_timeout(SECOND)
        .seed(7)
        .build_with(sim.clone())
        .unwrap();
    Scene { sim, pool, manager }
}

/// Five callers for two resources, some of which come after a pause that makes checks due.
fn callers(scene: &Scene) -> Vec<u64> {
    (0..5_u64)
        .map(|caller| {
            let (sim, pool) = (scene.sim.clone(), scene.pool.clone());
            scene.sim.start(async move {
                for round in 0..2_u64 {
                    sim.sleep(Duration::from_millis(caller * 3 + round * 2_500))
                        .await;
                    if let Ok(token) = pool.get().await {
                        sim.sleep(Duration::from_millis(5)).await;
                        drop(token);
                    }
                }
            })
        })
        .collect()
}

fn conserved(stats: &ResourceStats) {
    let sum = stats.available + stats.in_use + stats.connecting + stats.checking;
    assert_eq!(sum, stats.total, "{stats:?}");
    assert!(stats.total <= stats.max, "{stats:?}");
}

/// Nothing is held, and the pool still lends as many resources at once as it should.
fn whole(scene: Scene, what: &str) {
    let Scene { sim, pool, manager } = scene;
    manager.healed.store(true, Ordering::Relaxed);
    sim.run_for(60 * SECOND);
    while pool.stats().checking > 0 && (sim.step() || sim.advance(Duration::MAX)) {}
    let stats = pool.stats();
    conserved(&stats);
    assert_eq!((stats.in_use, stats.waiting), (0, 0), "{what}: {stats:?}");
    assert_eq!(
        (stats.connecting, stats.checking),
        (0, 0),
        "{what}: {stats:?}"
    );
    assert_eq!(manager.ledger.live(), stats.total, "{what}");
    let again = pool.clone();
    let lent = sim.block_on(async move {
        let mut held = Vec::new();
        for _ in 0..again.stats().max {
            held.push(again.get_owned().await);
        }
        held.iter().filter(|lease| lease.is_ok()).count()
    });
    assert_eq!(lent, pool.stats().max, "{what}");
    drop(pool);
    sim.run_for(60 * SECOND);
    assert_eq!(manager.ledger.live(), 0, "{what}");
    assert_eq!(sim.alive(), 0, "{what}: a task of the pool outlives it");
}

/// Advances by one poll, or by one timer when nothing is ready.
fn advance(sim: &Sim) -> bool {
    sim.step() || sim.advance(20 * SECOND)
}

fn drop_everything_everywhere(faults: Faults, victims_are_callers: bool) -> usize {
    let mut runs = 0;
    for at in 0.. {
        for victim in 0..16 {
            let scene = scene(faults, 2);
            let callers = callers(&scene);
            let mut going = true;
            for _ in 0..at {
                going = going && advance(&scene.sim);
                conserved(&scene.pool.stats());
            }
            let alive = scene.sim.tasks();
            if callers.iter().all(|id| !alive.contains(id)) || !going {
                return runs;
            }
            let Some(id) = alive.get(victim).copied() else {
                break;
            };
            if callers.contains(&id) != victims_are_callers {
                continue;
            }
            scene.sim.abort(id);
            runs += 1;
            conserved(&scene.pool.stats());
            whole(scene, &format!("task {id} dropped after {at} steps"));
        }
    }
    runs
}

const SLOW: Faults = Faults {
    connect_time: 20,
    connect_error: 0,
    connect_hang: 0,
    connect_panic: 0,
    check_time: 20,
    check_error: 0,
    check_hang: 0,
    broken: 0,
};

/// bb8#59, sqlx#83, fastpool#16.
#[test]
fn cancelled_checkouts_do_not_leak() {
    let runs = drop_everything_everywhere(SLOW, true);
    assert!(runs > 100, "only {runs} runs");
}

#[test]
fn cancelled_checkouts_do_not_leak_with_failing_connects_and_checks() {
    let faults = Faults {
        connect_error: 30,
        connect_panic: 10,
        connect_hang: 10,
        check_error: 40,
        check_hang: 20,
        broken: 10,
        ..SLOW
    };
    let runs = drop_everything_everywhere(faults, true);
    assert!(runs > 100, "only {runs} runs");
}

#[test]
fn a_runtime_that_drops_the_pools_own_tasks_leaks_nothing() {
    let runs = drop_everything_everywhere(SLOW, false);
    assert!(runs > 100, "only {runs} runs");
}
