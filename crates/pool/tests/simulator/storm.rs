//! A simulation of one seeded schedule: callers that come, hold, leave and are cut off, against a
//! pool whose connects fail, hang and are slow, whose checks do as well, and whose resources die.
//! Panics, naming what is wrong, when a promise is broken.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mainspring_pool::{Event, KeyedPool, Pressure, ResourcePool, Runtime};

use super::faults::{Faults, FaultyManager, Ledger};
use super::sim::Sim;

/// A checkout in progress.
pub(crate) type Checkout<'a> = Pin<Box<dyn Future<Output = Option<Box<dyn Lease>>> + Send + 'a>>;

/// What the storm blows at.
pub(crate) trait Subject: Send + Sync + 'static {
    /// Checks out within the time, or not.
    fn get(&self, within: Duration) -> Checkout<'_>;
    /// `(total, in use, available, under way, waiting)`.
    fn figures(&self) -> [usize; 5];
    fn max(&self) -> usize;
    fn ledger(&self) -> Arc<Ledger>;
    /// Something that an operator might do.
    fn disturb(&self, _sim: &Sim) {}
    /// No more faults from now on.
    fn heal(&self) {}
    /// Resources that must be there in the end.
    fn min(&self) -> usize {
        0
    }
    fn close(&self) {}
}

/// What a caller holds.
pub(crate) trait Lease: Send {
    fn finish(self: Box<Self>, sim: &Sim);
}

/// The pool of this crate.
struct Real {
    pool: ResourcePool<FaultyManager>,
    manager: FaultyManager,
    min: usize,
}

impl Lease for mainspring_pool::OwnedPooled<FaultyManager> {
    fn finish(mut self: Box<Self>, sim: &Sim) {
        match sim.below(20) {
            0 => self.discard(),
            1 => drop(self.detach()),
            2 => self.dying = true,
            _ => drop(self),
        }
    }
}

impl Subject for Real {
    fn get(&self, within: Duration) -> Checkout<'_> {
        Box::pin(async move {
            let lease = self.pool.get().within(within).await.ok()?;
            Some(Box::new(lease.into_owned()) as Box<dyn Lease>)
        })
    }

    fn figures(&self) -> [usize; 5] {
        let s = self.pool.stats();
        [
            s.total,
            s.in_use,
            s.available,
            s.connecting + s.checking,
            s.waiting,
        ]
    }

    fn max(&self) -> usize {
        self.pool.stats().max
    }

    fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.manager.ledger)
    }

    fn disturb(&self, sim: &Sim) {
        match sim.below(6) {
            0 => drop(self.pool.resize(1 + sim.below(8) as usize)),
            1 => drop(self.pool.trim(Pressure::Moderate)),
            2 => drop(self.pool.trim(Pressure::Critical)),
            3 => drop(self.pool.retain(|token, _| token.number % 2 == 0)),
            4 => drop(self.pool.try_get()),
            _ => drop(self.manager.down.fetch_xor(true, Ordering::Relaxed)),
        }
    }

    fn heal(&self) {
        self.manager.healed.store(true, Ordering::Relaxed);
        self.manager.down.store(false, Ordering::Relaxed);
    }

    fn min(&self) -> usize {
        self.min
    }

    fn close(&self) {
        self.pool.close();
    }
}

/// Writes what the pool reports into the trace.
fn noting(sim: &Sim) -> impl Fn(&Event) + Send + Sync + 'static {
    let sim = sim.clone();
    move |event| sim.note(|| format!("{event:?}"))
}

fn real(sim: &Sim) -> Real {
    let some = |percent: u64, chance: u64| {
        if sim.chance(chance) {
            sim.below(percent)
        } else {
            0
        }
    };
    let faults = Faults {
        connect_time: sim.below(60),
        connect_error: some(60, 50),
        connect_hang: some(10, 30),
        connect_panic: some(20, 30),
        check_time: sim.below(60),
        check_error: some(60, 50),
        check_hang: some(20, 30),
        broken: some(20, 30),
    };
    let manager = FaultyManager::new(sim, faults);
    let max = 1 + sim.below(6) as usize;
    let min = sim.below(max as u64 + 1) as usize;
    let millis = |low: u64, high: u64| Duration::from_millis(low + sim.below(high - low));
    let pool = ResourcePool::builder(manager.clone())
        .max(max)
        .min(min)
        .min_idle(sim.below(max as u64 + 1) as usize)
        .max_waiters(4 + sim.below(40) as usize)
        .wait_timeout(millis(20, 3_000))
        .connect_timeout(millis(30, 200))
        .check_timeout(millis(30, 200))
        .check_after(millis(10, 1_000))
        .idle_timeout(millis(50, 3_000))
        .max_lifetime(millis(100, 5_000))
        .retries(sim.below(4) as u32, millis(1, 20), millis(20, 100))
        .seed(sim.below(u64::MAX))
        .on_event(noting(sim))
        .build_with(sim.clone())
        .expect("valid settings");
    Real { pool, manager, min }
}

