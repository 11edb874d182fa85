//! Many callers for few connections: how many are served in a time.

use std::{
    collections::HashSet,
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use mainspring_pool::ResourcePool;
use tokio::{
    runtime::{Builder, Runtime},
    task::{JoinSet, yield_now},
};

use super::peers::{self, Bb8, Deadpool, Mobc, Numbers, Qp};
use crate::{Bench, Clock, Contest, Interval, Measured, PerInput, check};

const CALLERS: usize = 64;
const CONNECTIONS: usize = 8;
const DEADPOOL: &str = "deadpool";
const BB8: &str = "bb8, no test at checkout";

/// All callers on one thread.
pub(super) fn on_one_thread(bench: &Bench) -> Result<Measured> {
    let runtime = Builder::new_current_thread().enable_time().build()?;
    throughput(bench, &runtime, Clock::Thread)
}

/// All callers on a runtime with two threads.
pub(super) fn on_two_threads(bench: &Bench) -> Result<Measured> {
    let mut builder = Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_time().build()?;
    throughput(bench, &runtime, Clock::Wall)
}

/// How many times faster than deadpool and bb8, the better of the two.
fn throughput(bench: &Bench, runtime: &Runtime, clock: Clock) -> Result<Measured> {
    let turns = bench.scale().pick(4, 100, 200);
    let entered = runtime.enter();
    let ours = ResourcePool::builder(Numbers::default())
        .max(CONNECTIONS)
        .build()?;
    let deadpool = peers::deadpool(CONNECTIONS)?;
    let bb8 = runtime.block_on(peers::bb8(CONNECTIONS as u32));
    let mobc = peers::mobc(CONNECTIONS as u64);
    drop(entered);
    runtime.block_on(async {
        serves_all(bench, "our pool", &ours).await?;
        serves_all(bench, DEADPOOL, &deadpool).await?;
        serves_all(bench, BB8, &bb8).await?;
        serves_all(bench, "mobc", &mobc).await
    })?;
    let standing = Contest::new(bench, (CALLERS * turns) as u64)
        .clock(clock)
        .side("mainspring-pool", "", || {
            runtime.block_on(all(&ours, turns));
        })
        .side(DEADPOOL, "0.13", || runtime.block_on(all(&deadpool, turns)))
        .side(BB8, "0.9", || runtime.block_on(all(&bb8, turns)))
        .side("mobc", "0.9", || runtime.block_on(all(&mobc, turns)))
        .run();
    let [a, b] = [DEADPOOL, BB8].map(|name| standing.faster(name));
    let worse = if a.value.median <= b.value.median {
        a
    } else {
        b
    };
    let qp = beside_qp(bench, runtime, clock, &ours, turns)?;
    Ok(worse.on_inputs(vec![qp]))
}

/// A pool that lends numbered connections.
trait Lends: Clone + Send + Sync + 'static {
    /// One checkout, held while other callers have their turn.
    fn turn(&self, watch: Option<&Watch>) -> impl Future<Output = ()> + Send;
}

macro_rules! lends {
    ($($pool:ty, $get:ident;)*) => {$(
        impl Lends for $pool {
            async fn turn(&self, watch: Option<&Watch>) {
                let connection = self.$get().await.expect("it is open");
                hold(*connection, watch).await;
            }
        }
    )*};
}

lends! {
    ResourcePool<Numbers>, get;
    Deadpool, get;
    Bb8, get;
    Mobc, get;
    Qp, acquire;
}

async fn hold(connection: u64, watch: Option<&Watch>) {
    if let Some(watch) = watch {
        watch.taken(connection);
    }
    yield_now().await;
    if let Some(watch) = watch {
        watch.given_back(connection);
    }
}

async fn all(pool: &impl Lends, turns: usize) {
    watched(pool, turns, None).await;
}

async fn watched(pool: &impl Lends, turns: usize, watch: Option<&Arc<Watch>>) {
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (pool, watch) = (pool.clone(), watch.cloned());
        callers.spawn(async move {
            for _ in 0..turns {
                pool.turn(watch.as_deref()).await;
            }
        });
    }
    callers.join_all().await;
}

/// What is on loan, seen from outside of the pools.
#[derive(Debug, Default)]
struct Watch {
    lent: Mutex<HashSet<u64>>,
    served: AtomicUsize,
    doubled: AtomicUsize,
    most: AtomicUsize,
}

impl Watch {
    fn taken(&self, connection: u64) {
        let mut lent = self.lent.lock().expect("nobody panics");
        let fresh = lent.insert(connection);
        self.doubled
            .fetch_add(usize::from(!fresh), Ordering::Relaxed);
        self.most.fetch_max(lent.len(), Ordering::Relaxed);
        self.served.fetch_add(1, Ordering::Relaxed);
    }

    fn given_back(&self, connection: u64) {
        self.lent.lock().expect("nobody panics").remove(&connection);
    }
}

/// Every caller gets its turns, with a connection of its own, of which there are never too many.
async fn serves_all(bench: &Bench, name: &str, pool: &impl Lends) -> Result<()> {
    const TURNS: usize = 20;
    let watch = Arc::new(Watch::default());
    watched(pool, TURNS, Some(&watch)).await;
    let count = |of: &AtomicUsize| bench.answer(of.load(Ordering::Relaxed));
    let served = count(&watch.served) == TURNS * CALLERS;
    check(served, &format!("{name} does not serve everybody"))?;
    let apart = count(&watch.doubled) == 0;
    check(apart, &format!("{name} lent a connection twice"))?;
    let bounded = count(&watch.most) == CONNECTIONS;
    check(bounded, &format!("{name} lends too few or too many"))
}

/// A lost wake-up stops qp for ever now and then, so its rounds have an end, and a row of their own.
fn beside_qp(
    bench: &Bench,
    runtime: &Runtime,
    clock: Clock,
    ours: &ResourcePool<Numbers>,
    turns: usize,
) -> Result<PerInput> {
    let patience = Duration::from_millis(bench.scale().pick(200, 400, 1_000));
    let rounds = bench.scale().pick(2, 6, 20);
    let mut ratios = Vec::new();
    for _ in 0..rounds {
        let qp = peers::qp(CONNECTIONS);
        let own = clock.time(|| runtime.block_on(all(ours, turns)));
        let mut ended = false;
        let theirs = clock.time(|| {
            runtime.block_on(async {
                let outcome = tokio::time::timeout(patience, all(&qp, turns)).await;
                ended = outcome.is_ok();
            });
        });
        if ended {
            ratios.push(theirs / own.max(1.0));
        }
        let home = bench.answer(if ended { qp.size() } else { CONNECTIONS });
        check(home == CONNECTIONS, "qp: a connection is not home")?;
    }
    let hung = rounds - ratios.len();
    let faster = if ratios.is_empty() {
        0.0
    } else {
        Interval::of(&ratios).median
    };
    Ok(PerInput::new(
        "qp 0.2, rounds cut off when they hang",
        [
            ("rounds", rounds as f64),
            ("of them hung", hung as f64),
            ("times faster in the others", faster),
        ],
    ))
}
