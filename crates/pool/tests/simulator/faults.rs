//! A manager that fails, hangs, panics and is slow as told, and counts what is alive.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use mainspring_pool::{KeyedManager, Manager};

use super::sim::{Sim, yield_now};

/// What exists, seen from outside of the pool.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) live: AtomicUsize,
    pub(crate) most: AtomicUsize,
    pub(crate) opened: AtomicU64,
    pub(crate) connects: AtomicU64,
    pub(crate) checks: AtomicU64,
}

impl Ledger {
    pub(crate) fn live(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    pub(crate) fn connects(&self) -> u64 {
        self.connects.load(Ordering::Relaxed)
    }

    pub(crate) fn checks(&self) -> u64 {
        self.checks.load(Ordering::Relaxed)
    }
}

/// A resource that is entered in the ledger while it lives.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) number: u64,
    pub(crate) dying: bool,
    ledger: Arc<Ledger>,
}

impl Token {
    pub(crate) fn new(ledger: &Arc<Ledger>) -> Self {
        let live = ledger.live.fetch_add(1, Ordering::Relaxed) + 1;
        ledger.most.fetch_max(live, Ordering::Relaxed);
        Self {
            number: ledger.opened.fetch_add(1, Ordering::Relaxed),
            dying: false,
            ledger: Arc::clone(ledger),
        }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.ledger.live.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Chances in percent, and times in milliseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    pub(crate) connect_time: u64,
    pub(crate) connect_error: u64,
    pub(crate) connect_hang: u64,
    pub(crate) connect_panic: u64,
    pub(crate) check_time: u64,
    pub(crate) check_error: u64,
    pub(crate) check_hang: u64,
    pub(crate) broken: u64,
}

#[derive(Clone)]
pub(crate) struct FaultyManager {
    pub(crate) sim: Sim,
    pub(crate) faults: Faults,
    pub(crate) ledger: Arc<Ledger>,
    /// While set, everything works.
    pub(crate) healed: Arc<AtomicBool>,
    /// While set, every connect fails.
    pub(crate) down: Arc<AtomicBool>,
}

#[derive(Debug)]
pub(crate) struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused")
    }
}

impl std::error::Error for Refused {}

impl FaultyManager {
    pub(crate) fn new(sim: &Sim, faults: Faults) -> Self {
        Self {
            sim: sim.clone(),
            faults,
            ledger: Arc::default(),
            healed: Arc::default(),
            down: Arc::default(),
        }
    }

    fn hit(&self, percent: u64) -> bool {
        percent > 0 && !self.healed.load(Ordering::Relaxed) && self.sim.chance(percent)
    }

    async fn pause(&self, millis: u64) {
        yield_now().await;
        if millis > 0 && !self.healed.load(Ordering::Relaxed) {
            let time = self.sim.millis(millis);
            self.sim.sleep(time).await;
        }
    }
}

impl Manager for FaultyManager {
    type Resource = Token;
    type Error = Refused;

    async fn connect(&self) -> Result<Token, Refused> {
        self.ledger.connects.fetch_add(1, Ordering::Relaxed);
        self.pause(self.faults.connect_time).await;
        if self.hit(self.faults.connect_hang) {
            std::future::pending::<()>().await;
        }
        if self.hit(self.faults.connect_panic) {
            std::panic::resume_unwind(Box::new("planned"));
        }
        if self.down.load(Ordering::Relaxed) || self.hit(self.faults.connect_error) {
            return Err(Refused);
        }
        let token = Token::new(&self.ledger);
        // A connect has steps after which it can still be dropped.
        self.pause(self.faults.connect_time).await;
        Ok(token)
    }

    async fn check(&self, token: &mut Token) -> Result<(), Refused> {
        self.ledger.checks.fetch_add(1, Ordering::Relaxed);
        self.pause(self.faults.check_time).await;
        if self.hit(self.faults.check_hang) {
            std::future::pending::<()>().await;
        }
        let bad = token.dying || self.hit(self.faults.check_error);
        if bad { Err(Refused) } else { Ok(()) }
    }

    fn is_broken(&self, token: &mut Token) -> bool {
        token.dying || self.hit(self.faults.broken)
    }
}

pub(crate) const SECOND: Duration = Duration::from_secs(1);

impl KeyedManager<u64> for FaultyManager {
    type Resource = Token;
    type Error = Refused;

    async fn connect(&self, _: &u64) -> Result<Token, Refused> {
        Manager::connect(self).await
    }

    async fn check(&self, _: &u64, token: &mut Token) -> Result<(), Refused> {
        Manager::check(self, token).await
    }

    fn is_broken(&self, token: &mut Token) -> bool {
        Manager::is_broken(self, token)
    }
}