/// The keyed pool of this crate; callers choose among its keys at random, and in the end in turn.
struct Keyed {
    pool: KeyedPool<u64, FaultyManager>,
    manager: FaultyManager,
    keys: u64,
    total: usize,
    turn: AtomicU64,
}

impl Lease for mainspring_pool::KeyedPooled<u64, FaultyManager> {
    fn finish(mut self: Box<Self>, sim: &Sim) {
        match sim.below(20) {
            0 => self.discard(),
            1 => drop(self.detach()),
            2 => self.dying = true,
            _ => drop(self),
        }
    }
}

impl Subject for Keyed {
    fn get(&self, within: Duration) -> Checkout<'_> {
        let key = if self.manager.healed.load(Ordering::Relaxed) {
            self.turn.fetch_add(1, Ordering::Relaxed) % self.keys
        } else {
            self.manager.sim.below(self.keys)
        };
        Box::pin(async move {
            let lease = self.pool.get_within(&key, within).await.ok()?;
            Some(Box::new(lease) as Box<dyn Lease>)
        })
    }

    fn figures(&self) -> [usize; 5] {
        let s = self.pool.stats();
        // A resource of one key may be idle while another key, at its own limit, has callers waiting.
        let available = self
            .pool
            .keys()
            .into_iter()
            .filter_map(|key| self.pool.key_stats(&key));
        let stuck = available
            .filter(|s| s.waiting > 0 && s.available > 0)
            .count();
        let waiting = if stuck > 0 { s.waiting } else { 0 };
        [
            s.total,
            s.in_use,
            s.available,
            s.connecting + s.checking,
            waiting,
        ]
    }

    fn max(&self) -> usize {
        self.total
    }

    fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.manager.ledger)
    }

    fn disturb(&self, sim: &Sim) {
        match sim.below(3) {
            0 => drop(self.pool.trim(Pressure::Moderate)),
            1 => drop(self.pool.trim(Pressure::Critical)),
            _ => drop(self.manager.down.fetch_xor(true, Ordering::Relaxed)),
        }
    }

    fn heal(&self) {
        self.manager.healed.store(true, Ordering::Relaxed);
        self.manager.down.store(false, Ordering::Relaxed);
    }

    fn close(&self) {
        for key in self.pool.keys() {
            self.pool.remove(&key);
        }
    }
}

fn keyed(sim: &Sim) -> Keyed {
    let Real { manager, .. } = real(sim);
    manager.sim.run_for(Duration::from_secs(1));
    let keys = 1 + sim.below(4);
    let total = 1 + sim.below(6) as usize;
    let pool = KeyedPool::builder(manager.clone())
        .per_key(total.div_ceil(keys as usize) + sim.below(3) as usize)
        .total(total)
        .max_keys(keys as usize)
        .check_after(Duration::from_millis(10 + sim.below(1_000)))
        .idle_timeout(Duration::from_millis(50 + sim.below(3_000)))
        .connect_timeout(Duration::from_millis(30 + sim.below(200)))
        .check_timeout(Duration::from_millis(30 + sim.below(200)))
        .retries(
            sim.below(4) as u32,
            Duration::from_millis(5),
            Duration::from_millis(50),
        )
        .seed(sim.below(u64::MAX))
        .on_event({
            let note = noting(sim);
            move |_, event| note(event)
        })
        .build_with(sim.clone())
        .expect("valid settings");
    Keyed {
        pool,
        manager,
        keys,
        total,
        turn: AtomicU64::new(0),
    }
}

/// Runs one schedule against each of the pools of this crate.
pub(crate) fn storm(new: &dyn Fn() -> Sim) {
    let sim = new();
    let subject = Arc::new(real(&sim));
    let hostile_runtime = sim.chance(25);
    blow(&sim, subject, hostile_runtime);
    let sim = new();
    let subject = Arc::new(keyed(&sim));
    blow(&sim, subject, hostile_runtime);
}

