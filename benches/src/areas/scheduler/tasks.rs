//! Many tasks that do nothing.

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context, Result};
use futures_util::{StreamExt, stream};
use mainspring_scheduler::{Scheduler, Submission};
use tokio::{sync::Semaphore, task::JoinSet};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

use super::{heap, runtime};
use crate::{Bench, Contest, Measured, Peer, Standing, areas::Unavailable, check};

const LIMIT: usize = 10;
const SEMAPHORE: &str = "JoinSet + Semaphore";
const BY_HAND: &str = "JoinSet limited by its length";

pub(super) fn against_semaphore(bench: &Bench) -> Result<Measured> {
    Ok(contest(bench)?.ratio(SEMAPHORE))
}

pub(super) fn against_the_best_loop(bench: &Bench) -> Result<Measured> {
    Ok(contest(bench)?.ratio(BY_HAND))
}

fn contest(bench: &Bench) -> Result<Standing> {
    let count = bench.scale().pick(1_000, 20_000, 100_000);
    let runtime = &runtime()?;
    let right = (0..count).sum::<u64>();
    let sides: [fn(&tokio::runtime::Runtime, u64) -> u64; 7] = [
        |runtime, count| runtime.block_on(taken(count)),
        |runtime, count| runtime.block_on(scheduled(count)),
        |runtime, count| runtime.block_on(semaphore(count)),
        |runtime, count| runtime.block_on(by_length(count)),
        |runtime, count| runtime.block_on(spawned_stream(count)),
        |runtime, count| runtime.block_on(bare_stream(count)),
        |runtime, count| runtime.block_on(limited_service(count)),
    ];
    let mut contest = Contest::new(bench, count);
    for (side, (name, version)) in sides.into_iter().zip([
        ("mainspring-scheduler", ""),
        ("mainspring-scheduler, all submitted first", ""),
        (SEMAPHORE, "tokio 1"),
        (BY_HAND, "tokio 1"),
        ("spawn + buffer_unordered", "futures 0.3"),
        ("buffer_unordered, nothing spawned", "futures 0.3"),
        ("ConcurrencyLimit + JoinSet", "tower 0.5"),
    ]) {
        let sum = bench.answer(side(runtime, count));
        check(sum == right, "tasks were lost")?;
        contest = contest.side(name, version, move || {
            black_box(side(runtime, count));
        });
    }
    Ok(contest.run())
}

/// Taken from an iterator as there is room, as the loop by hand does.
async fn taken(count: u64) -> u64 {
    let scheduler = Scheduler::builder()
        .limit(LIMIT)
        .build()
        .expect("settings are fine");
    let tasks = (0..count).map(|n| (Submission::default(), async move { Ok(n) }));
    let mut results = scheduler.submit_each(tasks);
    let mut sum = 0;
    while let Some((_, n)) = results.next().await {
        sum += n.expect("it does nothing");
    }
    sum
}

/// A handle for each, as `JoinSet` and `Semaphore` hold them.
async fn scheduled(count: u64) -> u64 {
    let scheduler = Scheduler::builder()
        .limit(LIMIT)
        .build()
        .expect("settings are fine");
    let submit = |n: u64| scheduler.submit(Submission::default(), async move { Ok(n) });
    let tasks: Vec<_> = (0..count).map(submit).collect();
    let mut sum = 0;
    for task in tasks {
        sum += task.expect("there is room").await.expect("it does nothing");
    }
    sum
}

async fn semaphore(count: u64) -> u64 {
    let permits = Arc::new(Semaphore::new(LIMIT));
    let mut set = JoinSet::new();
    for n in 0..count {
        let permits = Arc::clone(&permits);
        set.spawn(async move {
            let _permit = permits.acquire().await.expect("it is open");
            n
        });
    }
    drain(set).await
}

async fn by_length(count: u64) -> u64 {
    let mut set = JoinSet::new();
    let mut sum = 0;
    for n in 0..count {
        if set.len() >= LIMIT {
            sum += set.join_next().await.map_or(0, |n| n.expect("it returns"));
        }
        set.spawn(async move { n });
    }
    sum + drain(set).await
}

async fn drain(mut set: JoinSet<u64>) -> u64 {
    let mut sum = 0;
    while let Some(n) = set.join_next().await {
        sum += n.expect("it returns");
    }
    sum
}

async fn spawned_stream(count: u64) -> u64 {
    stream::iter(0..count)
        .map(|n| tokio::spawn(async move { n }))
        .buffer_unordered(LIMIT)
        .fold(0, |sum, n| async move { sum + n.expect("it returns") })
        .await
}

async fn bare_stream(count: u64) -> u64 {
    stream::iter(0..count)
        .map(|n| async move { n })
        .buffer_unordered(LIMIT)
        .fold(0, |sum, n| async move { sum + n })
        .await
}

async fn limited_service(count: u64) -> u64 {
    let answer = service_fn(|n: u64| async move { Ok::<_, std::convert::Infallible>(n) });
    let mut service = ServiceBuilder::new()
        .concurrency_limit(LIMIT)
        .service(answer);
    let mut set = JoinSet::new();
    for n in 0..count {
        let ready = service.ready().await.unwrap_or_else(|never| match never {});
        let call = ready.call(n);
        set.spawn(async move { call.await.unwrap_or_else(|never| match never {}) });
    }
    drain(set).await
}

/// What a task that waits for its turn takes, bytes.
pub(super) fn bytes(bench: &Bench) -> Result<Measured> {
    let count = bench.scale().pick(2_000, 200_000, 1_000_000);
    let runtime = runtime()?;
    let before = heap::in_use()
        .ok_or_else(|| Unavailable("the C library does not tell what it lent".to_owned()))?;
    let ran = Arc::new(AtomicUsize::new(0));
    let ours = runtime.block_on(async {
        let scheduler = Scheduler::builder().limit(LIMIT).build()?;
        for _ in 0..count {
            let ran = Arc::clone(&ran);
            let task = async move {
                ran.fetch_add(1, Ordering::Relaxed);
                Ok(())
            };
            scheduler.submit_detached(Submission::default(), task)?;
        }
        let held = heap::in_use().context("it told before")?;
        let queued = bench.answer(scheduler.stats().unfinished);
        check(queued == count, "a task was not taken in")?;
        while scheduler.stats().unfinished > 0 {
            tokio::task::yield_now().await;
        }
        anyhow::Ok(held.saturating_sub(before) as f64 / count as f64)
    })?;
    let ran = bench.answer(ran.load(Ordering::Relaxed));
    check(ran == count, "a task was not run")?;
    let set = runtime.block_on(set_bytes(count))?;
    let peers = vec![Peer::counted(SEMAPHORE, "tokio 1", set, ours)];
    Ok(Measured::counted(ours)
        .beside("bytes", ours, peers)
        .noting(format!("{count} tasks queued at limit {LIMIT}")))
}

async fn set_bytes(count: usize) -> Result<f64> {
    let before = heap::in_use().context("it told before")?;
    let permits = Arc::new(Semaphore::new(LIMIT));
    let mut set = JoinSet::new();
    for n in 0..count {
        let permits = Arc::clone(&permits);
        set.spawn(async move {
            let _permit = permits.acquire().await.expect("it is open");
            n as u64
        });
    }
    let held = heap::in_use().context("it told before")?;
    black_box(drain(set).await);
    Ok(held.saturating_sub(before) as f64 / count as f64)
}
