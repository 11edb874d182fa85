//! Many callers for few connections.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::Result;
use mainspring_pool::ResourcePool;
use tokio::task::LocalSet;

use super::peers::{self, Numbers};
use crate::{Bench, Interval, Measured, Peer, check, quantile};

const CALLERS: usize = 64;
const CONNECTIONS: usize = 8;
const HELD: Duration = Duration::from_millis(1);
/// Rounds of qp that may hang before no more are tried.
const HUNG: usize = 2;

/// The 99.9th percentile of waits over the wait of a perfectly fair queue.
///
/// Callers come back as soon as they have given their connection back, so there are always as many
/// waiting, and a perfectly fair queue makes each of them wait for so many connections to come home.
pub(super) fn waits(bench: &Bench) -> Result<Measured> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let ours = {
        let _entered = runtime.enter();
        let builder = ResourcePool::builder(Numbers::default());
        builder.max(CONNECTIONS).build()?
    };
    runtime.block_on(LocalSet::new().run_until(first_come_first_served(bench, &ours)))?;
    let deadpool = peers::deadpool(CONNECTIONS)?;
    let bb8 = runtime.block_on(peers::bb8(CONNECTIONS as u32));
    let mobc = runtime.block_on(async { peers::mobc(CONNECTIONS as u64) });
    let mut samples = [const { Vec::new() }; 5];
    let patience = Duration::from_millis(bench.scale().pick(500, 1_500, 4_000));
    let mut hung = 0;
    for _ in 0..bench.scale().pick(1, 4, 24) {
        let rounds = [
            runtime.block_on(round(bench, || ours.get_owned())),
            runtime.block_on(round(bench, || deadpool.get())),
            runtime.block_on(round(bench, || bb8.get_owned())),
            runtime.block_on(round(bench, || mobc.get())),
        ];
        for (samples, ratio) in samples.iter_mut().zip(rounds) {
            samples.push(ratio);
        }
        // It loses a wake-up now and then, and stands still.
        let qp = peers::qp(CONNECTIONS);
        let qp_round =
            async { tokio::time::timeout(patience, round(bench, || qp.acquire())).await };
        match (hung < HUNG).then(|| runtime.block_on(qp_round)) {
            Some(Ok(ratio)) => samples[4].push(ratio),
            Some(Err(_)) => hung += 1,
            None => {}
        }
    }
    let [own, deadpool, bb8, mobc, qp] = samples;
    let median = Interval::of(&own).median;
    let peer = |name: &str, version: &str, theirs: Vec<f64>| Peer {
        samples: theirs.clone(),
        ..Peer::counted(name, version, Interval::of(&theirs).median, median)
    };
    let mut peers = vec![
        peer("deadpool", "0.13", deadpool),
        peer("bb8", "0.9", bb8),
        peer("mobc", "0.9", mobc),
    ];
    if !qp.is_empty() {
        peers.push(peer("qp", "0.2", qp));
    }
    let measured = Measured::sampled(own).beside("p99.9 / fair wait", median, peers);
    Ok(match hung {
        0 => measured,
        _ => measured.noting(format!("qp hung in {hung} rounds and was cut off")),
    })
}

/// All callers at once, until enough were served and those who waited by then as well.
async fn round<F, C, E>(bench: &Bench, get: impl Fn() -> F) -> f64
where
    F: Future<Output = Result<C, E>>,
    E: std::fmt::Debug,
{
    let wanted = bench.scale().pick(512, 2_048, 4_096);
    let waits = RefCell::new(Vec::with_capacity(wanted + CALLERS));
    let started = Instant::now();
    let caller = async || {
        while waits.borrow().len() < wanted {
            let asked = Instant::now();
            let connection = get().await.expect("it is open");
            waits.borrow_mut().push(asked.elapsed().as_secs_f64());
            tokio::time::sleep(HELD).await;
            drop(connection);
        }
    };
    futures_util::future::join_all((0..CALLERS).map(|_| caller())).await;
    let mut waits = waits.into_inner();
    let apart = started.elapsed().as_secs_f64() / waits.len() as f64;
    let fair = apart * (CALLERS - CONNECTIONS) as f64;
    // The first ones met an empty queue.
    let mut steady = waits.split_off(CALLERS);
    steady.sort_by(f64::total_cmp);
    quantile(&steady, 0.999) / fair
}

/// With every connection on loan, callers are served in the order of their coming.
async fn first_come_first_served(bench: &Bench, pool: &ResourcePool<Numbers>) -> Result<()> {
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        held.push(pool.get_owned().await?);
    }
    let served = Rc::new(RefCell::new(Vec::new()));
    let came = Rc::new(Cell::new(0));
    for _ in 0..CALLERS {
        let (pool, served, came) = (pool.clone(), Rc::clone(&served), Rc::clone(&came));
        tokio::task::spawn_local(async move {
            let number = came.replace(came.get() + 1);
            let connection = pool.get().await.expect("it is open");
            served.borrow_mut().push(number);
            drop(connection);
        });
    }
    while came.get() < CALLERS {
        tokio::task::yield_now().await;
    }
    drop(held);
    while served.borrow().len() < CALLERS {
        tokio::task::yield_now().await;
    }
    for (wanted, number) in served.borrow().iter().enumerate() {
        let number = bench.answer(*number);
        check(number == wanted, "a caller was overtaken")?;
    }
    Ok(())
}