/// Runs one schedule. A hostile runtime drops tasks of the pool as well.
pub(crate) fn blow<S: Subject>(sim: &Sim, subject: Arc<S>, hostile_runtime: bool) {
    let callers: Vec<u64> = (0..2 + sim.below(24))
        .map(|_| sim.start(caller(sim.clone(), Arc::clone(&subject), !hostile_runtime)))
        .collect();
    let mut most = subject.max();
    let end = Duration::from_secs(120);
    while callers.iter().any(|id| sim.is_alive(*id)) {
        if !sim.step() {
            quiet(&*subject);
            assert!(
                sim.advance(end),
                "callers wait for ever: {:?}",
                subject.figures()
            );
        }
        most = most.max(subject.max());
        check(&*subject, most);
        match sim.below(200) {
            0 | 1 => {
                let victim = callers[sim.below(callers.len() as u64) as usize];
                sim.note(|| format!("caller {victim} is cut off"));
                sim.abort(victim);
            }
            2 => {
                sim.note(|| "an operator interferes".to_owned());
                subject.disturb(sim);
            }
            3 if hostile_runtime => {
                sim.note(|| "the runtime drops a task".to_owned());
                sim.abort_any();
            }
            _ => continue,
        }
        most = most.max(subject.max());
        check(&*subject, most);
    }
    calm(sim, &subject);
}

fn check<S: Subject>(subject: &S, most: usize) {
    let [total, in_use, available, under_way, _] = subject.figures();
    assert_eq!(total, in_use + available + under_way, "resources leak");
    assert!(total <= most, "{total} resources, {most} allowed");
    let live = subject.ledger().live();
    assert!(
        live <= total,
        "{live} resources exist, {total} are accounted for"
    );
}

/// Nothing is about to happen: then nobody waits beside a free resource.
fn quiet<S: Subject>(subject: &S) {
    let [_, _, available, under_way, waiting] = subject.figures();
    let fair = available == 0 || waiting == 0 || under_way > 0;
    assert!(
        fair,
        "a wake-up was lost: {waiting} wait beside {available} free resources"
    );
}

async fn caller<S: Subject>(sim: Sim, subject: Arc<S>, punctual: bool) {
    for _ in 0..1 + sim.below(8) {
        let pause = if sim.chance(20) { 1_500 } else { 40 };
        sim.sleep(sim.millis(pause)).await;
        let within = Duration::from_millis(1 + sim.below(3_000));
        let start = sim.now();
        sim.note(|| format!("a caller asks, for {within:?} at most"));
        let lease = subject.get(within).await;
        let waited = sim.now() - start;
        sim.note(|| {
            let end = if lease.is_some() {
                "served"
            } else {
                "sent away"
            };
            format!(
                "a caller is {end} after {waited:?}: {:?}",
                subject.figures()
            )
        });
        assert!(
            !punctual || waited <= within,
            "waited {waited:?} of {within:?}"
        );
        if let Some(lease) = lease {
            sim.sleep(sim.millis(60)).await;
            lease.finish(&sim);
        }
    }
}

/// After the storm nothing is held, everything can be lent, and nothing outlives the pool.
fn calm<S: Subject>(sim: &Sim, subject: &Arc<S>) {
    sim.note(|| "calm: no more faults".to_owned());
    subject.heal();
    sim.run_for(Duration::from_secs(1));
    let again = Arc::clone(subject);
    let lent = sim.block_on(async move {
        let mut held = Vec::new();
        for _ in 0..again.max() {
            held.push(again.get(Duration::from_secs(3_600)).await);
        }
        held.iter().filter(|lease| lease.is_some()).count()
    });
    assert_eq!(
        lent,
        subject.max(),
        "not all resources can be lent any more"
    );
    sim.run_for(Duration::from_secs(5));
    let [total, in_use, .., waiting] = subject.figures();
    assert_eq!((in_use, waiting), (0, 0), "something is still held");
    assert!(
        total >= subject.min(),
        "{total} resources, at least {} promised",
        subject.min()
    );
    subject.close();
    sim.run_for(Duration::from_secs(60));
    assert_eq!(subject.ledger().live(), 0, "a resource outlives its pool");
    assert_eq!(sim.alive(), 0, "a task outlives its pool");
}
