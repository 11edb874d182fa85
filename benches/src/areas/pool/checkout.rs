//! A checkout when nobody else wants one.

use std::{hint::black_box, sync::Mutex};

use anyhow::Result;
use mainspring_pool::ResourcePool;
use tokio::{runtime::Runtime, sync::Semaphore};

use super::peers::{self, Numbers};
use crate::{Bench, Contest, Measured, Standing, check};

const MAX: usize = 8;
const CHECKOUTS: u64 = 10_000;
const FLOOR: &str = "tokio Semaphore + Mutex<Vec>";

pub(super) fn time(bench: &Bench) -> Result<Measured> {
    Ok(contest(bench)?.time(1.0))
}

pub(super) fn over_floor(bench: &Bench) -> Result<Measured> {
    Ok(contest(bench)?.ratio(FLOOR))
}

fn contest(bench: &Bench) -> Result<Standing> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let entered = runtime.enter();
    let ours = ResourcePool::builder(Numbers::default()).max(MAX).build()?;
    let deadpool = peers::deadpool(MAX)?;
    let bb8 = runtime.block_on(peers::bb8(MAX as u32));
    drop(entered);
    lends_each_once(bench, &runtime, &ours)?;
    let permits = Semaphore::new(MAX);
    let idle = Mutex::new((0..MAX as u64).collect::<Vec<_>>());
    let take = || idle.lock().expect("nobody panics").pop();
    Ok(Contest::new(bench, CHECKOUTS)
        .side("mainspring-pool", "", || {
            runtime.block_on(async {
                for _ in 0..CHECKOUTS {
                    black_box(*ours.get().await.expect("it is open"));
                }
            });
        })
        .side("deadpool", "0.13", || {
            runtime.block_on(async {
                for _ in 0..CHECKOUTS {
                    black_box(*deadpool.get().await.expect("it is open"));
                }
            });
        })
        .side("bb8, no test at checkout", "0.9", || {
            runtime.block_on(async {
                for _ in 0..CHECKOUTS {
                    black_box(*bb8.get().await.expect("it is open"));
                }
            });
        })
        .side(FLOOR, "tokio 1", || {
            runtime.block_on(async {
                for _ in 0..CHECKOUTS {
                    let permit = permits.acquire().await.expect("it is open");
                    let connection = black_box(take());
                    idle.lock().expect("nobody panics").extend(connection);
                    drop(permit);
                }
            });
        })
        .run())
}

/// As many different connections as there may be, and all of them home again.
fn lends_each_once(bench: &Bench, runtime: &Runtime, pool: &ResourcePool<Numbers>) -> Result<()> {
    runtime.block_on(async {
        let mut held = Vec::new();
        for _ in 0..MAX {
            held.push(pool.get().await?);
        }
        let mut numbers: Vec<u64> = held.iter().map(|held| **held).collect();
        numbers.sort_unstable();
        for (wanted, number) in (0..).zip(numbers) {
            let lent = bench.answer(number);
            check(lent == wanted, "a connection was lent twice")?;
        }
        let lent = bench.answer(pool.stats().in_use);
        check(lent == MAX, "the pool does not know what it lent")?;
        drop(held);
        let home = bench.answer(pool.stats().available);
        check(home == MAX, "a connection did not come home")
    })
}
