//! Deterministic simulation of the pure core: seeded schedules with faults, checked after every event against a
//! model that knows nothing of heaps, tickets or lock tables.
//!
//! Shared by the tests and by `examples/simulate.rs`.

mod check;
mod world;

use std::fmt;

use world::World;

/// A bug built in on purpose, to see that the checks catch it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plant {
    Nothing,
    /// From some point on, requests to be woken are forgotten.
    LostWakeUp,
    /// What a cancelled run had reserved is kept.
    LeakedReservation,
    /// What a run gives back unspent goes back twice.
    DoubleRefund,
    /// The machine ages a hundred times slower than promised.
    SkippedAgeing,
    /// Some writes are submitted as reads.
    MissedConflict,
}

impl Plant {
    pub(crate) const ALL: [(&'static str, Self); 6] = [
        ("nothing", Self::Nothing),
        ("lost-wake-up", Self::LostWakeUp),
        ("leaked-reservation", Self::LeakedReservation),
        ("double-refund", Self::DoubleRefund),
        ("skipped-ageing", Self::SkippedAgeing),
        ("missed-conflict", Self::MissedConflict),
    ];
}

/// Which faults happen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Faults {
    pub(crate) errors: bool,
    pub(crate) hangs: bool,
    pub(crate) panics: bool,
    pub(crate) refusals: bool,
    pub(crate) slow: bool,
    pub(crate) dead: bool,
    pub(crate) cancels: bool,
}

impl Faults {
    pub(crate) const NAMES: [&'static str; 7] = [
        "errors",
        "hangs",
        "panics",
        "429",
        "slow-connects",
        "dead-executors",
        "cancels",
    ];

    pub(crate) fn all() -> Self {
        Self {
            errors: true,
            hangs: true,
            panics: true,
            refusals: true,
            slow: true,
            dead: true,
            cancels: true,
        }
    }

    /// Those named, separated by commas; `all` and `none` are understood.
    pub(crate) fn parse(names: &str) -> Result<Self, String> {
        if names == "all" {
            return Ok(Self::all());
        }
        let names: Vec<&str> = names
            .split(',')
            .filter(|name| !name.is_empty() && *name != "none")
            .collect();
        if let Some(unknown) = names.iter().find(|name| !Self::NAMES.contains(*name)) {
            return Err(format!(
                "unknown fault {unknown:?}; there are {}",
                Self::NAMES.join(", ")
            ));
        }
        let on = |name: &str| names.contains(&name);
        Ok(Self {
            errors: on("errors"),
            hangs: on("hangs"),
            panics: on("panics"),
            refusals: on("429"),
            slow: on("slow-connects"),
            dead: on("dead-executors"),
            cancels: on("cancels"),
        })
    }
}

/// What a schedule was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) tasks: usize,
    pub(crate) events: usize,
    pub(crate) succeeded: usize,
    pub(crate) failed: usize,
    pub(crate) stopped: usize,
    pub(crate) deferred: usize,
    /// How often the limit moved by itself.
    pub(crate) scaled: usize,
}

/// A broken promise; the seed reproduces it.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) seed: u64,
    pub(crate) event: usize,
    pub(crate) what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seed {} failed at event {}: {}",
            self.seed, self.event, self.what
        )
    }
}

/// Runs one schedule to its end.
pub(crate) fn simulate(seed: u64, faults: Faults, plant: Plant) -> Result<Summary, Failure> {
    let mut world = World::new(seed, faults, plant);
    world.run().map_err(|what| Failure {
        seed,
        event: world.events(),
        what,
    })
}
