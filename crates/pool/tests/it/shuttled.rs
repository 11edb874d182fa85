//! Model-checked schedules: `RUSTFLAGS="--cfg shuttle" cargo test -p mainspring-pool --test it`.
//!
//! A lost wake-up shows as a deadlock, which the checker reports with the schedule.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mainspring_pool::{KeyedManager, KeyedPool, Manager, ResourcePool, Runtime, Task};
use shuttle::future::{block_on, spawn, yield_now};

const SCHEDULES: usize = 3_000;

/// Tasks of the checker; time stands still.
struct Still;

impl Runtime for Still {
    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep_until(&self, _: Duration) -> Task {
        Box::pin(std::future::pending())
    }

    fn spawn(&self, task: Task) {
        drop(spawn(task));
    }
}

/// A resource that counts itself.
struct Numbers(Arc<()>);

impl Manager for Numbers {
    type Resource = Arc<()>;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<Arc<()>> {
        yield_now().await;
        Ok(Arc::clone(&self.0))
    }
}

impl KeyedManager<u8> for Numbers {
    type Resource = Arc<()>;
    type Error = io::Error;

    async fn connect(&self, _: &u8) -> io::Result<Arc<()>> {
        yield_now().await;
        Ok(Arc::clone(&self.0))
    }
}

fn pool(max: usize) -> (Arc<()>, ResourcePool<Numbers>) {
    let count = Arc::new(());
    let builder = ResourcePool::builder(Numbers(Arc::clone(&count)))
        .min(0)
        .max(max)
        .seed(1);
    (count, builder.build_with(Still).unwrap())
}

fn whole(pool: &ResourcePool<Numbers>) {
    let stats = pool.stats();
    assert_eq!((stats.in_use, stats.waiting), (0, 0), "{stats:?}");
    assert_eq!(stats.total, stats.available + stats.connecting, "{stats:?}");
    assert!(stats.total <= stats.max, "{stats:?}");
}

#[test]
fn no_wake_up_is_lost_when_callers_leave_while_others_return() {
    let scenario = || {
        block_on(async {
            let (_, pool) = pool(1);
            let callers: Vec<_> = (0..4)
                .map(|_| {
                    let pool = pool.clone();
                    spawn(async move {
                        let lease = pool.get().await.unwrap();
                        yield_now().await;
                        drop(lease);
                    })
                })
                .collect();
            callers[1].abort();
            callers[2].abort();
            for caller in callers {
                let _ = caller.await;
            }
            whole(&pool);
        });
    };
    shuttle::check_random(scenario, SCHEDULES);
    shuttle::check_pct(scenario, SCHEDULES, 3);
}

#[test]
fn abort_return_resize_and_close_race() {
    let scenario = || {
        block_on(async {
            let (count, pool) = pool(3);
            let callers: Vec<_> = (0..4)
                .map(|_| {
                    let pool = pool.clone();
                    spawn(async move {
                        if let Ok(lease) = pool.get().await {
                            yield_now().await;
                            drop(lease);
                        }
                    })
                })
                .collect();
            let resized = pool.clone();
            let resizer = spawn(async move {
                resized.resize(1);
                yield_now().await;
                resized.resize(2);
            });
            let closed = pool.clone();
            let closer = spawn(async move {
                yield_now().await;
                closed.close();
            });
            callers[3].abort();
            for caller in callers {
                let _ = caller.await;
            }
            let _ = (resizer.await, closer.await);
            while pool.stats().connecting > 0 {
                yield_now().await;
            }
            whole(&pool);
            assert_eq!(pool.stats().total, 0);
            drop(pool);
            assert!(
                Arc::strong_count(&count) <= 2,
                "a resource outlives the pool"
            );
        });
    };
    shuttle::check_random(scenario, SCHEDULES);
    shuttle::check_pct(scenario, SCHEDULES, 3);
}

#[test]
fn keys_that_share_a_limit_never_wait_for_ever() {
    let scenario = || {
        block_on(async {
            let builder = KeyedPool::builder(Numbers(Arc::new(()))).total(1).seed(1);
            let pool = builder.build_with(Still).unwrap();
            let callers: Vec<_> = (0..5_u8)
                .map(|caller| {
                    let pool = pool.clone();
                    spawn(async move {
                        let lease = pool.get(&(caller % 2)).await.unwrap();
                        yield_now().await;
                        drop(lease);
                    })
                })
                .collect();
            callers[3].abort();
            for caller in callers {
                let _ = caller.await;
            }
            let stats = pool.stats();
            assert_eq!((stats.in_use, stats.waiting), (0, 0), "{stats:?}");
            assert!(stats.total <= 1, "{stats:?}");
        });
    };
    shuttle::check_random(scenario, SCHEDULES);
    shuttle::check_pct(scenario, SCHEDULES, 3);
}
