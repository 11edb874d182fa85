//! A checkout when nobody else wants one.

use std::{hint::black_box, sync::Mutex};

use anyhow::Result;
use mainspring_pool::ResourcePool;
use tokio::sync::Semaphore;

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
    let (mobc, qp) = (peers::mobc(MAX as u64), peers::qp(MAX));
    drop(entered);
    let permits = Semaphore::new(MAX);
    let idle = Mutex::new((0..MAX as u64).collect::<Vec<_>>());
    let take = || idle.lock().expect("nobody panics").pop();
    runtime.block_on(async {
        lends_each_once(bench, &ours).await?;
        deadpool_lends_each_once(bench, &deadpool).await?;
        bb8_lends_each_once(bench, &bb8).await?;
        mobc_lends_each_once(bench, &mobc).await?;
        qp_lends_each_once(bench, &qp).await
    })?;
    let floor = (0..MAX).filter_map(|_| permits.try_acquire().ok().zip(take()));
    let held: Vec<_> = floor.collect();
    each_once(bench, FLOOR, held.iter().map(|(_, number)| *number))?;
    idle.lock()
        .expect("nobody panics")
        .extend(held.into_iter().map(|(_, number)| number));
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
        .side("mobc", "0.9", || {
            runtime.block_on(async {
                for _ in 0..CHECKOUTS {
                    black_box(*mobc.get().await.expect("it is open"));
                }
            });
        })
        .side("qp", "0.2", || {
            runtime.block_on(async {
                for _ in 0..CHECKOUTS {
                    black_box(*qp.acquire().await.expect("it is open"));
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

/// As many different connections as there may be.
fn each_once(bench: &Bench, name: &str, numbers: impl Iterator<Item = u64>) -> Result<()> {
    let mut numbers: Vec<u64> = numbers.collect();
    numbers.sort_unstable();
    let count = bench.answer(numbers.len());
    check(count == MAX, &format!("{name} lends too few or too many"))?;
    for (wanted, number) in (0..).zip(numbers) {
        let lent = bench.answer(number);
        check(lent == wanted, &format!("{name} lent a connection twice"))?;
    }
    Ok(())
}

/// All of them were lent, and all of them are home again.
fn counted(bench: &Bench, name: &str, in_use: usize, home: usize) -> Result<()> {
    let in_use = bench.answer(in_use);
    check(in_use == MAX, &format!("{name} does not know what it lent"))?;
    let home = bench.answer(home);
    check(home == MAX, &format!("{name}: a connection is not home"))
}

async fn lends_each_once(bench: &Bench, pool: &ResourcePool<Numbers>) -> Result<()> {
    let mut held = Vec::new();
    for _ in 0..MAX {
        held.push(pool.get().await?);
    }
    each_once(bench, "our pool", held.iter().map(|held| **held))?;
    let in_use = pool.stats().in_use;
    drop(held);
    counted(bench, "our pool", in_use, pool.stats().available)
}

async fn deadpool_lends_each_once(bench: &Bench, pool: &peers::Deadpool) -> Result<()> {
    let mut held = Vec::new();
    for _ in 0..MAX {
        held.push(pool.get().await.expect("it is open"));
    }
    each_once(bench, "deadpool", held.iter().map(|held| **held))?;
    let status = pool.status();
    drop(held);
    let in_use = status.size - status.available;
    counted(bench, "deadpool", in_use, pool.status().available)
}

async fn bb8_lends_each_once(bench: &Bench, pool: &peers::Bb8) -> Result<()> {
    let mut held = Vec::new();
    for _ in 0..MAX {
        held.push(pool.get().await.expect("it is open"));
    }
    each_once(bench, "bb8", held.iter().map(|held| **held))?;
    let state = pool.state();
    drop(held);
    let in_use = state.connections - state.idle_connections;
    let home = pool.state().idle_connections;
    counted(bench, "bb8", in_use as usize, home as usize)
}

async fn mobc_lends_each_once(bench: &Bench, pool: &peers::Mobc) -> Result<()> {
    let mut held = Vec::new();
    for _ in 0..MAX {
        held.push(pool.get().await?);
    }
    each_once(bench, "mobc", held.iter().map(|held| **held))?;
    let in_use = pool.state().await.in_use;
    drop(held);
    // It takes them back in tasks of its own.
    for _ in 0..4 * MAX {
        tokio::task::yield_now().await;
    }
    let home = pool.state().await.idle;
    counted(bench, "mobc", in_use as usize, home as usize)
}

async fn qp_lends_each_once(bench: &Bench, pool: &peers::Qp) -> Result<()> {
    let mut held = Vec::new();
    for _ in 0..MAX {
        held.push(pool.acquire().await?);
    }
    each_once(bench, "qp", held.iter().map(|held| **held))?;
    let in_use = pool.max_size() - pool.size();
    drop(held);
    counted(bench, "qp", in_use, pool.size())
}
