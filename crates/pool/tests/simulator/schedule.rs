//! Running the schedule of a seed, and what came of it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::sim::Sim;
use super::simple::{Bug, simple};
use super::storm::{blow, storm};

/// What the storm blows at.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Subject {
    /// The resource pool and the keyed pool of this crate.
    Pools,
    /// A simple pool with a bug.
    Simple(Bug),
}

/// What is wrong, if the schedule of the seed breaks a promise.
pub(crate) fn failure(seed: u64, subject: Subject) -> Option<String> {
    run(&|| Sim::new(seed), subject).err()
}

/// What happened in the schedule of the seed up to its end or failure, the last lines of it.
pub(crate) fn trace(seed: u64, subject: Subject) -> Vec<String> {
    let last = std::cell::RefCell::new(None);
    let traced = || {
        let sim = Sim::traced(seed);
        last.replace(Some(sim.clone()));
        sim
    };
    let _ = run(&traced, subject);
    let sim = last.take();
    sim.map(|sim| sim.lines()).unwrap_or_default()
}

fn run(sim: &dyn Fn() -> Sim, subject: Subject) -> Result<(), String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| match subject {
        Subject::Pools => storm(sim),
        Subject::Simple(bug) => {
            let sim = sim();
            blow(&sim, Arc::new(simple(&sim, bug)), false);
        }
    }));
    outcome.map_err(|what| message(&*what))
}

fn message(what: &(dyn Any + Send)) -> String {
    let text = what.downcast_ref::<String>().cloned();
    text.or_else(|| what.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
